"""The ledger of claims, and the verdict on each: computed from the interval over seeds, never by eye."""

from dataclasses import dataclass, fields
from enum import StrEnum

import yaml

from saebook import paths
from saebook.errors import UserError
from saebook.stats import Interval

NOT_JUDGED = "not judged at this tier"


class Verdict(StrEnum):
    REPLICATES = "replicates"
    PARTLY = "partly"
    DOES_NOT = "does not replicate"
    UNDERPOWERED = "underpowered"
    NOT_COMPARABLE = "not comparable here"


@dataclass(frozen=True)
class Claim:
    """One row of ``data/claims.yml``; `quantity` says in words what the number `live` is.

    kind ``direction``: the live value lies on `side` (below or above) of `null_value`; `smallest_effect` is the distance that
    would matter. kind ``value``: it lies inside `band`; `null_value` (optional) is what no effect would be.
    """

    id: str
    paper: str
    where: str
    claim: str
    kind: str
    live: str
    quantity: str
    source: str
    paper_value: float | None = None
    band: tuple[float, float] | None = None
    null_value: float = 1.0
    smallest_effect: float = 0.0
    side: str = "below"

    def __post_init__(self) -> None:
        if self.kind not in ("direction", "value") or (self.kind == "value" and self.band is None):
            raise UserError(f"claim {self.id}: kind is direction, or value with a band")

    @property
    def expected(self) -> str:
        """The paper's side of the table."""
        if self.kind == "value":
            return f"{self.paper_value:g} (band {self.band[0]:g} to {self.band[1]:g})"
        return f"{self.side} {self.null_value:g}"


def load(prefix: str = "") -> list[Claim]:
    """The claims whose id starts with `prefix`. Raises `UserError` for a row with an unknown or missing key."""
    known = {f.name for f in fields(Claim)}
    rows = yaml.safe_load((paths.data() / "claims.yml").read_text("utf-8"))
    for row in rows:
        if unknown := set(row) - known:
            raise UserError(
                f"data/claims.yml: {row.get('id', 'a claim')} has unknown keys {', '.join(sorted(unknown))}"
            )
    chosen = [Claim(**row | ({"band": tuple(row["band"])} if "band" in row else {})) for row in rows]
    return [c for c in chosen if c.id.startswith(prefix)]


def verdict(claim: Claim, live: Interval) -> Verdict:
    """What the interval says of the claim. One seed, or none, is *underpowered* whatever it shows."""
    if live.n < 2 or not live.low <= live.mean <= live.high:
        return Verdict.UNDERPOWERED
    return _direction(claim, live) if claim.kind == "direction" else _value(claim, live)


def _direction(claim: Claim, live: Interval) -> Verdict:
    # As distances towards the claimed side, so that larger is better for either side.
    sign = -1.0 if claim.side == "below" else 1.0
    low, high = sorted((sign * (live.low - claim.null_value), sign * (live.high - claim.null_value)))
    if low >= claim.smallest_effect:
        return Verdict.REPLICATES
    if high <= 0.0:
        return Verdict.DOES_NOT
    if low > 0.0:
        return Verdict.PARTLY
    return Verdict.DOES_NOT if high < claim.smallest_effect else Verdict.UNDERPOWERED


def _value(claim: Claim, live: Interval) -> Verdict:
    low, high = claim.band
    if low <= live.low and live.high <= high:
        return Verdict.REPLICATES
    if live.low <= high and low <= live.high:
        return Verdict.UNDERPOWERED
    # Outside the band: on the claimed side of no effect it is the right direction with another size.
    towards = -1.0 if sum(claim.band) / 2 < claim.null_value else 1.0
    distances = (towards * (live.low - claim.null_value), towards * (live.high - claim.null_value))
    return Verdict.PARTLY if min(distances) > 0 else Verdict.DOES_NOT
