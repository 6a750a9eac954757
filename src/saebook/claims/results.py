"""What a notebook found, written once as JSON (and the plotted points as CSV), whole or not at all.

A result names everything it depends on: parameters, seeds, corpus and subject, versions, device, time, and its seal.
Results of the tiers cpu, gpu and paper are committed; those of the smoke tier check the plumbing and are not, nor is a
run whose parameters are not the tier's own: it is kept under a name of its own and enters no verdict.
"""

import datetime
import importlib.metadata as metadata
import json
import math
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from saebook.book import budgets
from saebook.claims import provenance
from saebook.common import hardware, paths
from saebook.common.errors import UserError
from saebook.evaluation.intervals import Interval
from saebook.subject.model import Subject
from saebook.text.sources import corpus, differences

_PACKAGES = ("torch", "transformer_lens", "transformers", "numpy", "tokenizers")
_BEGUN = time.monotonic()
Live = dict[str, Interval | Sequence[Interval]]


def folder(tier: str) -> Path:
    return paths.data() / "results" / tier


def write(
    notebook: str, budget: SimpleNamespace, subject: Subject | None, points: pd.DataFrame, live: Live,
    findings: dict | None = None, figure=None,
) -> dict:  # fmt: skip
    """Write ``data/results/TIER/PAPER/NAME.json`` (and ``.csv``, ``.png``) and return the result.

    `notebook` is dotted (``gated.fig05_pareto``), `points` the plotted rows, `live` the intervals that the ledger's
    claims are judged by (a list of them for an ordering), `findings` whatever else: plain numbers, lists, strings or
    dataclasses. `subject` is None where no language model is involved, `figure` a matplotlib figure.
    """
    found = {
        "notebook": notebook,
        "tier": budget.tier,
        "parameters": vars(budget),
        "live": _plain(live),
        "findings": _plain(findings or {}),
        **_about(budget, subject),
    }
    found["seal"] = provenance.parts(notebook, budget, found["corpus"] and found["corpus"]["hash"])
    own = vars(budget) == vars(budgets.resolve(notebook, budget.tier))
    paper, name = notebook.split(".")
    return keep(budget.tier, paper, name if own else f"{name}@{found['seal']['parameters'][:8]}", found, points, figure)


def keep(tier: str, paper: str, name: str, found: dict, points: pd.DataFrame, figure=None) -> dict:
    """Write what was `found` below `folder(tier)` with what it cost, and its `points` and `figure` beside it."""
    file = folder(tier) / paper / name
    found |= _cost(found, points.attrs.get("trained", 0), file.with_suffix(".json"))
    file.parent.mkdir(parents=True, exist_ok=True)
    _whole(file.with_suffix(".csv"), points.to_csv(index=False, float_format="%.6g"))
    if figure is not None:
        # No date or version inside, so that the same picture is the same file.
        figure.savefig(file.with_suffix(".png"), dpi=110, metadata={"Software": None})
    _whole(file.with_suffix(".json"), json.dumps(found, indent=1, allow_nan=False) + "\n")
    return found


def tuning(tier: str, notebook: str, budget: SimpleNamespace, subject: Subject, points: pd.DataFrame, found: dict):
    """Record the grid of learning rates that `notebook`'s budget was chosen from, beside its result."""
    paper, name = notebook.split(".")
    record = {"parameters": vars(budget), "findings": _plain(found), **_about(budget, subject)}
    return keep(tier, paper, f"tuning_{name}", record, points)


def _about(budget: SimpleNamespace, subject: Subject | None) -> dict:
    """What a record says of the run besides its numbers: subject, corpus, commit, device, versions, date."""
    text = corpus(budget.source) if subject else None
    differs = corpus_differences(subject.name, budget.source) if subject else []
    return {
        "subject": {"name": subject.name, "weights_hash": subject.weights_hash} if subject else None,
        "corpus": {"source": budget.source, "hash": text.hash, "differs": differs} if text else None,
        "commit": _commit(),
        "device": hardware.device(subject.device.type if subject else "cpu"),
        "python": platform.python_version(),
        "versions": {package: metadata.version(package) for package in _PACKAGES},
        "date": datetime.date.today().isoformat(),
    }


