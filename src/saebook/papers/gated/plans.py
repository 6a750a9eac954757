"""What the chapters of the Gated paper train: typed budgets, and the methods of each sweep."""

from dataclasses import replace
from typing import Self

from pydantic import StrictStr, model_validator

from saebook.common.limits import (
    Budget,
    Count,
    Decay,
    Index,
    NotNegative,
    Number,
    Positive,
    Rate,
    Seed,
    Several,
    Share,
    SiteName,
    SitesBudget,
    SweepBudget,
    TrainingBudget,
    Width,
)  # fmt: skip
from saebook.papers.gated.site_rates import BySite
from saebook.subject.model import Site
from saebook.training.loop import TrainConfig
from saebook.training.plan import Plan
from saebook.training.sweep import Method
from saebook.training.tuning import Tuner


class GatedSweep(SweepBudget):
    """Gated SAEs of width `d_sae` against ReLU baselines `baseline_width` times as wide, each at its own rate and sparsities."""

    d_sae: Width
    baseline_width: Positive
    gated_sparsities: Several[Positive]
    baseline_sparsities: Several[Positive]
    gated_lr: Rate
    baseline_lr: Rate
    beta2: Decay


class JumpReLUForm(GatedSweep):
    compare_rows: Count


class HumanStudy(GatedSweep):
    """`features` pairs of cards with `contexts` each; `ratings` is the folder of what raters sent, or empty."""

    features: Count
    contexts: Count
    ratings: StrictStr = ""

    @model_validator(mode="after")
    def _latents_to_draw(self) -> Self:
        if self.features > self.d_sae * len(self.seeds):
            raise ValueError(f"features must be at most the latents of all seeds, and are {self.features}")
        return self


class Ablations(GatedSweep):
    ablation_sparsities: Several[Positive]
    unfrozen_lr: Rate
    no_r_mag_lr: Rate
    untied_lr: Rate


class RescaleShift(GatedSweep):
    fit_tokens: Count
    fit_lr: Rate


class InferenceTime(GatedSweep):
    """Inference-time optimisation on `ito_rows` rows, to each L0 of `targets`."""

    ito_rows: Count
    targets: Several[Count]


class ThresholdedBaseline(GatedSweep):
    shares: Several[Share]
    choice_rows: Count


class GatedSites(SitesBudget, TrainingBudget):
    """Gated against the baseline at several sites, with a rate for each type of site."""

    d_sae: Width
    baseline_width: Positive
    gated_sparsities: Several[Positive]
    baseline_sparsities: Several[Positive]
    gated_lr: dict[SiteName, Rate]
    baseline_lr: dict[SiteName, Rate]
    beta2: Decay


class AblationCosts(SitesBudget):
    """The cost of ablating each site; one below `tiny` nats is marked."""

    tiny: Positive


class PublishedTables(Budget):
    models: Several[StrictStr]
    sites: Several[StrictStr]
    layers: Several[Index]
    resamples: Count
    shuffles: Count


class ShrinkageToy(Budget):
    seeds: Several[Seed]
    d_in: Width
    penalties: Several[NotNegative]
    lr: Rate
    steps: Count
    batch: Width


class JumpReLUToy(Budget):
    seeds: Several[Seed]
    tokens: Count
    on_mean: Number
    on_sd: Positive
    off_sd: Positive
    on_means: Several[Number]


class GradientRoutes(Budget):
    seeds: Several[Seed]
    d_in: Width
    d_sae: Width
    batch: Width
    fault: StrictStr


def against_baseline(budget: GatedSweep | GatedSites, site: Site) -> list[Method]:
    """Gated at `d_sae` and the ReLU baseline at `baseline_width` times that: equal training compute (section 3.6)."""
    return [
        Method("gated", budget.d_sae, budget.gated_sparsities, _training(budget, _at(budget.gated_lr, site))),
        Method(
            "relu", round(budget.d_sae * budget.baseline_width), budget.baseline_sparsities,
            _training(budget, _at(budget.baseline_lr, site)),
        ),
    ]  # fmt: skip


def gated_alone(budget: GatedSweep, site: Site) -> list[Method]:
    """The Gated half of the same sweep, for what concerns Gated SAEs only."""
    return against_baseline(budget, site)[:1]


def with_ablations(budget: Ablations, site: Site) -> list[Method]:
    """Gated and the baseline, and Gated with one thing changed, each at its own rate (section 5.1, Figure 8)."""
    rates = {
        "gated_unfrozen": budget.unfrozen_lr, "gated_no_r_mag": budget.no_r_mag_lr, "gated_untied": budget.untied_lr,
    }  # fmt: skip
    return against_baseline(budget, site) + [
        Method(architecture, budget.d_sae, budget.ablation_sparsities, _training(budget, lr))
        for architecture, lr in rates.items()
    ]


def with_and_without_resampling(budget: GatedSweep, site: Site) -> list[Method]:
    """Gated and the baseline as everywhere, and both with dead latents left alone."""
    both = against_baseline(budget, site)
    return both + [
        replace(method, training=replace(method.training, resample_at=()), name=f"{method.architecture}_not_resampled")
        for method in both
    ]


def _at(rate: float | dict[SiteName, float], site: Site) -> float:
    """The rate at a site. A type of site for which none was chosen takes the smallest, at which no SAE collapses."""
    if not isinstance(rate, dict):
        return rate
    return next((chosen for kind, chosen in rate.items() if kind == site.kind), min(rate.values()))


def _training(budget: GatedSweep | GatedSites, lr: float) -> TrainConfig:
    # The paper's beta2 of 0.999 remembers a thousand steps. A run of five hundred never forgets its first gradients with
    # it: steps shrink, a larger rate makes up for that, and then nothing holds a gradient that grows.
    return TrainConfig(lr=lr, tokens=budget.tokens, batch=budget.batch, beta2=budget.beta2)


PLANS = {
    "against_baseline": Plan(GatedSweep, against_baseline, Tuner()),
    "jumprelu_form": Plan(JumpReLUForm, gated_alone),
    "human_study": Plan(HumanStudy, against_baseline),
    "ablations": Plan(Ablations, with_ablations, Tuner(rates=(3e-3, 5e-3, 1e-2, 1.4e-2))),
    "rescale_shift": Plan(RescaleShift, against_baseline, Tuner()),
    "inference_time": Plan(InferenceTime, against_baseline),
    "resampling": Plan(GatedSweep, with_and_without_resampling),
    "thresholded_baseline": Plan(ThresholdedBaseline, against_baseline),
    "sites": Plan(GatedSites, against_baseline, BySite()),
    "ablation_costs": Plan(AblationCosts),
    "published_tables": Plan(PublishedTables),
    "shrinkage_toy": Plan(ShrinkageToy),
    "jumprelu_toy": Plan(JumpReLUToy),
    "gradient_routes": Plan(GradientRoutes),
}
