"""What the chapters on scaling train: TopK by the paper's own recipe, at one constant learning rate a run.

A constant rate (appendix A) makes a training curve mean something at every point: a shorter run would have ended there.
"""

import math
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import scipy  # `scipy.stats` is imported when it is first used

from saebook.papers.topk.scaling.budgets import (
    BUDGETS,
    BatchSizes,
    Convergence,
    RatesByWidth,
    ScalingGrid,
    SubjectSizes,
)
from saebook.papers.topk.scaling.subject_sizes import sweep_sizes
from saebook.subject.model import Site, Subject
from saebook.subject.random_weights import trained
from saebook.training.config import Data, Method, TrainConfig
from saebook.training.plan import Plan
from saebook.training.sweep import SweepResult, sweep
from saebook.training.tuning import Tuner, Tuning, choosing, chosen, penalty, scores

AUX_WEIGHT = 1 / 32  # appendix A.2
# Inputs as in `topk.plans`, which imports this module; a test holds the two together.
OPTIONS = (("per_token", True), ("aux_weight", AUX_WEIGHT))
RECIPE = {"beta1": 0.9, "eps": 6.25e-10, "resample_at": (), "warmup_share": 0.0, "decay_share": 0.0}  # appendix A.3
AT = " at "  # between a subject and a width
RATES = (1.25e-3, 2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2)


def scaling_grid(budget: ScalingGrid, site: Site) -> list[Method]:
    """Every width with every k, at the rate of the width (Figure 1)."""
    ks = tuple(map(float, budget.ks))
    return [_topk(budget, width, ks, budget.topk_lr[str(width)], budget.batch) for width in budget.widths]


def rates_by_width(budget: RatesByWidth, site: Site) -> list[Method]:
    """Every width at every rate, with one k (Figure 3). A method is named by its rate."""
    k = (float(budget.fixed_k),)
    return [
        replace(_topk(budget, width, k, rate, budget.batch), name=f"{rate:g}")
        for width in budget.widths
        for rate in budget.rates
    ]


def convergence(budget: Convergence, site: Site) -> list[Method]:
    """Every width at its own rate, with one k (Figure 11)."""
    return [replace(method, sparsities=(float(budget.fixed_k),)) for method in scaling_grid(budget, site)]


def batch_sizes(budget: BatchSizes, site: Site) -> list[Method]:
    """One SAE in every batch, at the rate of the batch (Figure 12). They cannot be trained together: `sweep_each`."""
    k = (float(budget.k),)
    return [
        replace(_topk(budget, budget.d_sae, k, budget.topk_lr[str(batch)], batch), name=f"batch {batch}")
        for batch in budget.batches
    ]


def by_subject(budget: SubjectSizes, name: str) -> list[Method]:
    """Every width with every k, at the rate of the subject `name` (Figure 4)."""
    ks = tuple(map(float, budget.ks))
    return [_topk(budget, width, ks, budget.topk_lr[name], budget.batch) for width in budget.widths]


def each_block(budget: SubjectSizes) -> Method:
    """What is trained after every block of `budget.deeper`."""
    deeper = budget.deeper
    return _topk(budget, deeper.d_sae, (float(deeper.k),), deeper.lr, budget.batch)


def subject_sizes(budget: SubjectSizes, site: Site) -> list[Method]:
    """What `by_subject` has for the largest subject."""
    return by_subject(budget, trained(budget.subject))


def sweep_each(subject: Subject, site: Site, methods: list[Method], seeds: tuple[int, ...], data: Data) -> SweepResult:
    """A sweep of each method by itself, in one table with the column `batch`: one pass of the text has one batch size."""
    parts = [sweep(subject, site, [method], list(seeds), data) for method in methods]
    tables = [part.table.assign(batch=method.training.batch) for part, method in zip(parts, methods, strict=True)]
    return SweepResult(pd.concat(tables, ignore_index=True), sum(part.trained for part in parts))


