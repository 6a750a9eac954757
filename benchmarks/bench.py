"""What all sections share: how a benchmark is run, where its rows go, and the machine that they were measured on."""

import csv
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import coordinator
import environments
from coordinator import BY_LABEL, Setting, Timed

from saebook.common import hardware, paths
from saebook.common.files import write_text

# What the tables of the book compare: width of the activations, latents, latents active per token, tokens of a batch.
SHAPES = ((128, 1024, 32, 256), (256, 2048, 32, 1024), (576, 4608, 32, 1024), (768, 24576, 32, 1024))
KINDS = ("relu", "gated", "topk")
_PACKAGES = [
    "torch",
    "numpy",
    "sae-lens",
    "transformer-lens",
    "dictionary-learning",
    "eai-sparsify",
    "numba",
    "saebook",
]


@dataclass
class Bench:
    """One call of `run.py`: how thorough, with how many threads, and where to. `reasons` says why settings did not run."""

    quick: bool
    threads: int
    only: tuple[str, ...] = ()  # labels of settings; empty: all
    folder: Path = field(default_factory=lambda: paths.build() / "bench")
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        return 2 if self.quick else 5

    @property
    def enough(self) -> float:
        """Seconds that one request should take."""
        return 0.02 if self.quick else 0.25

    def chosen(self, settings: Sequence[Setting]) -> list[Setting]:
        """The `settings` that were asked for; ours always."""
        return [s for s in settings if not self.only or s.label in self.only or s.label == coordinator.OURS]

    def workers(self, settings: Sequence[Setting], threads: int | None = None):
        """Workers of `settings`, as `coordinator.workers` yields them."""
        return coordinator.workers(self.chosen(settings), threads or self.threads, self.folder)

    def failures(self, timed: dict[str, Timed], what: str) -> None:
        """Keep why settings failed at `what`."""
        self.reasons |= {f"{label}: {what}": t.failed for label, t in timed.items() if t.failed}

    def write(
        self, section: str, rows: list[dict[str, Any]], began: float, load: float, record: bool, **more: Any
    ) -> None:
        """Write the `rows` of a section as CSV, and beside them a JSON file about how they were measured."""
        about = {
            "section": section, "machine": hardware.processor(), "cores": os.cpu_count(), "threads": self.threads,
            "quick": self.quick, "load_before": round(load, 2), "seconds": round(time.monotonic() - began, 1),
            "date": time.strftime("%Y-%m-%d", time.gmtime()), "versions": self._versions(), "did_not_run": self.reasons, **more,
        }  # fmt: skip
        write_text(self.folder / f"{section}.json", json.dumps(about, indent=1, sort_keys=True) + "\n")
        with open(self.folder / f"{section}.csv", "w", newline="", encoding="utf-8") as file:
            names = list(dict.fromkeys(name for row in rows for name in row))
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: _short(value) for name, value in row.items()} for row in rows)
        if record:
            target = paths.data() / "benchmarks"
            target.mkdir(parents=True, exist_ok=True)
            for suffix in (".json", ".csv"):
                shutil.copy(self.folder / f"{section}{suffix}", target / f"{section}{suffix}")

    def _versions(self) -> dict[str, dict[str, str]]:
        import sys

        made = {"saebook": environments.versions(Path(sys.executable), _PACKAGES)}
        for name in environments.pins():
            interpreter = self.folder / "environments" / name / "bin" / "python"
            if interpreter.is_file():
                made[name] = environments.versions(interpreter, _PACKAGES)
        return made


def label_rows(timed: dict[str, Timed], shared: dict[str, Any], tokens: int) -> list[dict[str, Any]]:
    """One row a setting: what it is, seconds of a unit, tokens per second, its ratio to ours, and what it reported."""
    rows = []
    for label, one in timed.items():
        seconds = one.median if one.seconds else None
        speed = {"seconds": seconds, "tokens_per_second": tokens / seconds if seconds else None}
        library = BY_LABEL[label].library
        measured = {name: value for name, value in one.report.items() if name != "checksum"}
        rows.append(
            {
                **shared,
                "setting": label,
                "library": library,
                **speed,
                **coordinator.ratios(timed, label),
                **measured,
                "failed": one.failed,
            }
        )
    return rows


def same_data(timed: dict[str, Timed]) -> None:
    """Raise `AssertionError` when two settings saw different activations."""
    sums = {round(t.report["checksum"], 3) for t in timed.values() if "checksum" in t.report}
    assert len(sums) <= 1, f"the libraries saw different data: {sums}"


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
