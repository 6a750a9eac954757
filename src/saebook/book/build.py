"""From notebooks to a rendered book: run what is not fresh, stage it beside the prose, render, and look at the result.

Jupyter Book only renders (``execute_notebooks: "off"``): its own execution would run on whatever machine builds the
pages, and its cache does not see the library. A failed notebook does not stop the others; its page says so.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import IO

import nbformat

from saebook.book import budgets, pages, parallel, runner, status, warm
from saebook.book.status import State
from saebook.common import paths
from saebook.common.errors import UserError

_OUTSIDE = ("http:", "https:", "//")


def build(tier: str, names: list[str] | None = None, at_once: int | None = None) -> int:
    """Run the notebooks of `tier` (or `names` of them), several `at_once`, render the book, print where the time went.

    Returns 1 when a notebook failed or a page is missing or reaches for the network; the book is built all the same.
    """
    budgets.load(tier)
    begun = time.monotonic()
    chosen = [runner.source(name).relative_to(runner.home()).with_suffix("").as_posix() for name in names or []]
    chosen = chosen or [n for n in runner.names() if n.replace("/", ".") in budgets.load(tier)]
    if not chosen:
        raise UserError(f"tier {tier} has no notebook to run")
    at_once, threads = parallel.share(at_once)
    spent = _run(chosen, tier, at_once, threads)
    states = [status.state(name, tier) for name in runner.names()]
    started = time.monotonic()
    staging = stage(tier, states)
    problems = render(staging)
    spent["rendering the book"] = time.monotonic() - started
    problems += [f"{s.name} {s.why}" for s in states if s.word == status.FAILED]
    print(f"\nwhere the time went (tier {tier}, notebooks at a time: {at_once}, threads each: {threads}):")
    for what, seconds in spent.items():
        print(f"  {seconds:7.1f} s  {what}")
    print(f"  {time.monotonic() - begun:7.1f} s  in all")
    for problem in problems:
        print(f"saebook: {problem}", file=sys.stderr)
    print(f"the book: {html() / 'index.html'}")
    return 1 if problems else 0


def html() -> Path:
    return paths.root() / "_build" / "html"


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
        begun[name], earlier[name] = time.monotonic(), _identity(runner.executed(name, tier))
        said[name] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - read when it has ended
        return _child(starter, name, tier, os.environ | {"SAEBOOK_SLOT": str(slot)}, said[name])

    ended = parallel.run(parallel.jobs(expected), start, at_once)
    with (
        warm.starter(threads, len(todo)) as starter,
        runner.progress_on_this_terminal(),
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
            page = runner.executed(name, tier)
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


def stage(tier: str, states: list[State]) -> Path:
    """Lay executed notebooks and prose out under the repository's own relative paths, in an empty folder."""
    root, staging = paths.root(), paths.root() / "_build" / "staging"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    shutil.copy(root / "_config.yml", staging)
    shutil.copytree(root / "book", staging / "book")
    for file in (paths.data() / "results").glob("*/*/*"):
        if file.suffix in (".json", ".csv") and "@" not in file.name:
            target = staging / "results" / file.relative_to(paths.data() / "results")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    for state in states:
        target = staging / "notebooks" / f"{state.name}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        page = nbformat.read(runner.executed(state.name, tier) if state.page else runner.source(state.name), 4)
        notice = _notice(state)
        if notice:
            # After the title, so that the page keeps its name in the table of contents.
            page.cells.insert(1, nbformat.v4.new_markdown_cell(notice))
        if not state.page or state.word == status.FAILED:
            _without_holes(page)
        page.cells.append(nbformat.v4.new_markdown_cell(pages.recorded(state.name)))
        nbformat.write(page, target)
    pages.generate(staging, tier, states)
    return staging


def _notice(state: State) -> str:
    if not state.page:
        why = f" ({state.why})" if state.why else ""
        return f":::{{warning}}\nThis notebook has not been run at tier {state.tier} in this copy{why}: the page below is its source.\n:::"
    kept = state.record
    if state.word == status.FAILED:
        words = str(kept.error).replace("`", "'")
        return f":::{{error}}\nThis notebook did not finish ({kept.status}): `{words}`. {kept.unran} cells were not reached.\n:::"
    if state.word == status.STALE:
        return f":::{{warning}}\nThis page is stale ({state.why}): `make book TIER={state.tier}` makes it again.\n:::"
    if state.tier == "smoke":
        return ":::{note}\nSmoke tier: budgets of seconds that check the plumbing. No conclusion can be drawn from these numbers.\n:::"
    return ""


def _without_holes(page) -> None:
    """Take figure labels off cells that show no figure, so that an honest failure still renders without warnings."""
    for cell in page.cells:
        if cell.cell_type == "code" and not any("image/png" in o.get("data", {}) for o in cell.outputs):
            cell.metadata.pop("mystnb", None)


def render(staging: Path) -> list[str]:
    """Render `staging` into `html()`; returns one line per problem. Warnings are errors, nothing stale is reused."""
    shutil.rmtree(html(), ignore_errors=True)
    command = [
        str(Path(sys.executable).with_name("jupyter-book")), "build", str(staging), "--toc", str(staging / "book" / "_toc.yml"),
        "--all", "-n", "-W", "--keep-going", "-q",
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONWARNINGS": "ignore"}
    )
    problems = []
    if done.returncode:
        log = (done.stdout + done.stderr).splitlines()
        warnings = [line for line in log if "WARNING" in line or "ERROR" in line]
        problems += [f"jupyter-book: {line}" for line in warnings or log[-5:]]
    made = staging / "_build" / "html"
    if not made.is_dir():
        return [*problems, "jupyter-book made no pages"]
    shutil.copytree(made, html())
    return problems + missing(staging) + reaching_out(html())


def missing(staging: Path) -> list[str]:
    """A line for every page that should be there and is not."""
    sources = [*(staging / "book").glob("*.md"), *(staging / "notebooks").rglob("*.ipynb")]
    wanted = ["index.html"] + [s.relative_to(staging).with_suffix(".html").as_posix() for s in sorted(sources)]
    return [f"no page {page}" for page in wanted if not (html() / page).is_file()]


class _Loads(HTMLParser):
    """Collects what a page loads by itself from elsewhere; links that a reader may follow do not count."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        address = given.get("src") if tag in ("script", "img", "iframe", "source", "video", "audio", "embed") else None
        if tag == "link" and not {"canonical", "next", "prev", "search", "index", "author"} & set(
            (given.get("rel") or "").split()
        ):
            address = given.get("href")
        if address and address.startswith(_OUTSIDE):
            self.found.append(address)


def reaching_out(folder: Path) -> list[str]:
    """A line for every address that a page of `folder` would load from a network."""
    lines = []
    for page in sorted(folder.rglob("*.html")):
        parser = _Loads()
        parser.feed(page.read_text("utf-8"))
        lines += [f"{page.relative_to(folder)} loads {address}" for address in dict.fromkeys(parser.found)]
    return lines
