"""What a verdict rests on, from the least to the most that it can show, read from the result that judged."""

from enum import StrEnum
from typing import Any

from saebook.claims.ledger import Claim
from saebook.common import paths, sidecar
from saebook.common.names import TIERS
from saebook.subject.random_weights import is_control


class Grade(StrEnum):
    IDENTITY = "identity or toy"  # holds or fails whatever the language model
    PUBLISHED = "published rows"  # the paper's own numbers, computed again
    CONTROL = "random weights (control)"  # nothing learned: what holds here is no finding about a language model
    EMBEDDED = "embedded subject"  # a small model that this project trained
    REAL = "real language model"  # trained by others, for use
    PAPERS = "the paper's own model"


def grade(claim: Claim, result: dict[str, Any]) -> Grade:
    """The grade of the evidence that `result` is for `claim`.

    A chapter says so itself (`rests_on` of its sidecar) where no subject decides; else it is the subject that the run read.
    """
    said = sidecar.load(claim.notebook).rests_on
    if said:
        return Grade(said)
    subject = result["parameters"].get("subject", "")
    if is_control(subject):
        return Grade.CONTROL
    if result["tier"] == TIERS[-1]:
        return Grade.PAPERS
    return Grade.EMBEDDED if (paths.data() / "subjects" / subject / "config.json").is_file() else Grade.REAL
