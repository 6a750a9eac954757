"""The ledger of claims, read from the chapters' sidecars, and the verdict on each: computed from an interval, never by eye."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from saebook.common import sidecar
from saebook.common.errors import UserError
from saebook.common.limits import problem
from saebook.common.names import PAPERS
from saebook.evaluation.intervals import Interval

NOT_JUDGED = "not judged at this tier"
NOT_RUN = "not run yet"
REPORTED = "reported, not judged"  # of a time that a single run measured


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
    `tier` is the smallest that can judge; a `timing` judges only from repeated recordings; `confirmed` is false for what we
    recall but could not read in the paper; `not_comparable` says why a machine cannot judge at all. A row that was added or
    changed after a run had judged it says so in `changed`, with the date.
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


def verdict(claim: Claim, live: Interval | Sequence[Interval]) -> Verdict:
    """The verdict of the interval on the claim. One seed, or none, is always *underpowered*.

    An ordering takes one interval per contrast, made at a joint level (`intervals.joint_level`): it replicates when all
    contrasts do, and does not when one is the other way round. Raises `TypeError` for one interval where several are needed.
    """
    if claim.not_comparable:
        return Verdict.NOT_COMPARABLE
    if (claim.kind == "ordering") is isinstance(live, Interval):
        raise TypeError(f"{claim.id}: an ordering takes several intervals, every other claim takes one")
    if not isinstance(live, Interval):
        return _ordering([_direction(claim, one) for one in live])
    return _direction(claim, live) if claim.band is None else _value(claim, live)


def _enough(live: Interval) -> bool:
    return live.n >= 2 and live.low <= live.mean <= live.high  # also false when one of them is NaN


def _direction(claim: Claim, live: Interval) -> Verdict:
    if not _enough(live):
        return Verdict.UNDERPOWERED
    # As distances towards the claimed side, so that larger is better for either side.
    sign = -1.0 if claim.side == "below" else 1.0
    low, high = sorted((sign * (live.low - claim.null_value), sign * (live.high - claim.null_value)))
    if low > 0.0 and low >= claim.smallest_effect:
        return Verdict.REPLICATES
    if high <= 0.0:
        return Verdict.DOES_NOT
    if low > 0.0:
        return Verdict.PARTLY
    return Verdict.DOES_NOT if high < claim.smallest_effect else Verdict.UNDERPOWERED


def _value(claim: Claim, live: Interval) -> Verdict:
    if not _enough(live):
        return Verdict.UNDERPOWERED
    assert claim.band is not None
    low, high = claim.band
    if low <= live.low and live.high <= high:
        return Verdict.REPLICATES
    if live.low <= high and low <= live.high:
        return Verdict.UNDERPOWERED
    # Outside the band: on the claimed side of no effect it is the right direction with another size.
    towards = -1.0 if sum(claim.band) / 2 < claim.null_value else 1.0
    distances = (towards * (live.low - claim.null_value), towards * (live.high - claim.null_value))
    return Verdict.PARTLY if min(distances) > 0 else Verdict.DOES_NOT


def _ordering(contrasts: list[Verdict]) -> Verdict:
    for decisive in (Verdict.DOES_NOT, Verdict.UNDERPOWERED, Verdict.PARTLY):
        if decisive in contrasts:
            return decisive
    return Verdict.REPLICATES if contrasts else Verdict.UNDERPOWERED
