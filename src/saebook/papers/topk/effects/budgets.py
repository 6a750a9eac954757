"""Typed budgets of the chapters on what latents do that share no runs with Figure 2. Nothing here needs PyTorch."""

from typing import Self

from pydantic import model_validator

from saebook.common.limits import Budget, Count, Rate, Several, SitesBudget, TrainingBudget, Width
from saebook.papers.topk.scaling.budgets import ScalingGrid


class GaussianNoise(ScalingGrid):
    """The widths of a scaling grid at one k, on activations and on noise; white noise has `noise_d_in` dimensions.

    Errors on noise are means over `noise_tokens` vectors.
    """

    noise_d_in: Width
    noise_tokens: Count

    @model_validator(mode="after")
    def _something_to_reconstruct(self) -> Self:
        if self.fixed_k >= self.noise_d_in:
            raise ValueError(f"noise_d_in must lie above fixed_k, {self.fixed_k}, and is {self.noise_d_in}")
        return self


class EveryLayer(SitesBudget, TrainingBudget):
    """TopK of one width at several layers, at the rate that was tuned at one of them."""

    d_sae: Width
    ks: Several[Width]
    topk_lr: Rate

    @model_validator(mode="after")
    def _k_within_width_and_layers_to_compare(self) -> Self:
        if max(self.ks) > self.d_sae:
            raise ValueError(f"ks must be at most d_sae, {self.d_sae}, and reach {max(self.ks)}")
        if len(self.sites) > 1 or len(self.layers) < 2:
            raise ValueError("sites must name one type of site, and layers at least two, to be compared")
        return self


BUDGETS: dict[str, type[Budget]] = {"gaussian_noise": GaussianNoise, "every_layer": EveryLayer}
