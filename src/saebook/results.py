"""What a notebook found, written once as JSON (and the plotted points as CSV), whole or not at all.

A result names everything it depends on: parameters, seeds, corpus and subject hashes, versions, device, time. Results
of the tiers cpu, gpu and paper are committed; those of the smoke tier check the plumbing and are not.
"""

import datetime
import importlib.metadata as metadata
import json
import math
import platform
import resource
import subprocess
import sys
import time
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch

from saebook import paths
from saebook.subject import Subject
from saebook.sweep import rooms_hash
from saebook.text.sources import corpus, differences

_PACKAGES = ("torch", "transformer_lens", "transformers", "numpy", "tokenizers")
_BEGUN = time.monotonic()


def folder(tier: str) -> Path:
    return paths.data() / "results" / tier


def write(
    notebook: str, budget: SimpleNamespace, subject: Subject, points: pd.DataFrame, findings: dict, figure=None
) -> dict:  # fmt: skip
    """Write ``data/results/TIER/PAPER/NAME.json`` (and ``.csv``, ``.png``) and return the result.

    `notebook` is dotted (``gated.fig05_pareto``), `points` the plotted rows, `findings` plain numbers, lists, strings or
    dataclasses of them, `figure` a matplotlib figure.
    """
    paper, name = notebook.split(".")
    text = corpus(budget.source)
    result = {
        "notebook": notebook,
        "tier": budget.tier,
        "parameters": vars(budget),
        "findings": _plain(findings),
        "subject": {"name": subject.name, "weights_hash": subject.weights_hash},
        "corpus": {
            "source": budget.source,
            "hash": text.hash,
            "differs": corpus_differences(subject.name, budget.source),
        },
        "library_hash": rooms_hash(),
        "commit": _commit(),
        "device": torch.cuda.get_device_name()
        if subject.device.type == "cuda"
        else f"CPU, {torch.get_num_threads()} threads",
        "python": platform.python_version(),
        "versions": {package: metadata.version(package) for package in _PACKAGES},
        "date": datetime.date.today().isoformat(),
    }
    result |= _cost(result, points.attrs.get("trained", 0))
    home = folder(budget.tier) / paper
    home.mkdir(parents=True, exist_ok=True)
    _whole(home / f"{name}.csv", points.to_csv(index=False, float_format="%.6g"))
    if figure is not None:
        # No date or version inside, so that the same picture is the same file.
        figure.savefig(home / f"{name}.png", dpi=110, metadata={"Software": None})
    _whole(home / f"{name}.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    return result


def _cost(result: dict, trained: int) -> dict:
    """What the result cost. A page made from stored runs keeps the cost of the run that trained them."""
    before = read(result["notebook"], result["tier"])
    same = before and all(before[k] == result[k] for k in ("parameters", "library_hash", "subject"))
    if not trained and same:
        return {k: before[k] for k in ("seconds", "peak_memory_mb", "trained_runs") if k in before}
    seconds, peak = round(time.monotonic() - _BEGUN, 1), round(_peak_bytes() / 2**20)
    return {"seconds": seconds, "peak_memory_mb": peak, "trained_runs": trained}


def read(notebook: str, tier: str) -> dict | None:
    """The recorded result of a notebook at a tier, or None when it was never run there."""
    file = folder(tier) / (notebook.replace(".", "/") + ".json")
    return json.loads(file.read_text("utf-8")) if file.is_file() else None


def published(name: str) -> pd.DataFrame:
    """A table that a paper published, from ``data/papers/NAME.csv``; lines that begin with # say where it comes from."""
    return pd.read_csv(paths.data() / "papers" / f"{name}.csv", comment="#")


def provenance(result: dict) -> str:
    """One line: tier, device, time, memory, subject, corpus, versions, date."""
    versions = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
    differs = "; ".join(result["corpus"]["differs"])
    return (
        f"Tier {result['tier']} on {result['device']}: {result['seconds']:.0f} s, {result['peak_memory_mb']} MB, "
        f"{result.get('trained_runs', 'all')} SAEs trained, "
        f"{result['date']}. Subject {result['subject']['name']} ({result['subject']['weights_hash']}), corpus "
        f"{result['corpus']['hash']}, library {result['library_hash']}, commit {result['commit']}. "
        f"Python {result['python']}, {versions}."
        + (f" This environment's corpus differs: {differs}." if differs else "")
    )


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


def _whole(file: Path, text: str) -> None:
    aside = file.with_name(file.name + ".aside")
    aside.write_text(text, "utf-8")
    aside.replace(file)


def _commit() -> str:
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=paths.root(), capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
