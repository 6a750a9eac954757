"""How well token patterns explain elements of each objective: a machine's stand-in for the paper's interpretability study (Figure 9).

Letters: N rows, T positions, D d_in.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saebook.common.progress import bar
from saebook.evaluation.explanations import sampled_rows
from saebook.evaluation.explanations.contexts import rows_at_once
from saebook.evaluation.explanations.explaining import explain, read
from saebook.evaluation.explanations.pruning import Settings
from saebook.evaluation.explanations.scoring import score
from saebook.evaluation.intervals import Interval
from saebook.papers.e2e.budgets import ExplainedByLayer
from saebook.papers.e2e.comparison import CE, common_level
from saebook.papers.e2e.measured.picking import OF_RUN, at_level, between_seeds, common_l0, contrasts, picked
from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject
from saebook.training.config import Data

F1, EXPLAINED, ELEMENTS = "f1", "explained", "elements"
SCORES = {F1: "F1", EXPLAINED: "share of activation explained"}
SKIP = 1  # a pattern stands behind the token that begins a document, so a row's first position cannot be explained
STEPS = {"e2e minus local": ("e2e", "local"), "e2e+ds minus local": ("e2e+ds", "local")}
_DRAW = 47  # a stream of random numbers apart from those of training


@torch.inference_mode()
def firing(sae: SAEStack, x: Tensor) -> np.ndarray:
    """The elements that fire in the text with activations `x` [N, T, D] of a stack of one."""
    fired = torch.zeros(sae.d_sae, dtype=torch.bool, device=x.device)
    for part in x[:, SKIP:].split(rows_at_once(x, sae.d_sae)):
        fired |= (sae.encode(sae.prepare(part.flatten(0, 1))[0])[0] > 0).any(0)
    return fired.nonzero().flatten().cpu().numpy()


@dataclass(frozen=True)
class Texts:
    """Rows [N, T] that patterns are made from, `seen`, and those that they are judged on, `other`, with how to make patterns."""

    seen: Tensor
    other: Tensor
    settings: Settings
    elements: int

    @classmethod
    def of(cls, budget: ExplainedByLayer, subject: Subject, data: Data, other: Tensor) -> "Texts":
        """Training rows of the budget's number, drawn at random, always the same ones; `other` are its validation rows."""
        length = data.row_length(subject.context)
        seen = sampled_rows.training_rows(subject, data.source, length, budget.explain_rows, _DRAW)
        settings = Settings(budget.strongest, budget.drawn, budget.longest)
        return cls(seen, other, settings, budget.explained_elements)

    def shuffled(self, seed: int = 0) -> "Texts":
        """The same with the tokens of each row that is explained in a random order: no token has its context any more."""
        return replace(self, seen=sampled_rows.shuffled(self.seen, seed))


def scores(
    table: pd.DataFrame, saes: Sequence[SAEStack], subject: Subject, site: Site, texts: Texts, shift: int = 0
) -> pd.DataFrame:
    """The mean scores of `texts.elements` elements of each SAE, drawn at random among those that fire; a line per SAE.

    `saes` are stacks of one, the runs of a sweep's `table` line by line. Beside the columns of `OF_RUN`: the number of
    `elements` explained, and the means over them of precision, recall, F1 and the share of the squared activation that
    predictions explain. An element that neither fires nor is predicted to on the other text counts in none of them, and one
    that fires unforeseen has a share of zero. With `shift` each element is held against the patterns of another.
    """
    x, held, lines = read(subject, site, texts.seen), read(subject, site, texts.other), []
    with bar(len(saes), "explaining", "SAE") as progress:
        for run, sae in zip(table[OF_RUN].to_dict("records"), saes, strict=True):
            seed = int(run["seed"])
            drawn = np.sort(np.random.default_rng([_DRAW, seed]).permutation(firing(sae, x))[: texts.elements])
            progress.update()
            if len(drawn) < 2:  # nothing to explain, and no other element to be held against
                continue
            made = explain(subject, site, sae, drawn.tolist(), texts.seen, texts.settings, SKIP, seed, x)
            each = score(made, subject, site, sae, texts.other, SKIP, shift=shift, activations=held)
            each = each[each.active + each.predicted > 0]
            means = each[["precision", "recall", F1, EXPLAINED]].mean()
            lines.append(run | {ELEMENTS: len(drawn), "unexplained": made.share_unexplained} | means.to_dict())
    return pd.DataFrame(lines)


def scores_by_layer(
    table: pd.DataFrame, saes: Callable[[pd.DataFrame], Sequence[SAEStack]], subject: Subject, sites: Sequence[Site],
    texts: Texts, shift: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """`scores` of the runs of a sweep's `table` at each of `sites`, with the column `layer`; `saes` loads those of some runs."""
    parts = []
    for site in sites:
        mine = table[table.layer == site.layer]
        parts.append(scores(mine, saes(mine), subject, site, texts, shift).assign(layer=site.layer))
    return pd.concat(parts, ignore_index=True)


def near_common_loss(table: pd.DataFrame) -> pd.DataFrame:
    """Of each layer, method and seed of a sweep's `table` the run that is nearest to the layer's `common_level` of added loss."""
    return pd.concat([picked(group, common_level(group)) for _, group in table.groupby("layer")], ignore_index=True)


def controls(
    table: pd.DataFrame, saes: Callable[[pd.DataFrame], Sequence[SAEStack]], subject: Subject, sites: Sequence[Site],
    texts: Texts,
) -> pd.DataFrame:  # fmt: skip
    """`scores_by_layer` with patterns of the elements themselves, of another element, and of shuffled text: a column says which."""
    kinds = {"its own": (texts, 0), "another element": (texts, 1), "shuffled text": (texts.shuffled(), 0)}
    parts = [
        scores_by_layer(table, saes, subject, sites, *how).assign(**{"patterns of": kind})
        for kind, how in kinds.items()
    ]
    return pd.concat(parts, ignore_index=True)


def differences_by_layer(measured: pd.DataFrame, column: str) -> dict[tuple[int, str, str], Interval]:
    """End-to-end minus local at equal L0 and at equal added loss, by layer, comparison and step: the shape of Table 4.

    A step whose method was not trained at a layer is left out there. Two contrasts of a layer and a comparison hold together.
    """
    intervals = {}
    for layer, runs in measured.groupby("layer"):
        steps = {words: pair for words, pair in STEPS.items() if set(pair) <= set(runs.method)}
        for comparison, at, level in (("L0", "l0", common_l0(runs)), ("added loss", CE, common_level(runs))):
            values = at_level(runs, [column], level, at=at)
            for words, interval in contrasts(values, column, steps).items():
                intervals[int(layer), comparison, words] = interval  # pyright: ignore[reportArgumentType]
    return intervals


def between_seeds_by_layer(measured: pd.DataFrame, column: str) -> dict[int, float]:
    """By layer, the largest difference of `column` between two seeds of local at equal added loss; NaN without two seeds."""
    return {
        int(layer): between_seeds(at_level(runs, [column], common_level(runs)), column)  # pyright: ignore[reportArgumentType]
        for layer, runs in measured.groupby("layer")
    }
