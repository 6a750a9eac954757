"""What the chapters that vary Figure 1 train: its three objectives and its recipe, with one thing changed."""

from dataclasses import replace

import pandas as pd

from saebook.papers.e2e.variants.budgets import (
    BUDGETS,
    ByLayer,
    Encoders,
    Finetuning,
    LearningRates,
    Lengths,
    ObjectiveName,
    Objectives,
    OwnRates,
    Widths,
)
from saebook.subject.model import Site, Subject
from saebook.training.config import Data, Method, Objective, TrainConfig
from saebook.training.plan import Plan
from saebook.training.sweep import SweepResult, sweep

# As in `e2e.plans`, which imports this module; a test holds the two together.
RECIPE = {"beta1": 0.9, "warmup_share": 0.05, "cosine_to": 0.1, "clip_norm": 10.0, "resample_at": ()}
_GATED, _TOPK = "gated", "topk"
SHARED, OWN = "one rate for all", "a rate of its own for each"


def objective(name: ObjectiveName, downstream: float | None, massive: float | None = None) -> Objective:
    """The terms of an objective by its name, with the weights of the paper's code (section 2, appendix D)."""
    if name == "local":
        return Objective(reconstruction=1.0)
    if name == "e2e":
        return Objective(kl=1.0)
    return Objective(kl=0.5, downstream=downstream or 0.0, massive=massive)


def figure_1(budget: Objectives, site: Site) -> list[Method]:
    """Those objectives of Figure 1 that the budget names, all runs of that figure where its values are."""
    rates = {"local": budget.local_lr, "e2e": budget.e2e_lr, "e2e+ds": budget.ds_lr}
    lambdas = {"local": budget.local_sparsities, "e2e": budget.e2e_sparsities, "e2e+ds": budget.ds_sparsities}
    return [
        Method(
            "normalised_relu", budget.d_sae, lambdas[name],
            TrainConfig(lr=rates[name], tokens=budget.tokens, batch=budget.batch, **RECIPE),
            name=name, objective=objective(name, budget.downstream, budget.massive),
        )
        for name in budget.objective_names
    ]  # fmt: skip


def by_layer(budget: ByLayer, site: Site) -> list[Method]:
    """The three objectives at one of several layers; no downstream term where the budget gives it no weight (Figure 4)."""
    layer = str(site.layer)
    lambdas: dict[ObjectiveName, tuple[float, ...]] = {
        "local": budget.local_sparsities[layer],
        "e2e": budget.e2e_sparsities[layer],
    }
    if layer in budget.downstream:
        lambdas["e2e+ds"] = budget.ds_sparsities[layer]
    training = TrainConfig(lr=budget.lr, tokens=budget.tokens, batch=budget.batch, **RECIPE)
    return [
        Method(
            "normalised_relu", budget.d_sae, sparsities, training, name=name,
            objective=objective(name, budget.downstream.get(layer), budget.massive),
        )
        for name, sparsities in lambdas.items()
    ]  # fmt: skip


def lengths(budget: Lengths, site: Site) -> list[Method]:
    """The objectives on every number of tokens (Figure 17). They cannot be trained together: `sweep_lengths`."""
    return [
        replace(method, training=replace(method.training, tokens=tokens))
        for tokens in sorted(budget.lengths, reverse=True)  # an estimate takes the first for all
        for method in figure_1(budget, site)
    ]


def widths(budget: Widths, site: Site) -> list[Method]:
    """The objectives at every width (Figure 16)."""
    return [replace(method, d_sae=width) for width in budget.widths for method in figure_1(budget, site)]


def learning_rates(budget: LearningRates, site: Site) -> list[Method]:
    """The objectives at every learning rate (Figures 13 to 15). A method is named by objective and rate: `split_rates`."""
    return [
        replace(method, name=f"{method.name} at {rate:g}", training=replace(method.training, lr=rate))
        for rate in budget.rates
        for method in figure_1(budget, site)
    ]


