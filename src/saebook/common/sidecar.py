"""The sidecar of a chapter: `notebooks/PAPER/NAME.yml`, everything that a figure needs to say besides its notebook.

Contents, plans, budgets and claims of the book are read from the sidecars, so that a figure is two files. What a field
may be is stated here; what a budget may hold is stated by its plan, and what a claim may say by the ledger.
"""

import difflib
import functools
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from saebook.common import paths
from saebook.common.errors import UserError
from saebook.common.limits import problem
from saebook.common.names import PAPERS, TIERS

_RANKS = ("fig", "sec", "tab", "app", "d2", "knob")  # the order of a paper's chapters, by how their names begin


class Budgets(BaseModel):
    """Values by tier. A tier's budget is that of the chapter `like`, then what is `common`, then the tier's own.

    A chapter has a budget at the tiers that it names (`{}` where nothing differs), or at all those of the one it is `like`.
    A tier that names a `like` of its own takes the budget of that chapter instead, at that tier alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    like: str | None = None
    common: dict[str, Any] = {}
    smoke: dict[str, Any] | None = None
    cpu: dict[str, Any] | None = None
    overnight: dict[str, Any] | None = None
    gpu: dict[str, Any] | None = None
    paper: dict[str, Any] | None = None


class Sidecar(BaseModel):
    """The metadata, budgets and claims of a chapter.

    `title` is shown in the sidebar and begins with the topic; `figure` is the paper's own number ("Figure 5"); `differs`
    says what differs from the paper (site, size, subject) and `caveat` the main doubt, both in one sentence; `plan` names
    what is trained (`saebook.papers.PAPER.plans`); `rests_on` what its verdicts rest on, where that is not a subject.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    plan: str
    figure: str = ""
    rests_on: Literal["", "identity or toy", "published rows"] = ""
    differs: str = ""
    caveat: str = ""
    order: int = 0
    budgets: Budgets = Budgets()
    claims: list[dict[str, Any]] = Field(default_factory=list)

    @property
    def paper(self) -> str:
        return self.name.split("/")[0]

    def like(self, tier: str) -> str | None:
        """The chapter whose budget, and so whose runs, this one shares at `tier`."""
        return (getattr(self.budgets, tier) or {}).get("like", self.budgets.like)

    def tiers(self) -> list[str]:
        """The tiers at which this chapter has a budget, from the smallest."""
        own = [tier for tier in TIERS if getattr(self.budgets, tier) is not None]
        return own or (load(self.budgets.like).tiers() if self.budgets.like else [])

    def values(self, tier: str) -> dict[str, Any]:
        """The budget's values at `tier`. Raises `UserError` when the chapter has none there."""
        if tier not in TIERS:
            raise UserError(f"tier '{tier}' is not known: use one of {', '.join(TIERS)}")
        if tier not in self.tiers():
            having = " or ".join(self.tiers()) or "no tier"
            raise UserError(f"{self.name} has no budget at tier {tier}: run it at {having}")
        like = self.like(tier)
        shared = load(like).values(tier) if like else {}
        values = shared | self.budgets.common | (getattr(self.budgets, tier) or {})
        return {name: value for name, value in values.items() if name != "like"}


def folder() -> Path:
    """The folder of all notebooks."""
    return paths.root() / "notebooks"


def names() -> list[str]:
    """Every chapter as `paper/name`, in the order of the book: by paper, then figures, sections, tables and knobs."""
    files = [file for paper in PAPERS for file in (folder() / paper).glob("*.ipynb")]
    with_sidecar = [f"{file.parent.name}/{file.stem}" for file in files if file.with_suffix(".yml").is_file()]
    return sorted(with_sidecar, key=_place)


def _place(name: str) -> tuple:
    paper, stem = name.split("/")
    rank = next((i for i, start in enumerate(_RANKS) if stem.startswith(start)), len(_RANKS))
    return list(PAPERS).index(paper), load(name).order, rank, stem


def names_at(tier: str) -> list[str]:
    """The chapters that have a budget at `tier`. Raises `UserError` for a tier that does not exist."""
    if tier not in TIERS:
        raise UserError(f"tier '{tier}' is not known: use one of {', '.join(TIERS)}")
    return [name for name in names() if tier in load(name).tiers()]


def resolved(name: str) -> str:
    """The chapter meant by `name`, which may be a notebook's path. Raises `UserError` with the nearest name."""
    plain = name.removesuffix(".ipynb").removesuffix(".yml").removeprefix("./").removeprefix("notebooks/")
    known = names()
    if plain in known:
        return plain
    near = difflib.get_close_matches(plain[:200].replace(".", "/", 1), known, 1, 0.4)
    raise UserError(
        f"no notebook '{plain[:80]}': " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}")
    )


def load(name: str) -> Sidecar:
    """The sidecar of chapter `name`. Raises `UserError` in one line for a file that is missing, damaged or wrong."""
    file = folder() / f"{name}.yml"
    try:
        return _read(file, file.stat().st_mtime_ns, name)
    except OSError:
        raise UserError(
            f"{name} has no sidecar notebooks/{name}.yml: restore it, or write one with `saebook new`"
        ) from None


@functools.lru_cache(maxsize=512)
def _read(file: Path, changed: int, name: str) -> Sidecar:
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise UserError(f"notebooks/{name}.yml must map names to values: see any other sidecar")
    try:
        return Sidecar.model_validate(content | {"name": name})
    except ValidationError as error:
        raise UserError(f"notebooks/{name}.yml: {problem(error)}") from None


def read_yaml(file: Path) -> Any:
    """The content of a YAML file of the book, not to be changed by the caller; parsed once as long as the file is the same.

    Raises `UserError` in one line when it cannot be read or parsed.
    """
    try:
        about = file.stat()
        return _parsed(file, about.st_mtime_ns, about.st_size)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file.name} cannot be read ({type(error).__name__}): restore {file}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise UserError(f"{file.name} is not valid YAML{line}: mend or restore {file}") from None


@functools.lru_cache(maxsize=512)
def _parsed(file: Path, changed: int, size: int) -> Any:
    return yaml.load(file.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
