"""Train a chapter's SAEs under each setting of the engine, and record how far apart they end.

Three settings train the same SAEs from the same seeds on the same text: "fp32" and "bf16" are the precision of products, both
by compiled loops that work on active latents alone; "plain" is PyTorch in single precision over every latent. What is apart
between two of them is held against what is apart between seeds.
"""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, cast

import numpy as np
import pandas as pd

from saebook.book import budgets
from saebook.claims import results
from saebook.common.errors import UserError
from saebook.common.limits import SweepBudget
from saebook.sae.base import Member
from saebook.subject.model import Site, Subject
from saebook.training import plan as plans
from saebook.training.config import Data, Method
from saebook.training.run import train_and_measure


class Setting(NamedTuple):
    """The `precision` of products, and whether steps go through compiled loops."""

    precision: str
    compiled: bool


SETTINGS = {"fp32": Setting("fp32", True), "bf16": Setting("bf16", True), "plain": Setting("fp32", False)}
REFERENCE = "fp32"
METRICS = ("normalised_mse", "l0", "loss_recovered")
SEEDS = 3
TOKENS = 131_072  # the most that an SAE is trained on here: plain PyTorch takes several times as long as the others


def compare(name: str, tier: str) -> pd.DataFrame:
    """Train the widest SAEs of chapter `name` at `tier` under every setting, record the outcome, and return `apart`.

    The chapter's budget is cut to `SEEDS` seeds and `TOKENS` tokens. Raises `UserError` for a chapter that does not train
    at one site, and for fewer than two seeds.
    """
    budget, methods = budgets.resolve(name, tier), budgets.plan(name).methods
    if methods is None or not isinstance(budget, SweepBudget):
        raise UserError(f"{name} does not train SAEs at one site: compare settings on gated/fig05_pareto, for example")
    if len(budget.seeds) < 2:
        raise UserError(f"{name} has one seed at tier {tier}, which has no spread: take another tier")
    budget = budget.model_copy(
        update={"seeds": budget.seeds[:SEEDS], "tokens": max(budget.batch, min(budget.tokens, TOKENS))}
    )
    subject = Subject.load(budget.subject)
    site = subject.site(budget.site, budget.layer)
    table = trained(subject, site, _widest(methods(budget, site)), budget.seeds, plans.data(budget))
    distances = apart(table)
    findings = {"settings": list(SETTINGS), "reference": REFERENCE, "apart": {}, "largest": {}}
    for (setting, method), group in distances.groupby(["setting", "method"]):
        rows = group.set_index("metric")[["change", "spread", "apart"]].to_dict("index")
        findings["apart"].setdefault(setting, {})[method] = rows
        findings["largest"].setdefault(setting, {})[method] = group.apart.max()
    paper, stem = name.split("/")
    results.beside(f"{paper}/settings_{stem}", tier, budget, subject, table, findings)
    return distances


def trained(
    subject: Subject, site: Site, methods: Sequence[Method], seeds: Sequence[int], data: Data
) -> pd.DataFrame:  # fmt: skip
    """Metrics of all SAEs under every setting: columns setting, method, sparsity, seed and those of `metrics.measure`."""
    runs = [(m, Member(seed, sparsity)) for m in methods for sparsity in m.sparsities for seed in seeds]
    lines = []
    for setting, (precision, compiled) in SETTINGS.items():
        with _precision(precision):
            done = train_and_measure(subject, site, runs, data, compiled=compiled)
        for (method, member), one in zip(runs, done, strict=True):
            about = {"setting": setting, "method": method.name or method.architecture}
            lines.append(about | {"sparsity": member.sparsity, "seed": member.seed} | one.metrics)
    return pd.DataFrame(lines)


def apart(table: pd.DataFrame) -> pd.DataFrame:
    """One line per setting but the reference, method and metric: how far it ends from the reference.

    Loss recovered is compared as it is, the others by their logarithm. `change` is the mean difference over sparsities and
    seeds, `spread` the standard deviation over seeds under the reference, and `apart` the root mean square over sparsities of
    the difference between means over seeds, in units of the spread. Two sets of n seeds that differ in nothing but chance are
    about sqrt(2 / n) apart.
    """
    lines = []
    for method, of_method in table.groupby("method", sort=False):
        for metric in METRICS:
            values = of_method.set_index(["setting", "sparsity", "seed"])[metric]
            if metric != "loss_recovered":
                values = cast(pd.Series, np.log(values))
            reference = values[REFERENCE]
            spread = float(np.sqrt(reference.groupby("sparsity").var().mean()))
            for setting in SETTINGS:
                if setting != REFERENCE:
                    between = (values[setting] - reference).groupby("sparsity").mean()
                    distance = float(np.sqrt(between.pow(2).mean()))
                    # TopK has the same L0 under every seed: no spread, and nothing that could be apart.
                    spreads = distance / spread if spread else (math.inf if distance else 0.0)
                    lines.append((setting, method, metric, float(between.mean()), spread, spreads))
    return pd.DataFrame(lines, columns=["setting", "method", "metric", "change", "spread", "apart"])


def _widest(methods: Sequence[Method]) -> list[Method]:
    """The methods without those that have a wider one of the same name."""
    widths: dict[str, int] = {}
    for method in methods:
        name = method.name or method.architecture
        widths[name] = max(method.d_sae, widths.get(name, 0))
    return [method for method in methods if method.d_sae == widths[method.name or method.architecture]]


@contextmanager
def _precision(precision: str) -> Iterator[None]:
    """SAEBOOK_PRECISION as asked, and as it was afterwards."""
    before = os.environ.get("SAEBOOK_PRECISION")
    os.environ["SAEBOOK_PRECISION"] = precision
    try:
        yield
    finally:
        if before is None:
            del os.environ["SAEBOOK_PRECISION"]
        else:
            os.environ["SAEBOOK_PRECISION"] = before
