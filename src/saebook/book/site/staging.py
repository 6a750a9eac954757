"""The folder that Jupyter Book renders: prose, chapters, results and generated parts, below the repository's own names."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import nbformat
import yaml
from filelock import FileLock, Timeout

from saebook.book import budgets
from saebook.book.site import contents, fragments, frame
from saebook.book.site.figures import placing
from saebook.book.status import State
from saebook.claims import results, standings
from saebook.common import paths
from saebook.common.errors import UserError
from saebook.common.names import TIERS
from saebook.common.repository import repository_url


@contextlib.contextmanager
def only_build() -> Iterator[None]:
    """Hold the right to build. Raises `UserError` while another process holds it; it ends with its process."""
    lock, owner = FileLock(paths.build() / ".book.lock"), paths.build() / ".book.pid"
    try:
        paths.build().mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        pid = owner.read_text("utf-8").strip() if owner.is_file() else "unknown"
        raise UserError(f"another build is running (pid {pid}): wait for it to end, or stop it") from None
    except OSError as error:
        raise UserError(
            f"{paths.build()} cannot be written to ({error.strerror}): name another folder in SAEBOOK_BUILD"
        ) from None
    try:
        owner.write_text(f"{os.getpid()}\n", "utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            owner.unlink(missing_ok=True)
        lock.release()


def folder() -> Path:
    """The staging folder. It is emptied by every build."""
    return paths.build() / "staging"


def stage(tier: str, states: Sequence[State]) -> Path:
    """Fill the staging folder with a book at `tier` and return it."""
    staging = folder()
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    _configuration(staging)
    shutil.copytree(paths.root() / "book", staging / "book")
    contents.write(staging)
    stale = standings.staleness(budgets.resolve)
    rows = standings.standings(budgets.resolve, tier, stale)
    for state in states:
        target = staging / "notebooks" / f"{state.name}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(frame.page(state, tier, rows, stale), target)
    _results(tier, staging / "results")  # last, so that what a page offers is there
    placing.write([state.name for state in states], tier, staging / "results")
    fragments.generate(staging, states, rows)
    return staging


def _configuration(staging: Path) -> None:
    """The book's configuration, with the repository's address where the clone has one."""
    configuration = yaml.safe_load((paths.root() / "_config.yml").read_text("utf-8"))
    address = repository_url()
    if address:
        configuration["repository"] = {"url": address}
        configuration["html"]["use_repository_button"] = True
    (staging / "_config.yml").write_text(yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True), "utf-8")


def _results(tier: str, target: Path) -> None:
    """Copy what chapters offer for download: recorded results of every tier, and this copy's own of `tier`."""
    for one in TIERS:
        _copy(results.folder(one), target / "recorded" / one)
    _copy(results.folder(tier, "live"), target / "live" / tier)


def _copy(home: Path, target: Path) -> None:
    for file in home.glob("*/*"):
        if file.suffix in (".json", ".csv") and "@" not in file.name:
            copy = target / file.parent.name / file.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
