"""Learning rates, chosen for the baseline exactly as for the method: one grid, the same seeds, the same rule.

Tuning seeds appear in no result. The rule: of all rates of the grid below the first at which an SAE breaks, the one that is
cheapest at equal quality (geometric mean over the tuning seeds): the fewest active features at equal loss recovered for the
Gated paper, the least error at equal L0 for the Top-k paper, the least added loss at equal L0 for the e2e paper. The table is
committed beside the results, and the budget files hold the winners; a test keeps the two together.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd

from saebook.book import budgets
from saebook.claims import results
from saebook.evaluation.pareto import collapsed, matched_ratio, ratio
from saebook.papers import plans
from saebook.papers.e2e.comparison import CE, with_counts
from saebook.subject.model import Subject
from saebook.training.sweep import Method, histories, sweep

RATES = (1e-3, 3e-3, 5e-3, 1e-2, 1.4e-2, 2e-2)
# Where each costs minutes.
FEWER_RATES = {
    "gated.fig08_ablations": (3e-3, 5e-3, 1e-2, 1.4e-2), "e2e.fig01_pareto": (5e-3, 1e-2, 2e-2, 4e-2),
    "topk.fig02_activations": (5e-3, 1e-2, 2e-2, 4e-2, 8e-2),
}  # fmt: skip
SEEDS = (101, 102)
# Notebooks that take some of their methods from another one's sweep, with all their sparsities, at the rates chosen there.
SETTLED = {"gated.fig08_ablations": "gated.fig05_pareto", "gated.fig09_rescale_shift": "gated.fig05_pareto"}
# paper -> what a rate is judged by, against another at equal quality; lower is better
RULES: dict[str, Callable[[pd.DataFrame, pd.DataFrame], float]] = {
    "gated": ratio,
    "topk": lambda one, other: matched_ratio(one, other, "normalised_mse"),
    "e2e": lambda one, other: matched_ratio(with_counts(one), with_counts(other), CE),
}


def tune(notebook: str, tier: str, seeds: tuple[int, ...] = SEEDS) -> pd.DataFrame:
    """Train the grid of `notebook`'s methods at `tier` over its rates and `seeds`, record it, and return `scores`' table."""
    rates = FEWER_RATES.get(notebook, RATES)
    budget = budgets.resolve(notebook, tier)
    subject = Subject.load(budget.subject)
    site = subject.site(budget.site, budget.layer)
    parts = []
    for rate in rates:
        methods = [replace(m, training=replace(m.training, lr=rate)) for m in to_tune(notebook, budget)]
        parts.append(sweep(subject, site, methods, list(seeds), plans.data(budget)).assign(lr=rate))
    table = pd.concat(parts, ignore_index=True)
    scored = scores(table, RULES[notebook.split(".")[0]])
    found = {"rates": rates, "seeds": seeds, "chosen": chosen(scored), "penalty": penalty(scored)}
    results.tuning(tier, notebook, budget, subject, table, found)
    return scored


# Where latents might die: tried widths and ks, and the share that has to die without a remedy for the question to make sense.
SHAPES = {"d_sae": (1024, 2048, 4096), "k": (8, 16, 32)}
DEADLY = 0.25


def tune_dead(tier: str, rates: tuple[float, ...] = (3e-3, 1e-2, 2e-2), seeds: tuple[int, ...] = SEEDS) -> pd.DataFrame:
    """Find width, k and rate at which latents really die (Top-k paper, Figure 15), record the grid, and return it scored.

    Only the variant without remedies is looked at, so that what the remedies do has no part in the choice.
    """
    notebook = "topk.fig15_dead_latents"
    budget = budgets.resolve(notebook, tier)
    subject = Subject.load(budget.subject)
    site = subject.site(budget.site, budget.layer)
    parts = []
    for d_sae, k, rate in itertools.product(*SHAPES.values(), rates):
        shape = SimpleNamespace(**vars(budget) | {"d_sae": d_sae, "k": k, "lr": rate})
        without = [method for method in plans.PLANS[notebook](shape) if method.name == "neither"]
        found = sweep(subject, site, without, list(seeds), plans.data(budget))
        curves = histories(found)
        last = curves[curves.step == curves.step.max()].set_index("seed").dead
        parts.append(found.assign(lr=rate, dead=found.seed.map(last)))
    table = pd.concat(parts, ignore_index=True)
    results.tuning(tier, notebook, budget, subject, table, {"rates": rates, "seeds": seeds, "chosen": deadly(table)})
    return dead_scores(table)


def dead_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Mean error and mean share dead for every width, k and rate."""
    renamed = table.rename(columns={"sparsity": "k"})
    return renamed.groupby(["d_sae", "k", "lr"])[["normalised_mse", "dead"]].mean().reset_index()


