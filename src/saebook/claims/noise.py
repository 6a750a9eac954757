"""What an interval contains: what was drawn anew for each of the values that it is computed from, and what never was.

An interval over seeds says how far another seed may lie. It is silent about another text, another site and another rule.
"""

from collections.abc import Mapping
from typing import Any

from saebook.claims.ledger import Claim
from saebook.claims.rules import Value
from saebook.common import sidecar
from saebook.evaluation.intervals import Interval

ALONE = "a single value without an interval"
TIMES = "interval over {n} timings on one machine"
PUBLISHED = "interval over {n} published values: models, layers and sites"
SEEDS = "interval over {n} seeds: start of the SAEs and order of the text; the text is the same"
DRAWS = "interval over {n} seeds: start of the SAEs and draws of the data"
ROWS = "interval over {n} rows of validation text; nothing is trained"
IDENTITY = "interval over {n} checks of an identity"
SHARED = "interval over {n} values, some of the same seed"


def noise(claim: Claim, parameters: Mapping[str, Any], value: Value) -> str:
    """In words, what the interval of a claim's `value` is over, by the `parameters` of the run that it comes from."""
    n = value.n if isinstance(value, Interval) else min((one.n for one in value), default=0)
    return _words(claim, parameters, n).format(n=n) if n > 1 else ALONE


def _words(claim: Claim, parameters: Mapping[str, Any], n: int) -> str:
    rests_on = sidecar.load(claim.notebook).rests_on
    if claim.timing:
        return TIMES
    if rests_on == "published rows":
        return PUBLISHED
    if n == len(parameters.get("seeds", ())):
        return SEEDS if "subject" in parameters else DRAWS
    if n in [value for name, value in parameters.items() if name.endswith("_rows")]:
        return ROWS
    return IDENTITY if rests_on else SHARED