def own_rates(budget: OwnRates, site: Site) -> list[Method]:
    """The objectives at the rate that they share, then those with another of their own. `split_rates` reads the names."""
    own = {"local": budget.own_local_lr, "e2e": budget.own_e2e_lr, "e2e+ds": budget.own_ds_lr}
    shared = figure_1(budget, site)
    alone = [replace(one, training=replace(one.training, lr=own[one.name])) for one in shared]
    methods = shared + [one for one in alone if one not in shared]
    return [replace(one, name=f"{one.name} at {one.training.lr:g}") for one in methods]


def encoders(budget: Encoders, site: Site) -> list[Method]:
    """The objectives with three encoders, by one recipe. A method is named by objective and encoder: `split_encoders`."""
    gated = {
        "local": budget.gated_local_sparsities,
        "e2e": budget.gated_e2e_sparsities,
        "e2e+ds": budget.gated_ds_sparsities,
    }
    ks, methods = tuple(map(float, budget.ks)), []
    for method in figure_1(budget, site):
        lambdas = {method.architecture: method.sparsities, _GATED: gated[method.name], _TOPK: ks}
        methods += [
            replace(method, architecture=architecture, sparsities=sparsities, name=f"{method.name} with {architecture}")
            for architecture, sparsities in lambdas.items()
        ]
    return methods


def finetuning(budget: Finetuning, site: Site) -> list[Method]:
    """Figure 1 as it stands: the local SAEs are what is fine-tuned, the others what is compared with."""
    return figure_1(budget, site)


def split(table: pd.DataFrame, word: str, column: str) -> pd.DataFrame:
    """A sweep's table whose methods are called `OBJECTIVE word VALUE`, with the objective as method and the rest in `column`."""
    parts = table.method.str.partition(f" {word} ")
    return table.assign(**{"method": parts[0], column: parts[2]})


def split_rates(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `learning_rates` by objective, with the column `lr`."""
    return split(table, "at", "lr").astype({"lr": float})


def by_rates(table: pd.DataFrame, budget: OwnRates) -> dict[str, pd.DataFrame]:
    """The table of `own_rates`, read in two ways by objective: all at the rate that they share, and each at its own."""
    split = split_rates(table)
    own = {"local": budget.own_local_lr, "e2e": budget.own_e2e_lr, "e2e+ds": budget.own_ds_lr}
    ways = {SHARED: dict.fromkeys(own, budget.local_lr), OWN: own}
    return {way: split[split.lr == split.method.map(rates)].reset_index(drop=True) for way, rates in ways.items()}


def split_encoders(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `encoders` by objective, with the column `encoder`."""
    return split(table, "with", "encoder")


def sweep_lengths(
    subject: Subject, site: Site, methods: list[Method], seeds: tuple[int, ...], data: Data
) -> SweepResult:
    """A sweep for each number of tokens among `methods`, in one table with the column `tokens`: what is trained together ends together."""
    parts = {}
    for tokens in sorted({method.training.tokens for method in methods}):
        together = [method for method in methods if method.training.tokens == tokens]
        parts[tokens] = sweep(subject, site, together, list(seeds), data)
    tables = [part.table.assign(tokens=tokens) for tokens, part in parts.items()]
    return SweepResult(pd.concat(tables, ignore_index=True), sum(part.trained for part in parts.values()))


PLANS = {
    "by_layer": Plan(BUDGETS["by_layer"], by_layer),
    "lengths": Plan(BUDGETS["lengths"], lengths),
    "widths": Plan(BUDGETS["widths"], widths),
    "learning_rates": Plan(BUDGETS["learning_rates"], learning_rates),
    "own_rates": Plan(BUDGETS["own_rates"], own_rates),
    "encoders": Plan(BUDGETS["encoders"], encoders),
    "finetuning": Plan(BUDGETS["finetuning"], finetuning),
}
