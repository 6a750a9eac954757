"""The ledger of claims, and the verdict on each: computed from the interval over seeds, never by eye."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

import yaml

from saebook.common import paths
from saebook.common.errors import UserError
from saebook.evaluation.intervals import Interval

NOT_JUDGED = "not judged at this tier"
NOT_RUN = "not run yet"
PAPERS = ("gated", "topk", "e2e")
TIERS = ("smoke", "cpu", "gpu", "paper")  # from the least to the most that a result can show
KINDS = ("value", "direction", "ordering", "slope", "existence")


class Verdict(StrEnum):
    REPLICATES = "replicates"
    PARTLY = "partly"
    DOES_NOT = "does not replicate"
    UNDERPOWERED = "underpowered"
    NOT_COMPARABLE = "not comparable here"


@dataclass(frozen=True)
class Claim:
    """One row of ``data/claims.yml``; `quantity` says in words what is measured, `live` (NOTEBOOK:KEY) where it is recorded.

    With a `band` the live value must lie inside it, and `null_value` is what no effect would be. Without one it must
    lie on `side` of `null_value`, by at least `smallest_effect`. An ordering is a list of such contrasts, all of which
    must hold. `tier` is the smallest that can judge; `confirmed` is false for what we recall but could not read;
    `not_comparable` says why a machine cannot judge at all.
    """

    id: str
    where: str
    claim: str
    kind: str
    source: str
    quantity: str = ""
    live: str = ""
    tier: str = "cpu"
    paper_value: float | None = None
    precision: str = ""
    band: tuple[float, float] | None = None
    null_value: float = 1.0
    smallest_effect: float = 0.0
    side: str = "below"
    confirmed: bool = True
    not_comparable: str = ""

    def __post_init__(self) -> None:
        def refuse(words: str) -> None:
            raise UserError(f"data/claims.yml: {self.id}: {words}")

        if self.paper not in PAPERS:
            refuse(f"an id begins with one of {', '.join(PAPERS)}")
        if self.kind not in KINDS:
            refuse(f"kind is one of {', '.join(KINDS)}, not {self.kind}")
        if self.tier not in TIERS[1:] or self.side not in ("below", "above"):
            refuse("tier is cpu, gpu or paper, and side is below or above")
        if bool(self.live) == bool(self.not_comparable):
            refuse("either live says what judges it, or not_comparable why nothing can")
        if self.live and (not self.quantity or self.live.count(":") != 1):
            refuse("live is NOTEBOOK:KEY, and quantity says what that is")
        if self.live and self.kind == "value" and self.band is None:
            refuse("a value needs a band")
        if self.band and not self.band[0] <= self.band[1]:
            refuse("a band goes from its lower to its upper end")

    @property
    def paper(self) -> str:
        return self.id.split(".")[0]

    @property
    def notebook(self) -> str:
        """The dotted name of the notebook that judges it; empty for a claim that none can."""
        return self.live.split(":")[0]

    @property
    def key(self) -> str:
        return self.live.partition(":")[2]

    @property
    def expected(self) -> str:
        """The paper's side of the table, with the precision that it has."""
        number = "" if self.paper_value is None else f"{self.paper_value:g}"
        if self.not_comparable:
            return number or "no number"
        if self.band:
            return f"{number or 'a value'} (judged: {self.band[0]:g} to {self.band[1]:g})"
        return f"{self.side} {self.null_value:g}" + (f" (paper: {number})" if number else "")


def load(prefix: str = "") -> list[Claim]:
    """The claims whose id starts with `prefix`. Raises `UserError` for a row with an unknown or missing key."""
    known = {f.name for f in fields(Claim)}
    found = []
    for row in yaml.safe_load((paths.data() / "claims.yml").read_text("utf-8")):
        if unknown := set(row) - known:
            raise UserError(
                f"data/claims.yml: {row.get('id', 'a claim')} has unknown keys {', '.join(sorted(unknown))}"
            )
        try:
            found.append(Claim(**row | ({"band": tuple(row["band"])} if "band" in row else {})))
        except TypeError as error:
            raise UserError(f"data/claims.yml: {row.get('id', 'a claim')}: {error}") from None
    ids = [claim.id for claim in found]
    if twice := {i for i in ids if ids.count(i) > 1}:
        raise UserError(f"data/claims.yml: {', '.join(sorted(twice))} stands there twice")
    return [claim for claim in found if claim.id.startswith(prefix)]


def judged_by(notebook: str) -> list[Claim]:
    """The claims that a notebook (dotted) records the live quantities of."""
    return [claim for claim in load() if claim.notebook == notebook]


def verdict(claim: Claim, live: Interval | Sequence[Interval]) -> Verdict:
    """What the interval says of the claim. One seed, or none, is *underpowered* whatever it shows.

    An ordering takes one interval per contrast, made at a joint level (`stats.joint_level`): it replicates when all
    contrasts do, and does not when one is the other way round.
    """
    if claim.not_comparable:
        return Verdict.NOT_COMPARABLE
    if claim.kind == "ordering":
        return _ordering([_direction(claim, one) for one in live])
    return _direction(claim, live) if claim.band is None else _value(claim, live)


def _enough(live: Interval) -> bool:
    return live.n >= 2 and live.low <= live.mean <= live.high  # also false when one of them is no number


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
