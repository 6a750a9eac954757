"""The register of what the papers leave open: one row per question, with the measured effect of choosing otherwise."""

import json
from dataclasses import dataclass, fields

import yaml

from saebook.common import paths
from saebook.common.errors import UserError

_PAPERS = {"gated": "Gated", "topk": "Top-k", "e2e": "e2e"}


@dataclass(frozen=True)
class Choice:
    """One row of ``data/choices.yml``. Without `here` nothing in the book depends on the question yet."""

    question: str
    paper: str
    says: str
    here: str = ""
    why: str = ""
    effect: tuple[dict, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.here) != bool(self.why):
            raise UserError(f"data/choices.yml: {self.question}: a choice needs its reason, and a reason its choice")
        if unknown := set(self.papers) - set(_PAPERS):
            raise UserError(f"data/choices.yml: {self.question}: no paper {', '.join(sorted(unknown))}")

    @property
    def papers(self) -> list[str]:
        return [name.strip() for name in self.paper.split(",")]


def load() -> list[Choice]:
    """Every row. Raises `UserError` for one with unknown keys."""
    known = {f.name for f in fields(Choice)}
    rows = yaml.safe_load((paths.data() / "choices.yml").read_text("utf-8"))
    for row in rows:
        if unknown := set(row) - known:
            raise UserError(f"data/choices.yml: {row.get('question')} has unknown keys {', '.join(sorted(unknown))}")
    return [Choice(**row | {"effect": tuple(row.get("effect", ()))}) for row in rows]


def measured(choice: Choice) -> str:
    """The effect of choosing otherwise, from recorded results; says so where nothing was recorded."""
    words = []
    for effect in choice.effect:
        file = paths.data() / "results" / f"{effect['result']}.json"
        if not file.is_file():
            continue
        found = json.loads(file.read_text("utf-8"))
        value = found["findings"] | found.get("live", {})
        for key in effect["path"]:
            if key not in value:
                raise UserError(f"data/choices.yml: {choice.question}: {file.name} holds no {'.'.join(effect['path'])}")
            value = value[key]
        words.append(effect["says"].format(value=value))
    return "; ".join(words) or "not measured"


def table() -> str:
    """The register as a page shows it: what was chosen, then what is still open."""
    rows = load()
    lines = ["| question | the paper says | here | why | measured effect |", "|---|---|---|---|---|"]
    lines += [
        f"| {c.question} | {c.says} | {c.here} | {c.why} | {measured(c)} |".replace("\n", " ") for c in rows if c.here
    ]
    lines += ["", "Open, because no chapter depends on it yet:", "", "| question | paper | it says |", "|---|---|---|"]
    lines += [f"| {c.question} | {', '.join(_PAPERS[p] for p in c.papers)} | {c.says} |" for c in rows if not c.here]
    return "\n".join(lines) + "\n"
