"""A strict runner over papermill: refuses what papermill lets pass, and says itself how a run ended.

papermill warns about an unknown parameter and runs on with the default; it takes a string for a float; after a time-out
or a killed kernel it marks every cell as completed. So everything that was asked for is checked first (`parameters`,
`budgets`, `preflight`), and the outcome is judged by what the cells show: an error output, or a code cell that never ran.
The record lies in the notebook's metadata under ``replication``; ``metadata.papermill`` is never read.

A tier's page is `executed(name, tier)`. A run with other parameters goes to NAME@HASH beside it, and a failed run to
NAME@failed: neither replaces a good page.
"""

import difflib
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from saebook.book import budgets
from saebook.book.running import execution, parameters, preflight
from saebook.common import paths, sidecar
from saebook.common.errors import UserError
from saebook.common.limits import Budget
from saebook.common.names import TIERS

# Seconds a cell may take. Larger tiers train for hours or days, without a limit.
TIMEOUTS = {"smoke": 3600, "cpu": 3600}


@dataclass(frozen=True)
class RunRecord:
    """How a run ended. `status` is ok, failed, timeout or killed; `error` one line; `unran` code cells never reached."""

    name: str
    tier: str
    status: str
    error: str | None
    seconds: float
    unran: int
    parameters: dict[str, Any]
    hashes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """A run that has been checked: the notebook, its parameters, whether they are the tier's own, and what to warn of."""

    name: str
    file: Path
    tier: str
    values: dict[str, Any]
    budget: Budget | None
    own: bool
    warnings: tuple[str, ...] = ()


def names() -> list[str]:
    """Every chapter, as `paper/name`, in the order of the book."""
    return sidecar.names()


def source(name: str) -> Path:
    """The notebook file of a name, a chapter or the reader's own below `notebooks/`. Raises `UserError` with the nearest."""
    home, plain = sidecar.folder().resolve(), name[:1000].removesuffix(".ipynb")
    parts = Path(plain).parts
    if len(name) > 200 or not name.isprintable() or ".." in parts:
        raise UserError(f"{name[:80]!r} is not a notebook of this book: use PAPER/NAME, such as gated/fig05_pareto")
    if Path(plain).is_absolute():
        if not Path(plain).is_relative_to(home):
            raise UserError(f"{name} is not below {home}: copy the notebook there and run it as PAPER/NAME")
        plain = Path(plain).relative_to(home).as_posix()
    plain = plain.removeprefix("./").removeprefix("notebooks/")
    file = home / f"{plain}.ipynb"
    if len(Path(plain).parts) == 2 and file.is_file() and file.resolve().is_relative_to(home):
        return file
    known = [f"{one.parent.name}/{one.stem}" for one in sorted(home.glob("*/*.ipynb"))]
    near = difflib.get_close_matches(plain, known, 1, 0.4)
    raise UserError(
        f"no notebook '{name}': " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}")
    )


def request(name: str, tier: str, given: dict[Any, Any] | None = None) -> Request:
    """Check that notebook `name` can run at `tier` with the parameters `given`; relative folders are the caller's.

    Raises `UserError` in one line, before anything is written or a kernel starts.
    """
    if tier not in TIERS:
        raise UserError(f"tier '{tier[:80]}' is not known: use one of {', '.join(TIERS)}")
    file = source(name)
    plain = f"{file.parent.name}/{file.stem}"
    known = parameters.of(file)
    asked = preflight.absolute(parameters.checked(known, given or {}), Path.cwd())
    if asked.pop("tier", tier) != tier:
        raise UserError("give the tier once: --tier, not -p tier")
    values = ({"tier": tier} if any(one.name == "tier" for one in known) else {}) | asked
    if not file.with_suffix(".yml").is_file():  # a notebook of the reader's own
        return Request(plain, file, tier, values, None, not asked)
    in_budget = {key: value for key, value in asked.items() if key in budgets.budget_class(plain).model_fields}
    budget = budgets.resolve(plain, tier, **in_budget)
    warnings = preflight.check(budget)
    own = budget == budgets.resolve(plain, tier) and len(in_budget) == len(asked)
    return Request(plain, file, tier, values, budget, own, warnings)


def executed(name: str, tier: str) -> Path:
    """Where the page of a notebook at a tier lies: its last good run with the tier's own parameters."""
    return paths.build() / "executed" / tier / "notebooks" / f"{name}.ipynb"


def failed(name: str, tier: str) -> Path:
    """Where the notebook lies of a run with the tier's own parameters that failed; the next good run removes it."""
    page = executed(name, tier)
    return page.with_name(f"{page.stem}@failed.ipynb")


def latest(name: str, tier: str) -> Path:
    """The notebook of the last run with the tier's own parameters, whether it was good or failed."""
    return failed(name, tier) if failed(name, tier).is_file() else executed(name, tier)


