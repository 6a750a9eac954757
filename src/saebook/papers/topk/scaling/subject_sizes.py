"""The same SAEs on language models of several sizes (Top-k paper, section 3.1.3, Figure 4).

A larger model has a wider residual stream, and a wider one is harder for as many latents whatever is in it. So every number
here can be taken on models of random weights too (`NAME:random`), where the stream grows and nothing was learned.
"""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from transformers import AutoModelForCausalLM

from saebook.common.errors import UserError
from saebook.evaluation.scaling_law import log_slope
from saebook.papers.topk.scaling import by_block
from saebook.papers.topk.scaling.budgets import SubjectSizes
from saebook.subject import random_weights
from saebook.subject.model import Subject
from saebook.training.config import Data, Method
from saebook.training.store import Store
from saebook.training.sweep import SweepResult, sweep

NMSE = "normalised_mse"


def parameters(subject: Subject) -> int:
    """How many parameters a language model has, shared ones counted once.

    Counted on a model without weights of the same configuration: TransformerLens adds copies of its own to the one it bridges.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(subject.bridge.original_model.config)
    return sum(p.numel() for p in model.parameters())


def layer_at(depth: float, layers: int) -> int:
    """The block, from 0, after which a share `depth` of `layers` blocks has run: three quarters of four is block 2."""
    return max(0, math.ceil(depth * layers - 1e-9) - 1)  # three quarters of twelve may come out a little above nine


def family(budget: SubjectSizes, control: bool = False) -> list[str]:
    """The names of the budget's subjects, `subject` last; with `control`, or where that is one, all have random weights."""
    ending = random_weights.SUFFIX if control or random_weights.is_control(budget.subject) else ""
    return [random_weights.trained(name) + ending for name in (*budget.smaller, budget.subject)]


def sweep_sizes(
    budget: SubjectSizes, methods: Callable[[str], list[Method]], data: Data, control: bool = False,
    store: Store | None = None,
) -> SweepResult:  # fmt: skip
    """The sweep of `methods` by subject, on each subject at the same share of its depth: one table with further columns.

    Those are subject, parameters, d_in, layer and weights (a hash). With `control` the weights are random. Raises
    `UserError` for subjects of one size, or a block of `budget.deeper` that does not exist, before anything is trained.
    """
    by_block.places(budget, control)
    subjects = [Subject.load(name) for name in family(budget, control)]
    sizes = [parameters(subject) for subject in subjects]
    if len(set(sizes)) < len(sizes):
        raise UserError(f"subjects must be of different sizes, and have {sizes} parameters")
    depth = (budget.layer + 1) / subjects[-1].n_layers
    parts, trained = [], 0
    for subject, size in zip(subjects, sizes, strict=True):
        site = subject.site(budget.site, layer_at(depth, subject.n_layers))
        made = methods(random_weights.trained(subject.name))
        result = sweep(subject, site, made, list(budget.seeds), data, store)
        about = {"subject": subject.name, "parameters": size, "d_in": site.d_in, "layer": site.layer}
        parts.append(result.table.assign(**about, weights=subject.weights_hash))
        trained += result.trained
    return SweepResult(pd.concat(parts, ignore_index=True), trained)


def error_by_size(table: pd.DataFrame, by: str = "parameters", column: str = NMSE) -> list[float]:
    """Change of log `column` per e-fold of `by` at equal width and k, a mean over widths and k for each seed.

    NaN for a seed that lacks a size at some width and k.
    """
    sizes = table[by].nunique()
    slopes = []
    for _, of_seed in table.groupby("seed"):
        lines = [
            log_slope(one[by], one[column]) if one[by].nunique() == sizes else math.nan
            for _, one in of_seed.groupby(["d_sae", "sparsity"])
        ]
        slopes.append(float(np.mean(lines)))
    return slopes


def exponents(table: pd.DataFrame) -> pd.DataFrame:
    """The exponent of width in the error of each subject, k and seed: columns parameters, sparsity, seed and exponent.

    The slope of a straight line in log-log space, without an irreducible part: few widths cannot tell one.
    """
    keys = ["subject", "parameters", "sparsity", "seed"]
    rows = [
        dict(zip(keys, key, strict=True)) | {"exponent": log_slope(one.d_sae, one[NMSE])}
        for key, one in table.groupby(keys)
    ]
    return pd.DataFrame(rows)


def exponent_by_size(table: pd.DataFrame) -> list[float]:
    """Change of the exponent of width per e-fold of parameters, a mean over k for each seed: above zero, larger ones gain less."""
    slopes = []
    for _, of_seed in exponents(table).groupby("seed"):
        lines = [
            float(np.polyfit(np.log(one.parameters), one.exponent, 1)[0]) for _, one in of_seed.groupby("sparsity")
        ]
        slopes.append(float(np.mean(lines)))
    return slopes


def latents_needed(table: pd.DataFrame, k: float) -> list[float]:
    """Latents that the largest subject needs over those that the smallest needs, for the same error at one `k`; one ratio a seed.

    The geometric mean over the errors that both reach, read off lines through the widths in log-log space. NaN for a seed
    where the two reach no error in common: nothing is extrapolated.
    """
    ratios = []
    for _, of_seed in table[table.sparsity == k].groupby("seed"):
        small, large = (of_seed[of_seed.parameters == end] for end in (table.parameters.min(), table.parameters.max()))
        curves = [one.sort_values(NMSE) for one in (small, large)]
        low, high = (max(one[NMSE].min() for one in curves), min(one[NMSE].max() for one in curves))
        if not low < high:
            ratios.append(math.nan)
            continue
        at = np.linspace(math.log(low), math.log(high), 20)
        needs = [np.interp(at, np.log(one[NMSE]), np.log(one.d_sae)) for one in curves]
        ratios.append(float(np.exp((needs[1] - needs[0]).mean())))
    return ratios


def beyond_random(trained: pd.DataFrame, random: pd.DataFrame) -> list[float]:
    """`error_by_size` on trained subjects less that on random weights, seed by seed: these share start and order of the text."""
    return np.subtract(error_by_size(trained), error_by_size(random)).tolist()