def deadly(table: pd.DataFrame) -> dict[str, float]:
    """The rule: each width and k at its rate of least error; of those where enough die, the narrowest, then the largest k.

    Where nowhere enough die, the one where most do.
    """
    scored = dead_scores(table)
    best = scored.loc[scored.groupby(["d_sae", "k"]).normalised_mse.idxmin()]
    enough = best[best.dead >= DEADLY].sort_values(["d_sae", "k"], ascending=[True, False])
    row = enough.iloc[0] if len(enough) else best.loc[best.dead.idxmax()]
    return {"d_sae": int(row.d_sae), "k": int(row.k), "lr": float(row.lr)}


def to_tune(notebook: str, budget: SimpleNamespace) -> list[Method]:
    """The methods whose rates `tune` chooses for a notebook: its own, without those that are settled elsewhere."""
    other = SETTLED.get(notebook)
    elsewhere = plans.PLANS[other](budgets.resolve(other, budget.tier)) if other else []
    settled = {(method.architecture, method.d_sae, method.sparsities) for method in elsewhere}
    return tuned([m for m in plans.PLANS[notebook](budget) if (m.architecture, m.d_sae, m.sparsities) not in settled])


def tuned(methods: list[Method]) -> list[Method]:
    """The methods whose rates are chosen, each with all its sparsities: every kind at every width, named by both.

    A rate that a narrow SAE bears was seen to break a wide one. A kind with one width keeps its name.
    """
    widths: dict[str, set[int]] = {}
    for method in methods:
        widths.setdefault(method.name or method.architecture, set()).add(method.d_sae)
    several = {kind for kind, found in widths.items() if len(found) > 1}
    names = [method.name or method.architecture for method in methods]
    return [
        replace(method, name=f"{name} at {method.d_sae}" if name in several else name)
        for name, method in zip(names, methods, strict=True)
    ]


def scores(table: pd.DataFrame, rule: Callable[[pd.DataFrame, pd.DataFrame], float] = ratio) -> pd.DataFrame:
    """One row per method and rate: how many SAEs broke, and `cost` at equal quality (lower is better; NaN: no overlap).

    Costs of a method are against its middle rate of those at which nothing broke, for a broken curve is no ruler.
    """
    rows = []
    for method, mine in table.groupby("method"):
        lost = {rate: collapsed(group) for rate, group in mine.groupby("lr")}
        whole = [rate for rate, count in lost.items() if not count] or list(lost)
        middle = mine[mine.lr == whole[len(whole) // 2]]
        for rate, group in mine.groupby("lr"):
            logs = [math.log(rule(g, middle[middle.seed == seed])) for seed, g in group.groupby("seed")]
            cost = float(np.exp(np.mean(logs)))
            rows.append({"method": method, "lr": rate, "cost": cost, "seeds": len(logs), "collapsed": lost[rate]})
    return pd.DataFrame(rows)


def chosen(scored: pd.DataFrame) -> dict[str, float]:
    """The winning rate of each method, below the first that broke anything: that a higher one did not, on so few seeds, is luck.

    Where every rate broke something, the least of them.
    """
    winners = {}
    for method, g in scored.groupby("method"):
        whole = g[g.lr < g.lr[g.collapsed > 0].min()] if g.collapsed.any() else g
        winners[method] = float(whole.loc[whole.cost.idxmin(), "lr"] if len(whole) else g.lr.min())
    return winners


def penalty(scored: pd.DataFrame) -> dict[str, dict[str, float]]:
    """What each rate of each method costs over the winner; null where an SAE broke, or where the curves do not meet."""
    winners = chosen(scored)
    return {
        method: {f"{row.lr:g}": math.nan if row.collapsed else row.cost / won for row in g.itertuples()}
        for method, g in scored.groupby("method")
        for won in g.cost[g.lr == winners[method]]
    }