def error_at_equal_k(one: pd.DataFrame, other: pd.DataFrame) -> float:
    """The normalised error of one sweep over another's at equal k, as a geometric mean over the k of both; NaN without any."""
    left, right = (table.groupby("sparsity").normalised_mse.mean() for table in (one, other))
    ratios = (left / right).dropna()
    return float(np.exp(np.log(ratios.to_numpy()).mean())) if len(ratios) else math.nan


@dataclass(frozen=True)
class EachAlone(Tuner):
    """The same rule for methods that take different batches, and so are trained one by one."""

    def run(self, budget: Any, subject: Subject, methods: list[Method], data: Data) -> Tuning:
        site, data, parts = subject.site(budget.site, budget.layer), choosing(data), []
        for rate in self.rates:
            at_rate = [replace(m, training=replace(m.training, lr=rate)) for m in methods]
            parts.append(sweep_each(subject, site, at_rate, self.seeds, data).table.assign(lr=rate))
        table = pd.concat(parts, ignore_index=True)
        with warnings.catch_warnings():  # one k has no rank correlation with L0, by which collapsed SAEs are told
            warnings.simplefilter("ignore", scipy.stats.ConstantInputWarning)
            scored = scores(table, self.cost)
        winners = self.chosen(scored)
        findings = {"rates": self.rates, "seeds": self.seeds, "chosen": winners, "penalty": penalty(scored, winners)}
        return Tuning(table, findings, scored)


@dataclass(frozen=True)
class EachSubject(Tuner):
    """The same rule for the subjects of a family: one rate for each, with all widths and ks on it."""

    def run(self, budget: SubjectSizes, subject: Subject, methods: list[Method], data: Data) -> Tuning:
        data, parts = choosing(data), []
        tuned = budget.model_copy(update={"seeds": self.seeds})
        for rate in self.rates:

            def at_rate(name: str, rate: float = rate) -> list[Method]:
                return [replace(m, training=replace(m.training, lr=rate)) for m in by_subject(budget, name)]

            parts.append(sweep_sizes(tuned, at_rate, data).table.assign(lr=rate))
        table = pd.concat(parts, ignore_index=True)
        # What an SAE costs and whether it collapsed is asked at one width.
        scored = scores(table.assign(method=table.subject + AT + table.d_sae.astype(str)), self.cost)
        winners = self.chosen(scored)
        lost = penalty(_of_subjects(scored), winners)
        return Tuning(table, {"rates": self.rates, "seeds": self.seeds, "chosen": winners, "penalty": lost}, scored)

    def chosen(self, scored: pd.DataFrame) -> dict[str, float]:
        """The winning rate of each subject: the cheapest over all its widths, where nothing is lost at any of them."""
        return chosen(_of_subjects(scored))


def _of_subjects(scored: pd.DataFrame) -> pd.DataFrame:
    """Scores of every subject and width as those of every subject: costs multiplied, losses added."""
    named = scored.assign(cost=np.log(scored.cost), method=scored.method.str.rpartition(AT)[0])
    together = named.groupby(["method", "lr"], as_index=False)[["cost", "lost"]].sum()
    return together.assign(cost=np.exp(together.cost))


def _topk(
    budget: ScalingGrid | BatchSizes | SubjectSizes, width: int, ks: tuple[float, ...], rate: float, batch: int
) -> Method:  # fmt: skip
    return Method("topk", width, ks, TrainConfig(lr=rate, tokens=budget.tokens, batch=batch, **RECIPE), OPTIONS)


PLANS = {
    "scaling_grid": Plan(BUDGETS["scaling_grid"], scaling_grid, Tuner(error_at_equal_k, RATES)),
    "rates_by_width": Plan(BUDGETS["rates_by_width"], rates_by_width),
    "convergence": Plan(BUDGETS["convergence"], convergence),
    "subject_sizes": Plan(BUDGETS["subject_sizes"], subject_sizes, EachSubject(error_at_equal_k, RATES)),
    "batch_sizes": Plan(BUDGETS["batch_sizes"], batch_sizes, EachAlone(error_at_equal_k, RATES)),
}
