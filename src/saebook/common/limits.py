"""Typed budgets: what a chapter may be told, with the bounds of every value stated once, in its type.

A budget is frozen and refuses unknown fields. Each paper's `plans` module derives its own from the classes here.
"""

import math
from typing import Annotated, Any, Literal, Self, TypeVar

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, BaseModel, ConfigDict, Strict, StrictStr, ValidationError, model_validator

from saebook.common.errors import UserError


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _distinct(values: tuple) -> tuple:
    if not values:
        raise ValueError("must name at least one value")
    if len(set(values)) != len(values):
        raise ValueError("must not name a value twice")
    return values


Number = Annotated[float, Strict(), AfterValidator(_finite)]
Count = Annotated[int, Strict(), Gt(0), Lt(10**13)]
Width = Annotated[int, Strict(), Gt(0), Le(2**24)]  # of a layer, a batch or a dictionary
Index = Annotated[int, Strict(), Ge(0), Lt(10**4)]  # of a block, or positions to leave out
Seed = Annotated[int, Strict(), Ge(0), Lt(2**31)]
Rate = Annotated[Number, Gt(0), Lt(1)]
Decay = Annotated[Number, Ge(0), Lt(1)]
Share = Annotated[Number, Ge(0), Le(1)]
Positive = Annotated[Number, Gt(0), Lt(10**6)]
NotNegative = Annotated[Number, Ge(0), Lt(10**6)]
SiteName = Literal["resid_pre", "resid_post", "mlp_out", "mlp_post", "attn_z"]

T = TypeVar("T")
Several = Annotated[tuple[T, ...], AfterValidator(_distinct)]


def problem(error: ValidationError) -> str:
    """The first thing that is wrong, in one line: `field: words`, or the words alone for a rule about several fields."""
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: " * bool(where) + first["msg"].removeprefix("Value error, ")


class Budget(BaseModel):
    """The base of every budget: `tier` says where its values come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tier: StrictStr

    @classmethod
    def checked(cls, where: str, values: dict[str, Any]) -> Self:
        """A budget from plain values. Raises `UserError` with one line that names the parameter and its bound."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            name = ".".join(str(part) for part in first["loc"] if not isinstance(part, int)) or "the budget"
            if first["type"] == "extra_forbidden":
                known = ", ".join(name for name in cls.model_fields if name != "tier")
                raise UserError(f"{where}: unknown parameter '{name}': it has {known}") from None
            words = first["msg"].removeprefix("Value error, ").replace("Input should", "must")
            words = words.replace("be a valid tuple", "be a list, such as 0,1,2")
            if not first["loc"]:  # a rule about several parameters names them itself
                raise UserError(f"{where}: {words}") from None
            given = "" if first["type"] == "missing" else f", not {_short(first['input'])}"
            raise UserError(f"{where}: parameter {name} {words[0].lower() + words[1:]}{given}") from None

    def plain(self) -> dict[str, Any]:
        """The budget as JSON knows it, for a record."""
        return self.model_dump(mode="json")


class SubjectBudget(Budget):
    """A chapter that reads a language model: which one, on which text, in rows of how many tokens (None: the model's)."""

    subject: StrictStr
    source: StrictStr = "environment"
    context: Annotated[int, Strict(), Ge(2), Le(2**17)] | None = None
    eval_rows: Count
    skip: Index = 1


class SiteBudget(SubjectBudget):
    """One site of a subject, and the seeds that are run there."""

    site: SiteName
    layer: Index
    seeds: Several[Seed]


class TrainingBudget(SubjectBudget):
    """Length of training of each SAE in a sweep. A block is about how many rows of text are mixed at a time."""

    seeds: Several[Seed]
    tokens: Count
    batch: Width
    block: Width = 4096

    @model_validator(mode="after")
    def _one_step(self) -> Self:
        if self.tokens < self.batch:
            raise ValueError(f"tokens must fill at least one batch of {self.batch}, and are {self.tokens}")
        return self


class SweepBudget(TrainingBudget, SiteBudget):
    """A sweep at one site."""


class SitesBudget(SubjectBudget):
    """Several sites of a subject: every one of `sites` in every one of `layers`."""

    sites: Several[SiteName]
    layers: Several[Index]
