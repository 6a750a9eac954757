"""What each chapter trains: the methods of a sweep, from a budget."""

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

from saebook.papers.topk.dead_latents import VARIANTS
from saebook.subject.model import Site
from saebook.training.loop import TrainConfig
from saebook.training.objectives import Objective
from saebook.training.sweep import Data, Method


def data(budget: SimpleNamespace) -> Data:
    """The text of a budget: which source, how much of it is measured on, and what of a row is left out."""
    named = ("source", "eval_rows", "block", "skip")
    return Data(**{name: value for name, value in vars(budget).items() if name in named})


def gated_against_baseline(budget: SimpleNamespace) -> list[Method]:
    """Gated at `d_sae` and the ReLU baseline at `baseline_width` times that: equal training compute (section 3.6)."""
    return [
        Method("gated", budget.d_sae, tuple(budget.gated_sparsities), _gated_training(budget, budget.gated_lr)),
        Method(
            "relu", round(budget.d_sae * budget.baseline_width), tuple(budget.baseline_sparsities),
            _gated_training(budget, budget.baseline_lr),
        ),
    ]  # fmt: skip


def at(budget: SimpleNamespace, site: Site) -> SimpleNamespace:
    """The budget at one of several sites: a rate that is given by kind of site is this one's.

    A kind for which none was chosen takes the smallest, which breaks nothing.
    """
    rates = {name: vars(budget)[name] for name in ("gated_lr", "baseline_lr")}
    here = {name: r.get(site.kind, min(r.values())) for name, r in rates.items() if isinstance(r, dict)}
    return SimpleNamespace(**vars(budget) | here)


def gated_alone(budget: SimpleNamespace) -> list[Method]:
    """The Gated half of the same sweep, for what concerns that kind only."""
    return gated_against_baseline(budget)[:1]


def gated_ablations(budget: SimpleNamespace) -> list[Method]:
    """Gated and the baseline, and Gated with one thing changed, each at its own rate (section 5.1, Figure 8)."""
    rates = {
        "gated_unfrozen": budget.unfrozen_lr, "gated_no_r_mag": budget.no_r_mag_lr, "gated_untied": budget.untied_lr,
    }  # fmt: skip
    return gated_against_baseline(budget) + [
        Method(kind, budget.d_sae, tuple(budget.ablation_sparsities), _gated_training(budget, lr))
        for kind, lr in rates.items()
    ]


def with_and_without_resampling(budget: SimpleNamespace) -> list[Method]:
    """Gated and the baseline as everywhere, and both with dead latents left alone."""
    both = gated_against_baseline(budget)
    return both + [
        replace(method, training=replace(method.training, resample_at=()), name=f"{method.architecture}_not_resampled")
        for method in both
    ]


def _gated_training(budget: SimpleNamespace, lr: float) -> TrainConfig:
    # The paper's 0.999 remembers a thousand steps. A run of five hundred never forgets its first gradients with it: its steps
    # shrink, a larger rate makes up for that, and then a gradient that grows finds nothing to hold it. Budgets say what fits.
    return _training(budget, lr, beta2=budget.beta2)


def _training(budget: SimpleNamespace, lr: float, **others) -> TrainConfig:
    return TrainConfig(lr=lr, tokens=budget.tokens, batch=budget.batch, **others)


PER_TOKEN = (("per_token", True),)  # the Top-k paper's inputs: mean removed, same norm
_ADAM = {"beta1": 0.9, "eps": 6.25e-10}  # the Top-k paper's (appendix A.3), for every kind in its chapters
_SPARED = {"resample_at": ()}  # TopK has AuxK instead, and with both no one could tell which of them helped


def rate_at(rates: dict[str, float], width: int) -> float:
    """The learning rate at a width, from rates by width: at one that is not there the nearest one's, as 1/sqrt(d_sae).

    The law is the Top-k paper's (its Figure 3).
    """
    nearest = min(rates, key=lambda known: abs(math.log(int(known) / width)))
    return rates[nearest] * math.sqrt(int(nearest) / width)


def activation_functions(budget: SimpleNamespace) -> list[Method]:
    """The kinds of the Top-k paper's Figure 2, at every width with every sparsity."""
    kinds = {
        "relu": (budget.relu_sparsities, budget.relu_lr), "prolu_relu": (budget.prolu_sparsities, budget.prolu_relu_lr),
        "prolu_ste": (budget.prolu_sparsities, budget.prolu_ste_lr), "gated": (budget.gated_sparsities, budget.gated_lr),
        "topk": ([float(k) for k in budget.ks], budget.topk_lr),
    }  # fmt: skip
    return [
        Method(
            kind, width, tuple(values),
            _training(budget, rate_at(rates, width), **_ADAM, **(_SPARED if kind == "topk" else {})), PER_TOKEN,
        )
        for width in budget.widths
        for kind, (values, rates) in kinds.items()
    ]  # fmt: skip


def dead_latents(budget: SimpleNamespace) -> list[Method]:
    """TopK with neither, either and both of the remedies against dead latents (Top-k paper, Figure 15)."""
    found = []
    for name, (transposed, auxk) in VARIANTS.items():
        options = (
            PER_TOKEN + (() if transposed else (("transposed", False),)) + (() if auxk else (("aux_weight", 0.0),))
        )
        training = _training(budget, budget.lr, **_ADAM, **_SPARED)
        found.append(Method("topk", budget.d_sae, (float(budget.k),), training, options, name))
    return found


def end_to_end(budget: SimpleNamespace) -> list[Method]:
    """The e2e paper's three objectives on SAEs of one shape (section 2, appendix D), each with its own sparsities and rate."""
    kinds = {
        "local": (Objective(reconstruction=1.0), budget.local_sparsities, budget.local_lr),
        "e2e": (Objective(kl=1.0), budget.e2e_sparsities, budget.e2e_lr),
        "e2e+ds": (Objective(kl=0.5, downstream=budget.downstream), budget.ds_sparsities, budget.ds_lr),
    }
    return [
        Method(
            "normalised_relu", budget.d_sae, tuple(sparsities),
            TrainConfig(
                lr=lr, tokens=budget.tokens, batch=budget.batch, beta1=0.9, warmup_share=0.05, cosine_to=0.1,
                clip_norm=10.0, resample_at=(),
            ),
            name=name, objective=objective,
        )
        for name, (objective, sparsities, lr) in kinds.items()
    ]  # fmt: skip


# What each notebook trains. A notebook that is not here trains nothing.
PLANS: dict[str, Callable[[SimpleNamespace], list[Method]]] = {
    "gated.fig04_jumprelu": gated_alone,
    "gated.fig05_pareto": gated_against_baseline,
    "gated.fig06_shrinkage": gated_against_baseline,
    "gated.fig10_ito": gated_against_baseline,
    "gated.fig11_ito_frontier": gated_against_baseline,
    "gated.fig08_ablations": gated_ablations,
    "gated.fig09_rescale_shift": gated_against_baseline,
    "gated.knob_dead_latents": with_and_without_resampling,
    "gated.knob_thresholded_baseline": gated_against_baseline,
    "gated.fig07_interpretability": gated_against_baseline,
    "gated.fig12_sites": gated_against_baseline,
    "gated.tab01_sweeps": gated_against_baseline,
    "topk.fig02_activations": activation_functions,
    "topk.fig05_downstream": activation_functions,
    "topk.fig15_dead_latents": dead_latents,
    "e2e.fig01_pareto": end_to_end,
    "e2e.fig02_downstream_mse": end_to_end,
    "e2e.fig03_geometry": end_to_end,
}
