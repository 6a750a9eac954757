"""Typed budgets of the chapters of the Gated paper, by the name of the plan. Nothing here needs PyTorch."""

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
)


class GatedSweep(SweepBudget):
    """Gated SAEs of width `d_sae` against ReLU baselines `baseline_width` times as wide, each at its own rate and sparsities.

    `beside` names further types of site in the same layer, where the same is trained, and there the rates of architectures
    that differ from those at `site`.
    """

    d_sae: Width
    baseline_width: Positive
    gated_sparsities: Several[Positive]
    baseline_sparsities: Several[Positive]
    gated_lr: Rate
    baseline_lr: Rate
    beta2: Decay
    beside: dict[SiteName, dict[StrictStr, Rate]] = {}


class JumpReLUForm(GatedSweep):
    compare_rows: Count


class HumanStudy(GatedSweep):
    """`features` pairs of cards with `contexts` each, six or more; `ratings` is the folder of what raters sent, or empty."""

    features: Count
    contexts: Count
    ratings: StrictStr = ""

    @model_validator(mode="after")
    def _latents_to_draw(self) -> Self:
        if self.features > self.d_sae * len(self.seeds):
            raise ValueError(f"features must be at most the latents of all seeds, and are {self.features}")
        if self.contexts < 6:
            raise ValueError(
                f"contexts must be at least 6, and are {self.contexts}: fewer do not show what a latent is about"
            )
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


BUDGETS: dict[str, type[Budget]] = {
    "against_baseline": GatedSweep,
    "jumprelu_form": JumpReLUForm,
    "human_study": HumanStudy,
    "ablations": Ablations,
    "rescale_shift": RescaleShift,
    "inference_time": InferenceTime,
    "resampling": GatedSweep,
    "thresholded_baseline": ThresholdedBaseline,
    "sites": GatedSites,
    "ablation_costs": AblationCosts,
    "published_tables": PublishedTables,
    "shrinkage_toy": ShrinkageToy,
    "jumprelu_toy": JumpReLUToy,
    "gradient_routes": GradientRoutes,
}
