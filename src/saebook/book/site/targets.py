"""What the recorded benchmarks say in short: the targets that are met, and the answer in a sentence."""

import json
from dataclasses import dataclass
from typing import Any

import pandas as pd

from saebook.common import paths
from saebook.common.errors import UserError

OURS, LIBRARY = "saebook", "ours"  # what is compared with all others, and the library of all our settings
KINDS = {"relu": "ReLU", "gated": "Gated", "topk": "TopK with AuxK"}
SHAPE = ["d_in", "d_sae", "k", "batch"]


@dataclass(frozen=True)
class Recorded:
    """One section: `about` says how it was measured, `rows` are the measurements."""

    about: dict[str, Any]
    rows: pd.DataFrame


# What keeps each measurement from being better, for those that miss their target.
_STEP = (
    "the encoder's dense product runs at the processor's peak and is the largest part of the step; on few tokens so do the "
    "interpreter and the waking of a second thread"
)
_SWEEP = (
    "a run begins with half of all latents active, and members that train at the same time wait for one another at the "
    "interpreter's lock"
)
_E2E = (
    "the model's own products in single precision are most of the step and the reference has hardly more of them: it runs "
    "the lower blocks twice, and nothing of the upper ones can be left out"
)
_MEMORY = "the states of the upper blocks, which the gradient needs"
_BOOK = "end-to-end steps gained little, and evaluation and what pages compute besides training do not shrink with the tokens"


@dataclass(frozen=True)
class Target:
    """What is measured against a bar: at least `wanted`, or below it where `below`. `limit` is what stands in the way."""

    what: str
    value: float
    wanted: float
    limit: str
    below: bool = False

    @property
    def met(self) -> bool:
        return self.value < self.wanted if self.below else self.value >= self.wanted


def read(section: str) -> Recorded | None:
    """A recorded section, None where there is none. Raises `UserError` when its files are damaged."""
    file = paths.data() / "benchmarks" / f"{section}.json"
    if not file.is_file():
        return None
    try:
        rows = pd.read_csv(file.with_suffix(".csv"), keep_default_na=True)
        if "failed" in rows:
            rows = rows[rows.failed.isna()].reset_index(drop=True)
        return Recorded(json.loads(file.read_text("utf-8")), rows)
    except (OSError, ValueError):
        raise UserError(f"the benchmark {file} is damaged: restore it and its CSV from git") from None


def fastest_others(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each kind and shape the row of the fastest setting of any other library; its `ratio` is ours to beat."""
    others = rows[rows.library != LIBRARY].dropna(subset=["seconds", "ratio"])
    return others.loc[others.groupby(["kind", *SHAPE]).seconds.idxmin()]


def targets(kept: dict[str, Recorded]) -> list[Target]:
    """Every target that the recorded sections can be held to."""
    made = []
    if "steps" in kept:
        steps = kept["steps"]
        best = fastest_others(steps.rows[steps.rows.threads == steps.about["threads"]])
        last = best.d_sae.max()
        for kind, wanted in (("relu", 3.0), ("gated", 3.0), ("topk", 2.0)):
            mine = best[best.kind == kind]
            if len(narrow := mine[mine.d_sae < last]):
                made.append(
                    Target(f"{KINDS[kind]} step, least of {len(narrow)} shapes", narrow.ratio.min(), wanted, _STEP)
                )
            for row in mine[mine.d_sae == last].itertuples():
                made.append(Target(f"{KINDS[kind]} step at {row.d_in}/{row.d_sae}", float(str(row.ratio)), 2.0, _STEP))
    if "sweep" in kept:
        others = _others(kept["sweep"].rows)
        made += [Target("sweep of Gated SAEs with its subject", others.ratio.min(), 6.0, _SWEEP)] if len(others) else []
    if "e2e" in kept:
        for batch, rows in kept["e2e"].rows.groupby("batch"):
            mine, others = rows[rows.setting == OURS], rows[rows.setting != OURS]
            if len(mine) and len(others):
                made.append(Target(f"end-to-end step, {batch} tokens", others.ratio.min(), 3.0, _E2E))
                share = float(mine.memory.iloc[0] / others.memory.min())
                made.append(
                    Target(
                        f"its memory, as a share of the reference's, {batch} tokens", share, 0.5, _MEMORY, below=True
                    )
                )
    if "book" in kept:
        made.append(
            Target(
                "the cpu book at its former tokens, in minutes",
                kept["book"].rows.seconds[0] / 60,
                10,
                _BOOK,
                below=True,
            )
        )
    return made


def answer(kept: dict[str, Recorded]) -> str:
    if not kept:
        return "No benchmark is recorded in this copy, so there is no answer yet.\n"
    words = []
    if "steps" in kept:
        steps = kept["steps"]
        best = fastest_others(steps.rows[steps.rows.threads == steps.about["threads"]])
        ranges = [
            f"{KINDS[kind]} {of.ratio.min():.1f} to {of.ratio.max():.1f} times"
            for kind in KINDS
            if len(of := best[best.kind == kind])
        ]
        words.append(
            f"A training step here is faster than in the fastest setting of any other library by these factors, over all "
            f"shapes: {', '.join(ranges)}."
        )
    if "sweep" in kept and len(others := _others(kept["sweep"].rows)):
        saes = int(kept["sweep"].rows.saes.iloc[0])
        words.append(
            f"A sweep of {saes} Gated SAEs with its subject takes {_times(others.ratio.min())} as long elsewhere."
        )
    if "e2e" in kept and len(others := kept["e2e"].rows[kept["e2e"].rows.setting != OURS]):
        words.append(f"An end-to-end step by the reference path takes {_times(others.ratio.min())} as long or more.")
    held = targets(kept)
    if held:
        words.append(f"Of {len(held)} targets {sum(target.met for target in held)} are met.")
    return " ".join(words) + "\n"


def _times(ratio: float) -> str:
    return f"{ratio:.1f} times"


def _others(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows.setting != OURS) & rows.ratio.notna()]
