"""The ledger of claims, read from the chapters' sidecars. `claims.rules` computes the verdict on each."""

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from saebook.common import sidecar
from saebook.common.errors import UserError
from saebook.common.limits import problem
from saebook.common.names import PAPERS

NOT_JUDGED = "not judged at this tier"
NOT_RUN = "not run yet"
REPORTED = "reported, not judged"  # of a time that was not measured often enough


class Verdict(StrEnum):
    REPLICATES = "replicates"
    PARTLY = "partly"
    DOES_NOT = "does not replicate"
    UNDERPOWERED = "underpowered"
    NOT_COMPARABLE = "not comparable here"


class Claim(BaseModel):
    """One row of a sidecar's `claims`.

    `quantity` says in words what is measured, and `live` names it among the live quantities that the chapter records. With
    a `band` the live value must lie inside it, and `null_value` is what no effect would be. Without one it must lie on
    `side` of `null_value`, by at least `smallest_effect`. An ordering is a list of such contrasts, all of which must hold.
    `tier` is the smallest that can judge; a `timing` judges only from repeated recordings; `one_run` says that the paper's
    number comes from a single run, so that its own noise counts; `of_loss` that the quantity compares losses of the language
    model with an SAE in place, which means nothing where the model predicts nothing; `confirmed` is false for what we recall
    but could not read in the paper; `not_comparable` says why a machine cannot judge at all. A row that was added or changed
    after a run had judged it says so in `changed`, with the date.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    notebook: str  # paper/name of the chapter that judges it; empty for a claim that no chapter can
    id: str
    where: str
    claim: str
    kind: Literal["value", "direction", "ordering", "slope", "existence"]
    source: str
    quantity: str = ""
    live: str = ""
    tier: Literal["cpu", "overnight", "gpu", "paper"] = "cpu"
    paper_value: float | None = None
    precision: str = ""
    band: tuple[float, float] | None = None
    null_value: float = 1.0
    smallest_effect: float = 0.0
    side: Literal["below", "above"] = "below"
    timing: bool = False
    one_run: bool = False
    of_loss: bool = Field(False, exclude=True)  # no page of a run depends on it: outside the hash of the row
    confirmed: bool = True
    changed: str = ""
    planned: str = ""  # the chapter that is to judge a claim that none judges yet
    not_comparable: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> "Claim":
        if self.paper not in PAPERS:
            raise ValueError(f"an id begins with one of {', '.join(PAPERS)}")
        if bool(self.live) == bool(self.not_comparable):
            raise ValueError("either live says what judges it, or not_comparable why nothing can")
        if self.live and not self.quantity:
            raise ValueError("quantity must say what live is")
        if self.live and self.kind == "value" and self.band is None:
            raise ValueError("a value needs a band")
        if self.band and not self.band[0] <= self.band[1]:
            raise ValueError("a band goes from its lower to its upper end")
        if self.one_run and (self.band is None or self.kind == "ordering"):
            raise ValueError("one_run needs the band about the paper's number")
        if self.smallest_effect < 0:
            raise ValueError("smallest_effect is a distance from null_value and cannot be negative")
        return self

    @property
    def paper(self) -> str:
        return self.id.split(".")[0]


def load(prefix: str = "") -> list[Claim]:
    """The claims whose id starts with `prefix`, in the order of the book, then those that no chapter judges.

    Raises `UserError` in one line for a row with an unknown, missing or contradictory field, or an id that occurs twice.
    """
    claims = [
        _claim(row, name, f"notebooks/{name}.yml") for name in sidecar.names() for row in sidecar.load(name).claims
    ]
    for paper in PAPERS:
        file = sidecar.folder() / paper / "claims.yml"
        if file.is_file():
            rows = sidecar.read_yaml(file)
            if not isinstance(rows, list):
                raise UserError(f"notebooks/{paper}/claims.yml must be a list of claims: mend or restore it")
            claims += [_claim(row, "", f"notebooks/{paper}/claims.yml") for row in rows]
    ids = [claim.id for claim in claims]
    if twice := {i for i in ids if ids.count(i) > 1}:
        raise UserError(f"the ledger has {', '.join(sorted(twice))} twice: rename one in its sidecar")
    return [claim for claim in claims if claim.id.startswith(prefix)]


def _claim(row: Any, name: str, file: str) -> Claim:
    if not isinstance(row, dict):
        raise UserError(f"{file}: a claim must map names to values, not {row!r}")
    try:
        return Claim.model_validate(row | {"notebook": name})
    except ValidationError as error:
        raise UserError(f"{file}: {row.get('id', 'a claim')}: {problem(error)}") from None


def judged_by(notebook: str) -> list[Claim]:
    """The claims that a chapter (`paper/name`) records the live quantities of."""
    return [claim for claim in load() if claim.notebook == notebook and claim.live]
