"""From notebooks to a rendered book: run what is not fresh, stage it beside the prose, render, and look at the result.

A notebook that fails or cannot be read does not stop the others; its page says so. No tracked file is changed.
"""

import contextlib
import errno
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from saebook.book import budgets, status
from saebook.book.running import execution, parallel, runner, warm
from saebook.book.site import rendering, staging
from saebook.book.status import State
from saebook.claims import choices, standings
from saebook.common import paths, sidecar
from saebook.common.errors import UserError

_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def build(tier: str, names: list[str] | None = None, at_once: int | None = None) -> int:
    """Run the notebooks of `tier` (or `names` of them), several `at_once`, render the book, print where the time went.

    Returns 1 when a notebook failed, a page is missing, or one would load something from a network; the book is built all
    the same. Raises `UserError` for a name or tier that does not exist, and while another build is running.
    """
    at_tier = sidecar.names_at(tier)
    chosen = [sidecar.resolved(name) for name in names] if names else at_tier
    if not chosen:
        raise UserError(f"no notebook has a budget at tier {tier}")
    with staging.only_build(), _disk_errors_in_one_line():
        return _build(tier, list(dict.fromkeys(chosen)), at_once)


def _build(tier: str, chosen: list[str], at_once: int | None) -> int:
    begun = time.monotonic()
    _check_registers(tier)
    at_once, threads = parallel.share(at_once)
    refused = _refused(chosen, tier)
    spent = _run([name for name in chosen if name not in refused], tier, at_once, threads)
    states = [status.state(name, tier) for name in sidecar.names()]
    started = time.monotonic()
    problems = rendering.render(staging.stage(tier, states))
    spent["rendering the book"] = time.monotonic() - started
    problems += [f"{name}: {why}" for name, why in refused.items()]
    problems += [f"{s.name} {s.why}" for s in states if s.word == status.FAILED and s.name not in refused]
    print(f"\nwhere the time went (tier {tier}, notebooks at a time: {at_once}, threads each: {threads}):")
    for what, seconds in spent.items():
        print(f"  {seconds:7.1f} s  {what}")
    print(f"  {time.monotonic() - begun:7.1f} s  in all")
    for problem in problems:
        print(f"saebook: {problem}", file=sys.stderr)
    print(f"the book: {rendering.html() / 'index.html'}")
    return 1 if problems else 0


def _check_registers(tier: str) -> None:
    """Read the ledger, its recorded results and the choices: a damaged one is told before anything runs, not after."""
    choices.load()
    standings.standings(budgets.resolve)


def _refused(names: list[str], tier: str) -> dict[str, str]:
    """The notebooks that cannot be run as they are, and why: one that is damaged does not stop the others."""
    refused = {}
    for name in names:
        try:
            runner.request(name, tier)
        except UserError as error:
            refused[name] = str(error)
            print(f"{name}: cannot be run ({error})")
    return refused


@contextlib.contextmanager
def _disk_errors_in_one_line() -> Iterator[None]:
    """Turn a full or read-only disk into one line that says where."""
    try:
        yield
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        where = error.filename or paths.build()
        remedy = (
            "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "name another folder in SAEBOOK_BUILD"
        )
        raise UserError(f"cannot write {where} ({error.strerror}): {remedy} and build again") from None


def _run(names: list[str], tier: str, at_once: int, threads: int) -> dict[str, float]:
    """Run what is not fresh, each notebook by its own `saebook run`; returns the seconds that each took."""
    todo: dict[str, State] = {}
    for name in names:
        before = status.state(name, tier)
        if before.page and before.word == status.FRESH:
            print(f"{name}: fresh, nothing to run ({before.seconds:.0f} s when it ran)")
        else:
            todo[name] = before
    expected = {name: before.seconds or 0.0 for name, before in todo.items()}
    begun, spent, said, earlier = {}, {}, {}, {}

    def start(name: str, slot: int) -> parallel.Process:
        why = todo[name].why
        print(f"{name}: running at tier {tier}" + (f" ({why})" if why else ""), flush=True)
        earlier[name] = _identity(runner.latest(name, tier))
        said[name] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - read when it has ended
        process = _child(starter, name, tier, os.environ | {"SAEBOOK_SLOT": str(slot)}, said[name])
        begun[name] = time.monotonic()  # the first one waits for the imports that all have in common
        return process

    ended = parallel.run(parallel.jobs(expected, tier), start, at_once)
    with (
        warm.starter(threads, len(todo)) as starter,
        execution.progress_on_this_terminal(),
        contextlib.closing(ended),
    ):
        for name, process in ended:
            spent[f"notebook {name}"] = time.monotonic() - begun[name]
            with said[name] as output:
                output.seek(0)
                words = output.read().strip().splitlines()
            if process.returncode == 2:
                raise UserError(words[-1].removeprefix("saebook: ") if words else f"{name} could not be run")
            if process.returncode == 130:
                raise KeyboardInterrupt
            page = runner.latest(name, tier)
            kept = runner.record(page)
            if kept is None or _identity(page) == earlier[name]:
                last = words[-1] if words else f"status {process.returncode}, out of memory?"
                raise UserError(f"{name} ended without a record ({last}): run it again")
            print(
                f"{name}: {kept.status} in {kept.seconds:.0f} s" + (f", {kept.error}" if kept.error else ""), flush=True
            )
    return spent


def _identity(file: Path) -> tuple[int, int] | None:
    """What tells a file from the one that it replaced."""
    return (file.stat().st_ino, file.stat().st_mtime_ns) if file.is_file() else None


def _child(starter: warm.Starter, name: str, tier: str, environment: dict[str, str], output: IO) -> parallel.Process:
    return starter.start(["run", name, "--tier", tier], environment, output)
