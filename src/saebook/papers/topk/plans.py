"""What the chapters of the Top-k paper train: typed budgets, and the methods of each sweep."""

import math
from dataclasses import replace

import pandas as pd

from saebook.common.limits import TrainingBudget
from saebook.evaluation.pareto import matched_ratio
from saebook.papers.topk.budgets import (
    BUDGETS,
    ActivationFunctions,
    BatchTopK,
    DeadLatents,
    EncoderScale,
    LogitEffects,
    RatesByWidth,
    Recipe,
)
from saebook.papers.topk.dead_latents import VARIANTS
from saebook.papers.topk.effects import plans as effects
from saebook.papers.topk.effects.budgets import EveryLayer
from saebook.papers.topk.optimisation import auxiliary
from saebook.papers.topk.optimisation import plans as optimisation
from saebook.papers.topk.probes import plans as probes
from saebook.papers.topk.scaling import plans as scaling
from saebook.papers.topk.shape_search import ShapeSearch
from saebook.papers.topk.token_patterns.plans import of_figure_2
from saebook.subject.model import Site
from saebook.training.loop import TrainConfig
from saebook.training.plan import Plan
from saebook.training.sweep import Method
from saebook.training.tuning import Tuner

PER_TOKEN = (("per_token", True),)  # the paper's inputs: the mean over d_in removed, every token at the same norm
_ADAM = {"beta1": 0.9, "eps": 6.25e-10}  # appendix A.3, for every architecture in its chapters
_RECIPE_RATES = (2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2)
_NOT_RESAMPLED = {"resample_at": ()}  # TopK has AuxK instead, and with both no one could tell which of them helped


def rate_at(rates: RatesByWidth, width: int) -> float:
    """The learning rate at a width: the nearest known width's, scaled as 1/sqrt(d_sae) (the paper's Figure 3)."""
    nearest = min(rates, key=lambda known: abs(math.log(int(known) / width)))
    return rates[nearest] * math.sqrt(int(nearest) / width)


def activation_functions(budget: ActivationFunctions, site: Site) -> list[Method]:
    """The architectures of Figure 2, at every width with every sparsity."""
    architectures = {
        "relu": (budget.relu_sparsities, budget.relu_lr), "prolu_relu": (budget.prolu_sparsities, budget.prolu_relu_lr),
        "prolu_ste": (budget.prolu_sparsities, budget.prolu_ste_lr), "gated": (budget.gated_sparsities, budget.gated_lr),
        "topk": (tuple(float(k) for k in budget.ks), budget.topk_lr),
    }  # fmt: skip
    return [
        Method(
            architecture, width, sparsities,
            _training(budget, rate_at(rates, width), **_ADAM, **(_NOT_RESAMPLED if architecture == "topk" else {})),
            PER_TOKEN,
        )
        for width in budget.widths
        for architecture, (sparsities, rates) in architectures.items()
    ]  # fmt: skip


def dead_latents(budget: DeadLatents, site: Site) -> list[Method]:
    """TopK with neither, either and both of the remedies against dead latents (Figure 15)."""
    methods = []
    for name, (transposed, auxk) in VARIANTS.items():
        options = (
            PER_TOKEN + (() if transposed else (("transposed", False),)) + (() if auxk else (("aux_weight", 0.0),))
        )
        training = _training(budget, budget.lr, **_ADAM, **_NOT_RESAMPLED)
        methods.append(Method("topk", budget.d_sae, (float(budget.k),), training, options, name))
    return methods


def auxk_forms(budget: DeadLatents, site: Site) -> list[Method]:
    """Forms of AuxK in other libraries beside the paper's and none, which are runs of Figure 15: all with the transposed start."""
    named = {method.name: method for method in dead_latents(budget, site)}
    return auxiliary.methods(named["transposed"], named["both"])


def encoder_scale(budget: EncoderScale, site: Site) -> list[Method]:
    """TopK with an encoder that begins at norm one or at the scale of the input (appendix C.2)."""
    return [
        _variant(budget, "topk", "unscaled", budget.unscaled_lr),
        _variant(budget, "topk_scaled", "scaled", budget.scaled_lr),
    ]


def recipe(budget: Recipe, site: Site) -> list[Method]:
    """TopK, and TopK with one part of the recipe taken away (appendices A, C.3 and C.4)."""
    return [
        _variant(budget, "topk", "full recipe", budget.full_lr),
        _variant(budget, "topk_no_bias", "no encoder bias", budget.no_bias_lr),
        _variant(budget, "topk_free_norm", "free decoder norms", budget.free_norm_lr),
        _variant(budget, "topk", "constant rate", budget.constant_lr, decay_share=0.0),
    ]


def _variant(budget: EncoderScale | Recipe, architecture: str, name: str, lr: float, **others) -> Method:
    training = _training(budget, lr, **_ADAM, **_NOT_RESAMPLED, **others)
    return Method(architecture, budget.d_sae, tuple(float(k) for k in budget.ks), training, PER_TOKEN, name)


