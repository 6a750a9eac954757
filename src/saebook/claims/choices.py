"""The register of what the papers leave open: one row per question, with the measured effect of choosing otherwise."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from saebook.claims import results
from saebook.common import paths
from saebook.common.errors import UserError
from saebook.common.limits import problem
from saebook.common.names import PAPERS
from saebook.common.sidecar import read_yaml

_FILE = "data/choices.yml"


class Effect(BaseModel):
    """The source of a measured effect: the recorded `result` (TIER/PAPER/NAME), the `path` of keys in it, and the words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    result: str = Field(pattern=r"^\w+/\w+/[\w@]+$")
    path: tuple[str, ...]
    says: str = Field(pattern=r"\{value")


class Choice(BaseModel):
    """One row of `data/choices.yml`. Without `here`, no chapter depends on the question yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str
    paper: str
    says: str
    here: str = ""
    why: str = ""
    effect: tuple[Effect, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "Choice":
        if bool(self.here) != bool(self.why):
            raise ValueError("a choice needs its reason, and a reason its choice")
        if unknown := set(self.papers) - set(PAPERS):
            raise ValueError(f"paper {', '.join(sorted(unknown))} is not known: use {', '.join(PAPERS)}")
        return self

    @property
    def papers(self) -> list[str]:
        return [name.strip() for name in self.paper.split(",")]


def load() -> list[Choice]:
    """Every row. Raises `UserError` in one line when the file or a row cannot be understood."""
    rows = read_yaml(paths.data() / "choices.yml")
    if not isinstance(rows, list):
        raise UserError(f"{_FILE} must be a list of questions: mend or restore it")
    return [_choice(row) for row in rows]


def _choice(row: Any) -> Choice:
    if not isinstance(row, dict):
        raise UserError(f"{_FILE}: a question must map names to values, not {str(row)[:60]!r}")
    try:
        return Choice.model_validate(row)
    except ValidationError as error:
        raise UserError(f"{_FILE}: {row.get('question', 'a row')}: {problem(error)}") from None


def measured(choice: Choice) -> str:
    """The effect of choosing otherwise, from recorded results, or a note that nothing was recorded."""
    words = []
    for effect in choice.effect:
        tier, name = effect.result.split("/", 1)
        if result := results.read(name, tier):
            words.append(_effect(choice, effect, result))
    return "; ".join(words) or "not measured"


def _effect(choice: Choice, effect: Effect, result: dict[str, Any]) -> str:
    value: Any = result["findings"] | result.get("live", {})
    for key in effect.path:
        if not isinstance(value, dict) or key not in value:
            raise UserError(f"{_FILE}: {choice.question}: {effect.result} does not hold {'.'.join(effect.path)}")
        value = value[key]
    try:
        return effect.says.format(value=value)
    except (ValueError, TypeError, LookupError, AttributeError):
        raise UserError(f"{_FILE}: {choice.question}: '{effect.says}' cannot show {value!r}") from None


def table() -> str:
    """The register as a page shows it: what was chosen, then what is still open."""
    rows = load()
    lines = ["| question | the paper says | here | why | measured effect |", "|---|---|---|---|---|"]
    lines += [
        f"| {c.question} | {c.says} | {c.here} | {c.why} | {measured(c)} |".replace("\n", " ") for c in rows if c.here
    ]
    lines += ["", "Open, because no chapter depends on it yet:", "", "| question | paper | it says |", "|---|---|---|"]
    lines += [f"| {c.question} | {', '.join(PAPERS[p] for p in c.papers)} | {c.says} |" for c in rows if not c.here]
    return "\n".join(lines) + "\n"
