"""The recipe of an embedded subject: what `saebook subject train --set` takes, and what RECIPE.json keeps."""

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from saebook.common.errors import UserError

Width = Annotated[int, Gt(0), Le(2**16)]
Count = Annotated[int, Gt(0), Lt(10**13)]
Rate = Annotated[float, Gt(0), Lt(1)]


class Recipe(BaseModel):
    """The recipe of an embedded subject. `tokens` counts repeats; rates are per step. All bounds are stated here.

    Training is in single precision. `stored` is what the weights are rounded to when they are written, and they are
    measured as they were written: half the size matters for a model that travels with the book.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: str = "environment"
    vocabulary: Annotated[int, Gt(256), Le(2**20)] = 4096  # the 256 bytes and the end of text at least
    context: Annotated[int, Ge(2), Le(2**15)] = 128
    d_model: Width = 128
    layers: Annotated[int, Gt(0), Le(1000)] = 4
    heads: Width = 4
    tokens: Count = 30_000_000
    rows_per_step: Width = 32
    muon_lr: Rate = 0.02
    adam_lr: Rate = 3e-3
    weight_decay: Annotated[float, Ge(0), Lt(1)] = 0.01
    warmup_steps: Count = 100
    decay_share: Annotated[float, Ge(0), Le(1)] = 0.4
    stored: Literal["float32", "bfloat16"] = "float32"
    seed: Annotated[int, Ge(0), Lt(2**31)] = 0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.d_model % self.heads:
            raise ValueError(f"d_model must be a multiple of heads, and {self.d_model} is not one of {self.heads}")
        if not self.steps():
            raise ValueError(f"tokens must fill one step of {self.rows_per_step * self.context}, and are {self.tokens}")
        return self

    @classmethod
    def read(cls, fields: Iterable[tuple[str, str]]) -> "Recipe":
        """A recipe from `(field, text)` pairs. Raises `UserError` with one line that names the field and its bound."""
        given = dict(fields)
        if unknown := sorted(set(given) - set(cls.model_fields)):
            raise UserError(f"a recipe has no field '{unknown[0]}': it has {', '.join(cls.model_fields)}")
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            words = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
            if not first["loc"]:
                raise UserError(f"recipe: {words}") from None
            raise UserError(f"recipe field {first['loc'][0]} {words}, not '{first['input']}'") from None

    def steps(self) -> int:
        return self.tokens // (self.rows_per_step * self.context)

    def rate(self, step: int) -> float:
        """Share of the peak learning rate at a step."""
        decay = max(1, round(self.decay_share * self.steps()))
        return min(1.0, (step + 1) / self.warmup_steps, (self.steps() - step) / decay)
