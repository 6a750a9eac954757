"""Search the tuning seeds for a width, k and rate at which latents die (Top-k paper, Figure 15).

Only the variant without remedies is looked at, so that what the remedies do has no part in the choice.
"""

import itertools
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from saebook.subject.model import Subject
from saebook.training.sweep import Data, Method, histories, sweep
from saebook.training.tuning import Tuner, Tuning, choosing

DEADLY = 0.25  # the share that has to die without a remedy for the question to make sense


@dataclass(frozen=True)
class ShapeSearch(Tuner):
    """Tries every k and rate at each width, from the narrowest up to the first at which enough latents die (`deadly`)."""

    rates: tuple[float, ...] = (3e-3, 1e-2, 2e-2)
    d_sae: tuple[int, ...] = (1024, 2048, 4096)
    k: tuple[int, ...] = (8, 16, 32)

    def run(self, budget: Any, subject: Subject, methods: list[Method], data: Data) -> Tuning:
        site, data, parts = subject.site(budget.site, budget.layer), choosing(data), []
        (without,) = [method for method in methods if method.name.startswith("neither")]
        for d_sae in sorted(self.d_sae):
            for k, rate in itertools.product(self.k, self.rates):
                training = replace(without.training, lr=rate)
                method = replace(without, d_sae=d_sae, sparsities=(float(k),), training=training, name="neither")
                runs = sweep(subject, site, [method], list(self.seeds), data).table
                curves = histories(runs)
                last = curves[curves.step == curves.step.max()].set_index("seed").dead
                parts.append(runs.assign(lr=rate, dead=runs.seed.map(last)))
            if len(_enough(_at_best_rates(pd.concat(parts)))):
                break  # a wider one would not be chosen
        table = pd.concat(parts, ignore_index=True)
        findings = {"rates": self.rates, "seeds": self.seeds, "chosen": deadly(table)}
        return Tuning(table, findings, dead_scores(table))


def dead_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Mean error and mean share dead for every width, k and rate."""
    renamed = table.rename(columns={"sparsity": "k"})
    return renamed.groupby(["d_sae", "k", "lr"])[["normalised_mse", "dead"]].mean().reset_index()


def deadly(table: pd.DataFrame) -> dict[str, float]:
    """The rule: each width and k at its rate of least error; of those where enough die, the narrowest, then the largest k.

    Where nowhere enough die, the one where most do.
    """
    best = _at_best_rates(table)
    enough = _enough(best)
    row = enough.iloc[0] if len(enough) else best.iloc[int(best.dead.argmax())]
    return {"d_sae": int(row.d_sae), "k": int(row.k), "lr": float(row.lr)}


def _at_best_rates(table: pd.DataFrame) -> pd.DataFrame:
    scored = dead_scores(table)
    return scored.loc[scored.groupby(["d_sae", "k"]).normalised_mse.idxmin()]


def _enough(best: pd.DataFrame) -> pd.DataFrame:
    """Those of the rows where enough latents die, the one to be chosen first."""
    return best[best.dead >= DEADLY].sort_values(["d_sae", "k"], ascending=[True, False])