def refinement(budget: ActivationFunctions, site: Site) -> list[Method]:
    """ReLU and TopK at the widest of Figure 2's dictionaries: runs of that figure."""
    methods = activation_functions(budget, site)
    return [m for m in methods if m.d_sae == max(budget.widths) and m.architecture in ("relu", "topk")]


def positions(budget: ActivationFunctions, site: Site) -> list[Method]:
    """The TopK half of `refinement`."""
    return [method for method in refinement(budget, site) if method.architecture == "topk"]


def probe_widths(budget: ActivationFunctions, site: Site) -> list[Method]:
    """TopK at every width of Figure 2 (Figure 6)."""
    return [method for method in activation_functions(budget, site) if method.architecture == "topk"]


def progressive(budget: ActivationFunctions, site: Site) -> list[Method]:
    """ReLU and TopK as in `refinement`, and Multi-TopK with the k and the learning rate of TopK (Figure 10)."""
    (topk,) = positions(budget, site)
    return [*refinement(budget, site), replace(topk, architecture="multi_topk")]


def logit_effects(budget: LogitEffects, site: Site) -> list[Method]:
    """The TopK half of Figure 2 at its widest, and TopK at the larger k."""
    (topk,) = positions(budget, site)
    return [replace(topk, sparsities=(*topk.sparsities, *map(float, budget.larger_ks)))]


def explained(budget: ActivationFunctions, site: Site) -> list[Method]:
    """TopK at every width of Figure 2, and ReLU at the widest."""
    return of_figure_2(activation_functions(budget, site))


def every_layer(budget: EveryLayer, site: Site) -> list[Method]:
    """TopK as in Figure 2, at each of several layers."""
    training, ks = _training(budget, budget.topk_lr, **_ADAM, **_NOT_RESAMPLED), tuple(map(float, budget.ks))
    return [Method("topk", budget.d_sae, ks, training, PER_TOKEN)]


def batch_topk(budget: BatchTopK, site: Site) -> list[Method]:
    """ReLU, Gated and TopK at the widest of Figure 2's dictionaries, runs of that figure; then BatchTopK and JumpReLU.

    BatchTopK is TopK in all but its activation function. JumpReLU has the optimiser of all others here, and is not resampled
    (as in its paper). Its thresholds start at the width of its kernel.
    """
    width = max(budget.widths)
    own = [m for m in activation_functions(budget, site) if m.d_sae == width]
    shared = [method for method in own if method.architecture in ("relu", "gated", "topk")]
    training = _training(budget, budget.batch_topk_lr, **_ADAM, **_NOT_RESAMPLED)
    kernel = (("bandwidth", budget.jump_relu_bandwidth), ("initial_threshold", budget.jump_relu_bandwidth))
    return [
        *shared,
        Method("batch_topk", width, tuple(map(float, budget.ks)), training, PER_TOKEN),
        Method(
            "jump_relu",
            width,
            budget.jump_relu_sparsities,
            replace(training, lr=budget.jump_relu_lr),
            PER_TOKEN + kernel,
        ),
    ]


def _training(budget: TrainingBudget, lr: float, **others) -> TrainConfig:
    return TrainConfig(lr=lr, tokens=budget.tokens, batch=budget.batch, **others)


def error_at_equal_l0(one: pd.DataFrame, other: pd.DataFrame) -> float:
    """The normalised error of one sweep over another's at equal L0, by which rates are chosen."""
    return matched_ratio(one, other, "normalised_mse")


PLANS = {
    "activation_functions": Plan(
        BUDGETS["activation_functions"],
        activation_functions,
        Tuner(error_at_equal_l0, (2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2, 8e-2)),
    ),
    "dead_latents": Plan(BUDGETS["dead_latents"], dead_latents, ShapeSearch(error_at_equal_l0)),
    "auxk_forms": Plan(BUDGETS["auxk_forms"], auxk_forms),
    "encoder_scale": Plan(BUDGETS["encoder_scale"], encoder_scale, Tuner(error_at_equal_l0, _RECIPE_RATES)),
    "recipe": Plan(BUDGETS["recipe"], recipe, Tuner(error_at_equal_l0, _RECIPE_RATES)),
    "progressive": Plan(BUDGETS["progressive"], progressive),
    "refinement": Plan(BUDGETS["refinement"], refinement),
    "positions": Plan(BUDGETS["positions"], positions),
    "probe_widths": Plan(BUDGETS["probe_widths"], probe_widths),
    "probe_kinds": Plan(BUDGETS["probe_kinds"], refinement),
    **probes.PLANS,
    "logit_effects": Plan(BUDGETS["logit_effects"], logit_effects),
    "every_layer": Plan(BUDGETS["every_layer"], every_layer),
    "distributions": Plan(BUDGETS["distributions"], refinement),
    "batch_topk": Plan(BUDGETS["batch_topk"], batch_topk, Tuner(error_at_equal_l0, _RECIPE_RATES)),
    "explained": Plan(BUDGETS["explained"], explained),
    "simulated": Plan(BUDGETS["simulated"], explained),
    **scaling.PLANS,
    **effects.PLANS,
    **optimisation.PLANS,
}
