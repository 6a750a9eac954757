"""The kinds of rerun: a chapter run again with one thing changed, by which its verdicts are put to the test.

*Twice the tokens* asks whether a verdict is converged, *random weights* whether it has to do with what the model learned.
Everything else is as in the tier's own budget. The live result of a rerun is that of any run with parameters of its own,
NAME@HASH below `_build/results`; the recorded one is ``NAME.twice.json`` or ``NAME.random.json`` beside the result that
it is compared with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saebook.claims import provenance, results
from saebook.common import sidecar
from saebook.common.limits import Budget
from saebook.subject.random_weights import SUFFIX, is_control

FRESH, STALE, MISSING = "fresh", "stale", "never run"
_LENGTHS = ("tokens", "steps")  # the parameter that says how long a chapter trains
_MARK = "rerun"  # in a result that was read as that of a rerun: the rerun's name


@dataclass(frozen=True)
class Rerun:
    """One way to run a chapter again.

    `words` say what it is run on. `change` gives the parameters that differ from those of chapter `name`, empty where
    the rerun does not apply, and `lacks` what such a chapter lacks. On a `control` a page may be unable to compute its
    quantities, which says something about the claim and nothing about the code.
    """

    name: str
    words: str
    change: Callable[[str, dict[str, Any]], dict[str, Any]]
    lacks: str
    control: bool = False

    def budget(self, name: str, own: Budget) -> Budget | None:
        """The budget of the rerun of chapter `name` with the `own` budget of a tier, None where it does not apply.

        Raises `UserError` in one line when the changed value is more than a budget may have.
        """
        plain = own.plain()
        asked = self.change(name, plain)
        return type(own).checked(name, plain | asked) if asked else None

    def file(self, name: str, tier: str) -> Path:
        """The recorded result."""
        return results.file(f"{name}.{self.name}", tier)

    def live_file(self, name: str, own: Budget) -> Path | None:
        """Where this copy keeps its own result, for a tier's `own` budget; None where the rerun does not apply."""
        changed = self.budget(name, own)
        if changed is None:
            return None
        return results.file(results.apart(name, provenance.parts(name, changed)), changed.tier, "live")

    def recorded(self, name: str, tier: str) -> dict[str, Any] | None:
        """The recorded result, None when there is none. Raises `UserError` when it is damaged."""
        return self._read(self.file(name, tier), name, tier)

    def live(self, name: str, own: Budget) -> dict[str, Any] | None:
        """This copy's own result, None when there is none. Raises `UserError` when it is damaged."""
        place = self.live_file(name, own)
        return self._read(place, name, own.tier) if place else None

    def compared_with(self, result: dict[str, Any]) -> dict[str, Any] | None:
        """The recorded run that differs from `result` in what the rerun changes alone, None when there is none."""
        other = self.recorded(result["notebook"], result["tier"])
        return other if other and self.belongs(other, result) else None

    def belongs(self, other: dict[str, Any], result: dict[str, Any]) -> bool:
        """Whether the result `other` differs from `result` in what the rerun changes alone."""
        asked = self.change(result["notebook"], result["parameters"])
        return bool(asked) and other["parameters"] == result["parameters"] | asked

    def state(self, name: str, own: Budget) -> tuple[str, list[str]]:
        """How the rerun stands, by this copy's own result or else the recorded one, and what has changed since."""
        result = self._newest(name, own)
        if result is None:
            return MISSING, []
        moved = stale(result, own)
        return (STALE if moved else FRESH), moved

    def undefined(self, name: str, own: Budget) -> str:
        """Why the page could not compute its quantities when it last ran; empty where it could, or never ran."""
        return (self._newest(name, own) or {}).get("undefined", "")

    def _newest(self, name: str, own: Budget) -> dict[str, Any] | None:
        return self.live(name, own) or self.recorded(name, own.tier)

    def _read(self, place: Path, name: str, tier: str) -> dict[str, Any] | None:
        if not place.is_file():
            return None
        return results.checked(place) | {"notebook": name, "tier": tier, _MARK: self.name}


def stale(result: dict[str, Any], own: Budget) -> list[str]:
    """As `results.stale`, for the result of a rerun or of the tier's own run; `own` is the tier's own budget."""
    rerun = next((one for one in RERUNS if one.name == result.get(_MARK)), None)
    changed = rerun.budget(result["notebook"], own) if rerun else None
    return results.stale(result, changed or own)


def unmarked(result: dict[str, Any]) -> dict[str, Any]:
    """A result as it is written, without the mark of having been read as a rerun's."""
    return {key: value for key, value in result.items() if key != _MARK}


def _longer(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Twice the tokens, or steps, whichever says how long the chapter trains. Nothing where nothing is trained."""
    return next(({length: 2 * parameters[length]} for length in _LENGTHS if parameters.get(length)), {})


def _untrained(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The subject's control. Nothing where no subject decides, or where it is a control already."""
    subject = parameters.get("subject")
    if not subject or is_control(subject) or sidecar.load(name).rests_on:
        return {}
    return {"subject": subject + SUFFIX}


TWICE = Rerun("twice", "twice the tokens", _longer, lacks="trains nothing")
RANDOM = Rerun("random", "random weights", _untrained, lacks="rests on no trained language model", control=True)
RERUNS = (TWICE, RANDOM)