def _cost(found: dict, trained: int, file: Path) -> dict:
    """What the result cost. A page made from stored runs keeps the cost of the run that trained them."""
    before = json.loads(file.read_text("utf-8")) if file.is_file() else None
    same = before and all(before[k] == found[k] for k in ("parameters", "subject", "corpus"))
    if not trained and same:
        return {k: before[k] for k in ("seconds", "peak_memory_mb", "trained_runs")}
    seconds, peak = round(time.monotonic() - _BEGUN, 1), round(hardware.peak_memory() / 2**20)
    return {"seconds": seconds, "peak_memory_mb": peak, "trained_runs": trained}


def read(notebook: str, tier: str) -> dict | None:
    """The recorded result of a notebook at a tier, or None when it was never run there.

    Raises `UserError` for a file that is damaged.
    """
    file = folder(tier) / (notebook.replace(".", "/") + ".json")
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text("utf-8"))
        _ = found["findings"], found["parameters"], found["date"]
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"result {file} is damaged: restore it from git, or delete it and run {notebook} again"
        ) from None
    return found


def live(result: dict, key: str) -> Interval | list[Interval]:
    """A recorded live quantity. Raises `KeyError` with the key when the result does not hold it."""
    kept = result["live"][key]
    return [_interval(one) for one in kept] if isinstance(kept, list) else _interval(kept)


def stale(result: dict) -> list[str]:
    """What has changed since a result was made, of all that its numbers depend on; empty when it still holds."""
    budget = budgets.resolve(result["notebook"], result["tier"])
    return provenance.changed(result.get("seal"), provenance.parts(result["notebook"], budget))


def published(name: str) -> pd.DataFrame:
    """A table that a paper published, from ``data/papers/NAME.csv``; lines that begin with # say where it comes from."""
    return pd.read_csv(paths.data() / "papers" / f"{name}.csv", comment="#")


def provenance_line(result: dict) -> str:
    """One line: tier, device, time, memory, subject, corpus, versions, date."""
    about = [
        f"Tier {result['tier']} on {result['device']}: {result['seconds']:.0f} s, {result['peak_memory_mb']} MB, "
        f"{result['trained_runs']} SAEs trained, {result['date']}."
    ]
    if result["subject"]:
        about.append(
            f"Subject {result['subject']['name']} ({result['subject']['weights_hash']}), corpus {result['corpus']['hash']}."
        )
        about += [f"This environment's corpus differs: {line}." for line in result["corpus"]["differs"]]
    versions = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
    about.append(
        f"Library {result['seal']['library']}, commit {result['commit']}. Python {result['python']}, {versions}."
    )
    return " ".join(about)


def corpus_differences(subject: str, source: str) -> list[str]:
    """How this environment's corpus differs from the one the subject was trained on; empty when it does not."""
    manifest = paths.data() / "subjects" / subject / "manifest.tsv"
    if source != "environment" or not manifest.is_file():
        return []
    expected = dict(line.split("\t") for line in manifest.read_text("utf-8").splitlines())
    return differences(expected, corpus(source).manifest)


def _plain(value):
    """JSON without NaN: a number that does not exist is null, so that a browser can read the file."""
    if is_dataclass(value):
        value = asdict(value)
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, bool | str | int) or value is None:
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def _interval(kept: dict) -> Interval:
    """An interval as it was before JSON, which knows neither infinity nor what is no number."""
    ends = (("mean", math.nan), ("low", -math.inf), ("high", math.inf))
    found = (instead if kept[name] is None else kept[name] for name, instead in ends)
    return Interval(*found, kept["n"], tuple(kept.get("values", ())))


def _whole(file: Path, text: str) -> None:
    aside = file.with_name(file.name + ".aside")
    aside.write_text(text, "utf-8")
    aside.replace(file)


def _commit() -> str:
    """The commit that is checked out, marked where anything but recorded results differs from it."""

    def git(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(["git", *words], cwd=paths.root(), capture_output=True, text=True, check=False)

    name = git("rev-parse", "--short", "HEAD").stdout.strip()
    if not name:
        return "unknown"
    return name + ("-dirty" if git("diff", "--quiet", "HEAD", "--", ".", ":!data/results").returncode else "")
