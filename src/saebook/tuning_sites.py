"""Learning rates where one rate serves many sites: chosen on the tuning seeds, over one layer of every kind of site.

The Gated paper sweeps the rate at one site and keeps it. A rate that suits the residual stream was seen to break the
baseline on attention outputs, so here each kind of SAE gets the one rate that needs the fewest features over all kinds of
site together, measured against the best that any rate of the grid reaches there, of those at which no SAE breaks. The layer is fixed; sparsities, widths and
tokens are the tier's own.
"""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd

from saebook import plans, results, tiers
from saebook.analysis import everywhere
from saebook.analysis.pareto import broken, ratio
from saebook.subject import Subject
from saebook.sweep import across
from saebook.tuning import SEEDS, chosen

NOTEBOOK = "gated.fig12_sites"
RATES = (3e-3, 5e-3, 1e-2, 1.4e-2, 2e-2)
LAYER = 1


def tune(tier: str) -> pd.DataFrame:
    """Train the grid at `tier`, record it beside the results, and return `scores`' table."""
    budget = tiers.resolve(NOTEBOOK, tier)
    subject = Subject.load(budget.subject)
    places = [subject.site(kind, LAYER) for kind in budget.sites]
    parts = []
    for rate in RATES:
        tried = SimpleNamespace(**vars(budget) | {"seeds": list(SEEDS), "gated_lr": rate, "baseline_lr": rate})
        methods = plans.PLANS[NOTEBOOK](tried)
        parts.append(across(subject, places, methods, tried.seeds, plans.data(tried)).assign(lr=rate))
    table = pd.concat(parts, ignore_index=True)
    scored = scores(table)
    found = {"rates": RATES, "seeds": SEEDS, "layer": LAYER, "chosen": chosen(scored)}
    found["overlap"] = everywhere.overlap(picked(table, found["chosen"])).to_dict("records")
    results.tuning(tier, NOTEBOOK, budget, subject, table, found)
    return scored


def scores(table: pd.DataFrame) -> pd.DataFrame:
    """One row per method and rate: `cost` in features, against the best front of all rates at the same site and seed.

    One is the best; NaN where a rate reaches no front of its own at some site (fewer than two points), which loses.
    """
    rows = []
    for (method, rate), group in table.groupby(["method", "lr"]):
        logs, lost = [], 0
        for (site, layer, seed), mine in group.groupby([*everywhere.AT, "seed"]):
            same = (table.method == method) & (table.site == site) & (table.layer == layer) & (table.seed == seed)
            logs.append(math.log(ratio(mine, table[same])))
            lost += broken(mine)
        cost = float(np.exp(np.mean(logs)))
        rows.append({"method": method, "lr": rate, "cost": cost, "n": len(logs), "broken": lost})
    return pd.DataFrame(rows)


def picked(table: pd.DataFrame, winners: dict[str, float]) -> pd.DataFrame:
    """The rows of a grid that the winning rates made."""
    return table[[winners[m] == lr for m, lr in zip(table.method, table.lr, strict=True)]]
