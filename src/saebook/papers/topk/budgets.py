"""Typed budgets of the chapters of the Top-k paper, by the name of the plan. Nothing here needs PyTorch."""

from typing import Self

from pydantic import field_validator, model_validator

from saebook.common.limits import Budget, Count, Positive, Rate, Several, SweepBudget, Width
from saebook.papers.topk.effects import budgets as effects
from saebook.papers.topk.later.budgets import LaterArchitectures
from saebook.papers.topk.optimisation import budgets as optimisation
from saebook.papers.topk.probes import budgets as probes
from saebook.papers.topk.scaling import budgets as scaling
from saebook.papers.topk.token_patterns import budgets as token_patterns

RatesByWidth = dict[str, Rate]


class ActivationFunctions(SweepBudget):
    """Five architectures at every width; learning rates by width, as `{"512": 0.04}`."""

    widths: Several[Width]
    fixed_l0: Positive
    relu_sparsities: Several[Positive]
    prolu_sparsities: Several[Positive]
    gated_sparsities: Several[Positive]
    ks: Several[Width]
    relu_lr: RatesByWidth
    prolu_relu_lr: RatesByWidth
    prolu_ste_lr: RatesByWidth
    gated_lr: RatesByWidth
    topk_lr: RatesByWidth

    @field_validator("relu_lr", "prolu_relu_lr", "prolu_ste_lr", "gated_lr", "topk_lr")
    @classmethod
    def _by_width(cls, rates: RatesByWidth) -> RatesByWidth:
        if not rates or not all(width.isdigit() and int(width) > 0 for width in rates):
            raise ValueError('must map widths to rates, such as {"512": 0.04}')
        return rates

    @model_validator(mode="after")
    def _k_within_width(self) -> Self:
        if max(self.ks) > min(self.widths):
            raise ValueError(f"ks must be at most the smallest width, {min(self.widths)}, and reach {max(self.ks)}")
        return self


class DeadLatents(SweepBudget):
    d_sae: Width
    k: Width
    lr: Rate

    @model_validator(mode="after")
    def _k_within_width(self) -> Self:
        if self.k > self.d_sae:
            raise ValueError(f"k must be at most d_sae, {self.d_sae}, and is {self.k}")
        return self


class SeveralK(SweepBudget):
    """TopK SAEs of one width at several `ks`."""

    d_sae: Width
    ks: Several[Width]

    @model_validator(mode="after")
    def _k_within_width(self) -> Self:
        if max(self.ks) > self.d_sae:
            raise ValueError(f"ks must be at most d_sae, {self.d_sae}, and reach {max(self.ks)}")
        return self


class EncoderScale(SeveralK):
    """TopK whose encoder begins scaled or not, each at its own rate."""

    unscaled_lr: Rate
    scaled_lr: Rate


class Recipe(SeveralK):
    """TopK, and TopK with one part of the recipe taken away, each at its own rate."""

    full_lr: Rate
    no_bias_lr: Rate
    free_norm_lr: Rate
    constant_lr: Rate


class Progressive(ActivationFunctions):
    """The SAEs of Figure 2 at other L0 than those of training: `test_l0s`, thresholds for which come from `choice_rows`."""

    test_l0s: Several[Width]
    test_rows: Count
    choice_rows: Count

    @model_validator(mode="after")
    def _within_and_below(self) -> Self:
        if max(self.test_l0s) > max(self.widths):
            raise ValueError(
                f"test_l0s must be at most the width of the SAEs, {max(self.widths)}, and reach {max(self.test_l0s)}"
            )
        if sum(l0 < max(self.ks) for l0 in self.test_l0s) < 2:
            raise ValueError(f"test_l0s must name at least two numbers below the largest of ks, {max(self.ks)}")
        return self


class Refinement(ActivationFunctions):
    """ReLU and TopK SAEs of Figure 2, whose activations on `refine_rows` are refined in `refine_steps` steps."""

    refine_rows: Count
    refine_steps: Count


class Probes(ActivationFunctions, probes.ProbeText):
    """SAEs of Figure 2 under probes."""


class LogitEffects(ActivationFunctions):
    """TopK SAEs of Figure 2 and of `larger_ks`, whose latents are ablated: `effect_latents` of each of `effect_tokens` tokens.

    Effects are read at `effect_span` tokens, the one of the ablation and those after it.
    """

    larger_ks: Several[Width]
    effect_tokens: Count
    effect_latents: Count
    effect_span: Count

    @model_validator(mode="after")
    def _larger_and_within(self) -> Self:
        if not max(self.ks) < min(self.larger_ks) <= max(self.larger_ks) <= max(self.widths):
            raise ValueError(
                f"larger_ks must lie above ks, which reach {max(self.ks)}, and be at most the width of the SAEs, "
                f"{max(self.widths)}"
            )
        if self.effect_tokens < 2:
            raise ValueError("effect_tokens must be at least two: what a token contributes is also removed at another")
        return self


class BatchTopK(ActivationFunctions, LaterArchitectures):
    """SAEs of Figure 2 at its widest, and the later architectures beside them."""


class Explained(ActivationFunctions, token_patterns.PatternText):
    """SAEs of Figure 2, of which `explained_latents` latents each are explained by token patterns."""

    explained_latents: Count

    @model_validator(mode="after")
    def _latents_within_width(self) -> Self:
        if self.explained_latents > min(self.widths):
            raise ValueError(
                f"explained_latents must be at most the smallest width, {min(self.widths)}, and are {self.explained_latents}"
            )
        return self


class Simulated(ActivationFunctions, token_patterns.PatternText):
    """SAEs of Figure 2, all of whose latents are simulated from token patterns."""


BUDGETS: dict[str, type[Budget]] = {
    "activation_functions": ActivationFunctions,
    "dead_latents": DeadLatents,
    "auxk_forms": DeadLatents,
    "encoder_scale": EncoderScale,
    "recipe": Recipe,
    "progressive": Progressive,
    "refinement": Refinement,
    "positions": ActivationFunctions,
    "probe_widths": Probes,
    "probe_kinds": Probes,
    **probes.BUDGETS,
    "logit_effects": LogitEffects,
    "distributions": ActivationFunctions,
    "batch_topk": BatchTopK,
    "explained": Explained,
    "simulated": Simulated,
    **scaling.BUDGETS,
    **effects.BUDGETS,
    **optimisation.BUDGETS,
}
