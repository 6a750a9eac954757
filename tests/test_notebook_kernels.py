"""Under nbval the kernels of several notebooks are forked before the first of them starts (`notebooks/conftest.py`)."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

from saebook.common import paths


@pytest.fixture
def plugin(monkeypatch):
    """The plugin, and the kernels that it has forked, which are only counted here."""
    spec = importlib.util.spec_from_file_location("nbval_kernels", paths.root() / "notebooks" / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    forked = []
    monkeypatch.setattr(module.jupyter_kernel, "prepare", lambda: forked.append(1))
    monkeypatch.setattr(module.warm, "preload", lambda: forked.append("preloaded"))
    monkeypatch.setattr(module.warm, "forks_are_safe", lambda: True)
    return module, forked


def session(*files, collectonly=False):
    """What pytest has collected: the cells of `files`."""
    config = SimpleNamespace(option=SimpleNamespace(collectonly=collectonly))
    return SimpleNamespace(items=[SimpleNamespace(path=Path(file)) for file in files], config=config)


def test_a_kernel_is_forked_for_each_of_several_notebooks(plugin):
    module, forked = plugin
    module.pytest_collection_finish(session("a.ipynb", "a.ipynb", "b.ipynb", "test_c.py"))
    assert forked == ["preloaded", 1, 1]


def test_a_single_notebook_a_listing_and_a_machine_that_cannot_fork_fork_none(plugin, monkeypatch):
    module, forked = plugin
    module.pytest_collection_finish(session("a.ipynb", "a.ipynb", "test_c.py"))
    module.pytest_collection_finish(session("a.ipynb", "b.ipynb", collectonly=True))
    monkeypatch.setattr(module.warm, "forks_are_safe", lambda: False)
    module.pytest_collection_finish(session("a.ipynb", "b.ipynb"))
    assert forked == []
