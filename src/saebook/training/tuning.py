"""Learning rates, chosen for the baseline exactly as for the method: one grid, the same seeds, the same rule.

Tuning seeds and the rows that they are measured on (`text.held_out`) appear in no result. The rule: of all rates of the grid
below the first at which an SAE collapses or latents die, the one that is cheapest at equal quality (geometric mean over the
tuning seeds). Latents die at a rate where, at any sparsity, fewer than half as many are alive as at some lower rate: a rate
that kills latents makes an SAE sparse by another way than its penalty. What is cheap is what the paper asks about: the fewest
active features at equal loss recovered (Gated), the least error at equal L0 (Top-k), the least added loss at equal L0 (e2e).
The grid is recorded beside the results, and the sidecars hold the winners; a test keeps the two together.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from saebook.evaluation.pareto import collapsed, ratio
from saebook.subject.model import Subject
from saebook.text.held_out import CHOOSING
from saebook.training.sweep import Data, Method, sweep

RATES = (3e-3, 5e-3, 1e-2, 1.4e-2, 2e-2)
SEEDS = (101, 102)
KEPT = 0.5  # of the latents alive at a lower rate, the share that a rate has to keep at every sparsity

Cost = Callable[[pd.DataFrame, pd.DataFrame], float]  # of one sweep over another at equal quality; lower is better


@dataclass(frozen=True)
class Tuning:
    """A grid that was run: its `table`, what was `chosen` and other `findings` for the record, and the `scores` shown."""

    table: pd.DataFrame
    findings: dict[str, Any]
    scores: pd.DataFrame


@dataclass(frozen=True)
class Tuner:
    """The rule that chooses a plan's rates: the cost of a rate, the rates to try, and whether all methods share `one_rate`."""

    cost: Cost = ratio
    rates: tuple[float, ...] = RATES
    seeds: tuple[int, ...] = SEEDS
    one_rate: bool = False

    def run(self, budget: Any, subject: Subject, methods: list[Method], data: Data) -> Tuning:
        """Train `methods` at every rate on the tuning seeds, at the budget's one site."""
        site, data, parts = subject.site(budget.site, budget.layer), choosing(data), []
        for rate in self.rates:
            at_rate = [replace(m, training=replace(m.training, lr=rate)) for m in methods]
            parts.append(sweep(subject, site, at_rate, list(self.seeds), data).table.assign(lr=rate))
        table = pd.concat(parts, ignore_index=True)
        scored = scores(table, self.cost)
        winners = self.chosen(scored)
        findings = {
            "rates": self.rates, "seeds": self.seeds, "chosen": winners, "penalty": penalty(scored, winners),
        }  # fmt: skip
        return Tuning(table, findings, scored)

    def chosen(self, scored: pd.DataFrame) -> dict[str, float]:
        """The winning rate of each method; with `one_rate` that which is cheapest for all, where none of them loses anything."""
        if not self.one_rate:
            return chosen(scored)
        together = scored.assign(cost=np.log(scored.cost)).groupby("lr", as_index=False)[["cost", "lost"]].sum()
        (rate,) = chosen(together.assign(cost=np.exp(together.cost), method="all")).values()
        return {str(method): rate for method in scored.method.unique()}


def choosing(data: Data) -> Data:
    """`data` measured on the rows that choose, which judge nothing."""
    return replace(data, eval_part=CHOOSING)


def to_tune(methods: list[Method], settled: list[Method]) -> list[Method]:
    """The methods whose rates are to be chosen: those not `settled` by another chapter's grid with the same sparsities."""
    elsewhere = {(method.architecture, method.d_sae, method.sparsities) for method in settled}
    return tuned([m for m in methods if (m.architecture, m.d_sae, m.sparsities) not in elsewhere])


def tuned(methods: list[Method]) -> list[Method]:
    """The methods to tune, each with all its sparsities: every architecture at every width, named by both.

    A rate that suits a narrow SAE can make a wide one collapse. An architecture with one width keeps its name.
    """
    widths: dict[str, set[int]] = {}
    for method in methods:
        widths.setdefault(method.name or method.architecture, set()).add(method.d_sae)
    several = {name for name, d_saes in widths.items() if len(d_saes) > 1}
    names = [method.name or method.architecture for method in methods]
    return [
        replace(method, name=f"{name} at {method.d_sae}" if name in several else name)
        for name, method in zip(names, methods, strict=True)
    ]


def scores(table: pd.DataFrame, cost: Cost = ratio) -> pd.DataFrame:
    """One row per method and rate: `cost` at equal quality (lower is better; NaN: no overlap), and what went wrong there.

    `collapsed` counts SAEs, `dying` the sparsities at which latents die, and `lost` is their sum. Costs of a method are against
    its middle rate of those below the first at which something was lost, for a collapsed curve measures nothing.
    """
    rows = []
    for method, mine in table.groupby("method"):
        dead = dying(mine)
        broken = {rate: collapsed(mine[mine.lr == rate]) for rate in dead}
        first = min((rate for rate in dead if broken[rate] + dead[rate]), default=math.inf)
        whole = [rate for rate in dead if rate < first] or [min(dead)]
        middle = mine[mine.lr == whole[len(whole) // 2]]
        for rate in broken:
            group = mine[mine.lr == rate]
            logs = [math.log(cost(g, middle[middle.seed == seed])) for seed, g in group.groupby("seed")]
            mean = float(np.exp(np.mean(logs)))
            lost = {"collapsed": broken[rate], "dying": dead[rate], "lost": broken[rate] + dead[rate]}
            rows.append({"method": method, "lr": rate, "cost": mean, "seeds": len(logs), **lost})
    return pd.DataFrame(rows)


def dying(table: pd.DataFrame) -> dict[float, int]:
    """For each rate of one method, the number of sparsities at which fewer than `KEPT` of a lower rate's latents are alive."""
    alive = table.groupby(["lr", "sparsity"]).alive.mean().unstack("sparsity").sort_index()
    dead = (alive < KEPT * alive.cummax()).sum(axis=1)
    return {float(rate): int(count) for rate, count in zip(dead.index, dead, strict=True)}


def chosen(scored: pd.DataFrame) -> dict[str, float]:
    """The winning rate of each method, below the first at which anything was lost: that a higher one lost nothing, on so few seeds, is luck.

    Where something was lost at every rate, the least of them.
    """
    winners = {}
    for method, g in scored.groupby("method"):
        whole = g[g.lr < g.lr[g.lost > 0].min()] if g.lost.any() else g
        winners[str(method)] = float(whole.lr.iloc[int(whole.cost.argmin())] if len(whole) else g.lr.min())
    return winners


def penalty(scored: pd.DataFrame, winners: dict[str, float]) -> dict[str, dict[str, float]]:
    """The cost of each rate of each method over its winning rate; null where an SAE collapsed or latents died, or where the curves do not meet."""
    return {
        str(method): {f"{row.lr:g}": math.nan if row.lost else row.cost / won for row in g.itertuples()}
        for method, g in scored.groupby("method")
        for won in g.cost[g.lr == winners[str(method)]]
    }