def record(file: Path) -> RunRecord | None:
    """The runner's own record in an executed notebook; None when there is none that can be read."""
    try:
        kept = json.loads(file.read_text("utf-8"))["metadata"]["replication"]
        fields = {name: kept[name] for name in RunRecord.__dataclass_fields__ if name != "hashes"}
        whole = RunRecord(**fields, hashes=dict(kept.get("hashes", {})))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    right = isinstance(whole.seconds, int | float) and isinstance(whole.status, str) and isinstance(whole.unran, int)
    return whole if right else None


def run(
    name: str,
    tier: str = "smoke",
    given: dict[Any, Any] | None = None,
    out: Path | None = None,
    timeout: int | None = None,
) -> tuple[RunRecord, Path]:
    """Execute notebook `name` at `tier` with parameters `given`; returns how it ended and where the notebook is.

    A cell may take `timeout` seconds, by default what `TIMEOUTS` says of the tier.
    Nothing is written when a name, a value or `out` is refused (`UserError`). Warnings go to standard error before the run.
    The hashes of the run's provenance are kept in the notebook's metadata beside the record.
    """
    asked = request(name, tier, given)
    if out is not None:
        out = checked_out(out)
    preflight.check_folders()
    for words in asked.warnings:
        print(f"saebook: warning: {words}", file=sys.stderr, flush=True)
    hashes = _hashes(asked)
    page = out or _page(asked, hashes)
    _make_room(page.parent)
    aside = page.with_name(f".{page.stem[:100]}.{os.getpid()}.ipynb")
    try:
        begun = time.monotonic()
        ended = execution.execute(asked.file, aside, asked.values, timeout or TIMEOUTS.get(tier))
        seconds = round(time.monotonic() - begun, 1)
        kept = RunRecord(asked.name, tier, ended.status, ended.error, seconds, ended.unran, asked.values, hashes)
        execution.annotate(aside, {"replication": asdict(kept) | {"own": asked.own}})
        if out is None and asked.own and kept.status != "ok":
            page = failed(asked.name, tier)
        aside.replace(page)
    finally:
        aside.unlink(missing_ok=True)
    if out is None and asked.own and kept.status == "ok":
        failed(asked.name, tier).unlink(missing_ok=True)
    return kept, page


def _hashes(asked: Request) -> dict[str, str]:
    from saebook.claims import provenance

    return provenance.parts(asked.name, asked.budget) if asked.budget else {}


def _page(asked: Request, hashes: dict[str, str]) -> Path:
    """Where a run's notebook goes: the tier's page, or a name of its own for other parameters, as its result has."""
    page = executed(asked.name, asked.tier)
    if asked.own:
        return page
    values = json.dumps(asked.values, sort_keys=True)
    digest = hashes.get("parameters") or hashlib.sha256(values.encode()).hexdigest()
    return page.with_name(f"{page.stem}@{digest[:8]}.ipynb")


def checked_out(out: Path) -> Path:
    """Where `-o` puts the notebook. Raises `UserError` for a place that must not be, or cannot be, written to."""
    place = out.expanduser()
    if len(str(place)) > 1000 or not str(place).isprintable():
        raise UserError("-o must be a path of at most 1000 printable characters")
    place = place.resolve()
    if place.is_dir():
        raise UserError(f"-o takes the name of a file, and {out} is a folder")
    if place.suffix != ".ipynb":
        raise UserError(f"-o takes the name of a notebook, such as out.ipynb, not {out}")
    if place.is_relative_to(sidecar.folder().resolve()):
        raise UserError(f"-o must not be below notebooks/, where the sources are: {out}")
    if place.exists() and not place.is_file():
        raise UserError(f"-o takes the name of a file, and {out} is a device or a pipe")
    above = next(folder for folder in place.parents if folder.exists())
    if not above.is_dir():
        raise UserError(f"-o cannot be {out}: {above} is a file, not a folder")
    return place


def _make_room(folder: Path) -> None:
    """Make the folder of a page, and remove what runs left there that were killed before they could."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".*.*.ipynb"):
        owner = left.stem.rpartition(".")[2]
        if owner.isdigit() and not _alive(int(owner)):
            left.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def describe(name: str, tier: str) -> Iterator[str]:
    """One line per parameter of a notebook: name, type, its value at `tier` as `-p` takes it, and help."""
    if tier not in TIERS:
        raise UserError(f"tier '{tier[:80]}' is not known: use one of {', '.join(TIERS)}")
    file = source(name)
    chapter = file.with_suffix(".yml").is_file()  # a notebook of the reader's own has its defaults alone
    values = budgets.resolve(f"{file.parent.name}/{file.stem}", tier).model_dump() if chapter else {"tier": tier}
    for one in parameters.of(file):
        yield one.described(values.get(one.name, one.default))
