"""Learning rates where several kinds of site are looked at: one for each kind of SAE at each kind of site, on the tuning seeds.

A rate that suits the residual stream was seen to break the baseline on attention outputs, and one that suits both to waste
the MLP neurons. The layer is fixed; sparsities, widths and tokens are the tier's own.
"""

from types import SimpleNamespace

import pandas as pd

from saebook.book import budgets
from saebook.claims import results
from saebook.papers import plans
from saebook.papers.gated import sites
from saebook.subject.model import Subject
from saebook.training.sweep import across
from saebook.training.tuning import RULES, SEEDS, chosen, penalty, scores

NOTEBOOK = "gated.fig12_sites"
RATES = (3e-3, 5e-3, 1e-2, 1.4e-2, 2e-2, 2.8e-2, 4e-2)
LAYER = 1


def tune(tier: str) -> pd.DataFrame:
    """Train the grid at `tier`, record it beside the results, and return its scores."""
    budget = budgets.resolve(NOTEBOOK, tier)
    subject = Subject.load(budget.subject)
    places = [subject.site(kind, LAYER) for kind in budget.sites]
    parts = []
    for rate in RATES:
        tried = SimpleNamespace(**vars(budget) | {"gated_lr": rate, "baseline_lr": rate})
        methods = plans.PLANS[NOTEBOOK](tried)
        found = across(subject, places, lambda _, methods=methods: methods, list(SEEDS), plans.data(tried))
        parts.append(found.assign(lr=rate))
    table = named(pd.concat(parts, ignore_index=True))
    scored = scores(table, RULES["gated"])
    found = {"rates": RATES, "seeds": SEEDS, "layer": LAYER, "chosen": chosen(scored), "penalty": penalty(scored)}
    picked = table[[found["chosen"][method] == lr for method, lr in zip(table.method, table.lr, strict=True)]]
    kinds = picked.assign(method=picked.method.str.split(" at ").str[0])
    found["overlap"] = sites.overlap(kinds).to_dict("records")
    results.tuning(tier, NOTEBOOK, budget, subject, table, found)
    return scored


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the site in each method's name, for each is chosen by itself."""
    return table.assign(method=table.method + " at " + table.site)


def budgeted(budget: SimpleNamespace) -> dict[str, float]:
    """The rates of a budget under the names that `tune` chooses by."""
    rates = {"gated": budget.gated_lr, "relu": budget.baseline_lr}
    return {f"{kind} at {site}": rate for kind, by_site in rates.items() for site, rate in by_site.items()}
