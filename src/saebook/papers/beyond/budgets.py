"""Typed budgets of the chapters beyond the papers, by the name of the plan. Nothing here needs PyTorch."""

from typing import Self

from pydantic import model_validator

from saebook.common.limits import Budget, Count
from saebook.papers.gated.budgets import GatedSweep


class Features(GatedSweep):
    """`features` latents of each architecture on `rows` rows of text, with up to `contexts` windows of each band of activations."""

    features: Count
    contexts: Count
    rows: Count

    @model_validator(mode="after")
    def _another_seed(self) -> Self:
        if len(self.seeds) < 2:
            raise ValueError("seeds must be two or more: latents are looked for in the SAE of another seed")
        if self.features > self.d_sae:
            raise ValueError(f"features must be at most d_sae, and are {self.features}")
        return self


BUDGETS: dict[str, type[Budget]] = {"features": Features}
