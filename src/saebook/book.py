"""From notebooks to a rendered book: run what is not fresh, stage it beside the prose, render, and look at the result.

Jupyter Book only renders (``execute_notebooks: "off"``): its own execution would run on whatever machine builds the
pages, and its cache does not see the library. A failed notebook does not stop the others; its page says so.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import nbformat

from saebook import pages, paths, runner, tiers
from saebook.errors import UserError
from saebook.runner import RunRecord

_OUTSIDE = ("http:", "https:", "//")


def build(tier: str, names: list[str] | None = None) -> int:
    """Run the notebooks of `tier` (or `names` of them), render the book, print where the time went.

    Returns 1 when a notebook failed or a page is missing or reaches for the network; the book is built all the same.
    """
    tiers.load(tier)
    begun = time.monotonic()
    chosen = [
        runner.source(name).relative_to(paths.root() / "notebooks").with_suffix("").as_posix() for name in names or []
    ]
    chosen = chosen or [n for n in runner.names() if n.replace("/", ".") in tiers.load(tier)]
    if not chosen:
        raise UserError(f"tier {tier} has no notebook to run")
    spent = {}
    for name in chosen:
        started = time.monotonic()
        _fresh_or_run(name, tier)
        spent[f"notebook {name}"] = time.monotonic() - started
    records = {name: runner.record(runner.executed(name, tier)) for name in runner.names()}
    started = time.monotonic()
    staging = stage(tier, records)
    problems = render(staging)
    spent["rendering the book"] = time.monotonic() - started
    problems += [f"{r.name} {r.status}: {r.error}" for r in records.values() if r and r.status != "ok"]
    print(f"\nwhere the time went (tier {tier}):")
    for what, seconds in spent.items():
        print(f"  {seconds:7.1f} s  {what}")
    print(f"  {time.monotonic() - begun:7.1f} s  in all")
    for problem in problems:
        print(f"saebook: {problem}", file=sys.stderr)
    print(f"the book: {html() / 'index.html'}")
    return 1 if problems else 0


def html() -> Path:
    return paths.root() / "_build" / "html"


def seal(name: str, tier: str) -> str:
    """A hash of what a notebook's numbers depend on: its cells, the library, the budget files, the lock, the data."""
    root, digest = paths.root(), hashlib.sha256(tier.encode())
    for cell in nbformat.read(runner.source(name), 4).cells:
        digest.update(f"{cell.cell_type}\0{cell.source}\0{cell.metadata.get('tags')}".encode())
    library = Path(__file__).parent
    files = [
        *sorted(library.rglob("*.py")),
        library / "tiers" / f"{tier}.yml",
        root / "requirements.lock",
        root / "data" / "claims.yml",
    ]
    files += sorted((root / "data" / "papers").glob("*.csv")) + sorted(
        (root / "data" / "subjects").glob("*/*.safetensors")
    )
    for file in files:
        digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _fresh_or_run(name: str, tier: str) -> None:
    now, out = seal(name, tier), runner.executed(name, tier)
    before = runner.record(out)
    if before and before.status == "ok" and nbformat.read(out, 4).metadata["replication"].get("seal") == now:
        print(f"{name}: fresh, nothing to run ({before.seconds:.0f} s when it ran)")
        return
    print(f"{name}: running at tier {tier}", flush=True)
    kept = runner.run(name, tier, extra={"seal": now})
    print(f"{name}: {kept.status} in {kept.seconds:.0f} s" + (f", {kept.error}" if kept.error else ""), flush=True)


def stage(tier: str, records: dict[str, RunRecord | None]) -> Path:
    """Lay executed notebooks and prose out under the repository's own relative paths, in an empty folder."""
    root, staging = paths.root(), paths.root() / "_build" / "staging"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    shutil.copy(root / "_config.yml", staging)
    shutil.copytree(root / "book", staging / "book")
    for name, kept in records.items():
        target = staging / "notebooks" / f"{name}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        page = nbformat.read(runner.executed(name, tier) if kept else runner.source(name), 4)
        notice = _notice(kept, tier)
        if notice:
            # After the title, so that the page keeps its name in the table of contents.
            page.cells.insert(1, nbformat.v4.new_markdown_cell(notice))
        if not kept or kept.status != "ok":
            _without_holes(page)
        nbformat.write(page, target)
    rows = [
        {
            "name": n,
            "status": r.status if r else "never run",
            "seconds": r.seconds if r else None,
            "error": r.error if r else None,
        }
        for n, r in records.items()
    ]
    pages.generate(staging, tier, rows)
    return staging


def _notice(kept: RunRecord | None, tier: str) -> str:
    if kept is None:
        return f":::{{warning}}\nThis notebook has not been run at tier {tier}: the page below is its source.\n:::"
    if kept.status != "ok":
        words = str(kept.error).replace("`", "'")
        return f":::{{error}}\nThis notebook did not finish ({kept.status}): `{words}`. {kept.unran} cells were not reached.\n:::"
    if tier == "smoke":
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
