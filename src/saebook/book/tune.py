"""Choose the learning rates of a chapter on the tuning seeds, and record the grid beside the results."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from saebook.book import budgets
from saebook.book.running import parameters
from saebook.book.running.parameters import Parameter
from saebook.claims import results
from saebook.common import sidecar
from saebook.common.errors import UserError
from saebook.common.limits import Budget, SubjectBudget
from saebook.subject.model import Site, Subject
from saebook.training import plan as plans
from saebook.training import tuning
from saebook.training.sweep import Method
from saebook.training.tuning import Tuner

_EVAL_ROWS = Parameter("eval_rows", "int", None, "rows of validation text that are measured on")


def tunable() -> list[str]:
    """The chapters whose rates are chosen by a grid of their own."""
    with_grid = [name for name in sidecar.names() if budgets.plan(name).tuner]
    return [name for name in with_grid if to_tune(name, budgets.resolve(name, sidecar.load(name).tiers()[-1]))]


def tune(name: str, tier: str, rates: Sequence[float] = (), given: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Run the grid of chapter `name` at `tier`, record it, and return its scores.

    `rates` are tried in place of the plan's own: longer runs want lower ones. Rates that were tried before are read from
    the store, so a grid whose best rate is its lowest or its highest can be widened. `given` are parameters in place of the
    tier's, of those that the notebook has, which the record names: `tokens`, where a grid at full length takes longer than
    what it is for; and besides them `eval_rows`, as all rates are measured on the same rows and few tell them apart.

    Raises `UserError` for a chapter without rates to tune, for a rate that cannot be trained at, and for a parameter that
    does not exist or does not fit.
    """
    known = [one for one in parameters.of(sidecar.folder() / f"{name}.ipynb") if one.name not in ("tier", "seeds")]
    asked = parameters.checked([*known, _EVAL_ROWS], dict(given or {}))
    tuner = tuner_of(name)
    if tuner is None:
        raise UserError(f"nothing to tune for {name}: use one of {', '.join(tunable())}")
    budget = budgets.resolve(name, tier, **asked)
    assert isinstance(budget, SubjectBudget)
    methods = to_tune(name, budget)
    if not methods:
        raise UserError(f"nothing to tune for {name}: {sidecar.load(name).like(tier)} has chosen all its rates")
    tuner = replace(tuner, rates=_checked(rates, methods)) if rates else tuner
    subject = Subject.load(budget.subject)
    grid = tuner.run(budget, subject, methods, plans.data(budget))
    results.tuning(tier, name, budget, subject, grid.table, grid.findings | ({"given": asked} if asked else {}))
    return grid.scores


def tuner_of(name: str) -> Tuner | None:
    """The rule that chooses the rates of chapter `name`: its plan's, else that of the chapter that it is `like`.

    A chapter that measures the SAEs of another has nothing to tune, unless a tier gives it shapes of its own.
    """
    like, plan = sidecar.load(name).budgets.like, budgets.plan(name)
    if plan.methods is None:
        return None
    return plan.tuner or (budgets.plan(like).tuner if like else None)


def _checked(rates: Sequence[float], methods: list[Method]) -> tuple[float, ...]:
    """The `rates`, lowest first, each fit for a training run, so that none fails after hours at the others."""
    for rate in rates:
        replace(methods[0].training, lr=rate)
    return tuple(sorted(set(rates)))


# What a site changes is the rate alone, and rates are what is chosen here.
_ANYWHERE = Site("resid_post", 0, "", 0)


def to_tune(name: str, budget: Budget, site: Site = _ANYWHERE) -> list[Method]:
    """The methods of a chapter whose rates its own grid chooses, without those of the chapter that it is `like`."""
    like = sidecar.load(name).like(budget.tier)
    settled = _methods(like, budgets.resolve(like, budget.tier), site) if like else []
    return tuning.to_tune(_methods(name, budget, site), settled)


def _methods(name: str, budget: Budget, site: Site) -> list[Method]:
    methods = budgets.plan(name).methods
    return methods(budget, site) if methods else []
