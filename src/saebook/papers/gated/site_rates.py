"""Learning rates where several types of site are looked at: one for each architecture at each type, on the tuning seeds.

A rate that suits the residual stream was seen to break the baseline on attention outputs, and one that suits both to waste
the MLP neurons. One layer stands for all; sparsities, widths and tokens are the tier's own.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from saebook.common.limits import SiteName
from saebook.papers.gated import every_site
from saebook.subject.model import Site, Subject
from saebook.training.sweep import Data, Method, across
from saebook.training.tuning import Tuner, Tuning, choosing, chosen, penalty, scores


@dataclass(frozen=True)
class BySite(Tuner):
    """Tries the rates at every type of site of a budget, in `layer`, or in the budget's own layer where it has one site."""

    rates: tuple[float, ...] = (3e-3, 5e-3, 1e-2, 1.4e-2, 2e-2, 2.8e-2, 4e-2)
    layer: int = 1

    def run(self, budget: Any, subject: Subject, methods: list[Method], data: Data) -> Tuning:
        layer = getattr(budget, "layer", self.layer)
        places, data, parts = [subject.site(kind, layer) for kind in kinds(budget)], choosing(data), []
        for rate in self.rates:
            at_rate = [replace(m, training=replace(m.training, lr=rate)) for m in methods]
            runs = across(subject, places, lambda _, at_rate=at_rate: at_rate, list(self.seeds), data)
            parts.append(runs.table.assign(lr=rate))
        table = named(pd.concat(parts, ignore_index=True))
        scored = scores(table, self.cost)
        winners = chosen(scored)
        picked = table[[winners[method] == lr for method, lr in zip(table.method, table.lr, strict=True)]]
        picked = picked.assign(method=picked.method.str.split(" at ").str[0])
        findings = {
            "rates": self.rates, "seeds": self.seeds, "layer": layer, "chosen": winners, "penalty": penalty(scored, winners),
        }  # fmt: skip
        if {"gated", "relu"} <= set(picked.method):
            findings["overlap"] = every_site.overlap(picked).to_dict("records")
        return Tuning(table, findings, scored)


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the site in each method's name, since each is chosen by itself."""
    return table.assign(method=table.method + " at " + table.site)


def kinds(budget: Any) -> list[SiteName]:
    """The types of site that a budget looks at."""
    return list(budget.sites) if hasattr(budget, "sites") else [budget.site, *budget.beside]


def budgeted(budget: Any, methods: Callable[[Site], list[Method]]) -> dict[str, float]:
    """The rates of a budget's `methods` under the names that the tuner chooses by."""
    sites = [Site(kind, 0, "", 0) for kind in kinds(budget)]
    return {f"{m.name or m.architecture} at {site.kind}": m.training.lr for site in sites for m in methods(site)}
