"""Under nbval each notebook's kernel is a fork of pytest, which imports once what all of them import."""

import pytest

from saebook.book.running import jupyter_kernel, warm


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fork a kernel for each notebook, all of them now: later this process has threads, and cannot fork safely."""
    notebooks = {item.path for item in session.items if item.path.suffix == ".ipynb"}
    if session.config.option.collectonly or len(notebooks) < 2 or not warm.forks_are_safe():
        return
    warm.preload()
    for _ in notebooks:
        jupyter_kernel.prepare()
