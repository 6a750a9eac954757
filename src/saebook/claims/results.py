"""The results of a chapter: JSON, the plotted points as CSV and the figure as PNG, written together or not at all.

A run writes its *live* result below `_build/results/TIER`, which git ignores. *Recorded* results lie below
`data/results/TIER`, are committed, and change only by `saebook record` (`claims.recording`). A result names everything it
depends on: parameters, seeds, corpus and subject, versions, device, time, and the hashes of its provenance. A run whose
parameters are not the tier's own is kept as NAME@HASH and enters no verdict.
"""

import contextlib
import datetime
import functools
import importlib.metadata as metadata
import io
import json
import math
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, StrictStr, StringConstraints, ValidationError

from saebook.claims import provenance
from saebook.common import files, hardware, paths
from saebook.common.errors import UserError
from saebook.common.limits import Budget, SubjectBudget
from saebook.evaluation.intervals import Interval
from saebook.subject.random_weights import trained
from saebook.text.sources import corpus, corpus_hash, differences, manifest_hash

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from saebook.subject.model import Subject

_PACKAGES = ("torch", "transformer_lens", "transformers", "numpy", "tokenizers")
Live = dict[str, Interval | Sequence[Interval]]
Where = Literal["recorded", "live"]

_Line = Annotated[StrictStr, StringConstraints(pattern=r"^[^\n\r]{0,300}$")]


class _Kept(BaseModel):
    """An interval in JSON, which knows neither infinity nor NaN."""

    model_config = ConfigDict(extra="forbid")

    mean: float | None
    low: float | None
    high: float | None
    n: int
    values: list[float | None] = []

    def interval(self) -> Interval:
        mean, low, high = (math.nan if self.mean is None else self.mean, self.low, self.high)
        values = tuple(math.nan if value is None else value for value in self.values)
        return Interval(mean, -math.inf if low is None else low, math.inf if high is None else high, self.n, values)


class _Checked(BaseModel):
    """The types of what is read back from a result, which a page will show."""

    model_config = ConfigDict(extra="allow")

    parameters: dict[str, Any]
    findings: dict[str, Any]
    date: Annotated[StrictStr, StringConstraints(pattern=r"^\d{4}-\d\d-\d\d$")]
    live: dict[str, _Kept | list[_Kept]] = {}
    timings: dict[str, list[float]] = {}
    hashes: dict[str, _Line] = {}
    device: _Line = ""
    precision: _Line = ""
    commit: _Line = ""
    python: _Line = ""
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    trained_runs: int = 0
    versions: dict[str, _Line] = {}
    subject: dict[str, _Line] | None = None
    corpus: dict[str, Any] | None = None
    undefined: _Line = ""  # why a control's page could compute nothing
    zero_ablation_cost: float | None = None  # of a control (`claims.reruns.controls`)


_SHOWN = (
    "device",
    "precision",
    "commit",
    "python",
    "seconds",
    "peak_memory_mb",
    "trained_runs",
    "versions",
    "subject",
    "corpus",
)


def folder(tier: str, where: Where = "recorded") -> Path:
    """The folder of a tier's results: the recorded ones, or this copy's own."""
    return (paths.data() if where == "recorded" else paths.build()) / "results" / tier


def file(name: str, tier: str, where: Where = "recorded") -> Path:
    """The JSON file of a result; the CSV and the PNG lie beside it."""
    return folder(tier, where) / f"{name}.json"


def apart(name: str, hashes: dict[str, str]) -> str:
    """The name under which the result of a run is kept whose parameters are not the tier's own."""
    return f"{name}@{hashes['parameters'][:8]}"


def write(
    name: str, budget: Budget, subject: "Subject | None", points: "pd.DataFrame", live: Live, findings: dict | None = None,
    figure: "Figure | None" = None, *, own: bool, trained: int, seconds: float,
) -> dict[str, Any]:  # fmt: skip
    """Write the live result of chapter `name` and return it.

    `points` are the plotted rows, `live` the intervals that the claims are judged by (a list of them for an ordering),
    `findings` whatever else: plain numbers, lists, strings or dataclasses. `subject` is None where no language model is
    involved. `own` says whether the parameters are the tier's own, `trained` how many SAEs this run trained, in `seconds`.
    """
    about = _about(budget, subject)
    hashes = provenance.parts(name, budget, about["corpus"] and about["corpus"]["hash"])
    result = {
        "notebook": name,
        "tier": budget.tier,
        "parameters": budget.plain(),
        "live": _plain(live),
        "findings": _plain(findings or {}),
        **about,
        "hashes": hashes,
    }
    result |= _cost(result, name, trained, seconds)
    target = file(name if own else apart(name, hashes), budget.tier, "live")
    _put(target, result, points, figure)
    return result


def tuning(
    tier: str, name: str, budget: Budget, subject: "Subject", points: "pd.DataFrame", findings: dict
) -> dict[str, Any]:
    """Record the grid that `name`'s budget was chosen from, beside its recorded result; tuning is asked for explicitly."""
    paper, stem = name.split("/")
    return beside(f"{paper}/tuning_{stem}", tier, budget, subject, points, findings)


def beside(
    name: str, tier: str, budget: Budget, subject: "Subject", points: "pd.DataFrame", findings: dict
) -> dict[str, Any]:
    """Record a result that no chapter makes and that a command was asked for, beside those of the chapters."""
    result = {"parameters": budget.plain(), "findings": _plain(findings), **_about(budget, subject)}
    _put(file(name, tier), result, points, None)
    return result


def _put(target: Path, result: dict[str, Any], points: "pd.DataFrame", figure: "Figure | None") -> None:
    content = {target.with_suffix(".csv"): points.to_csv(index=False, float_format="%.6g").encode()}
    if figure is not None:
        # No date or version inside, so that the same picture is the same file.
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=110, metadata={"Software": None})
        content[target.with_suffix(".png")] = drawn.getvalue()
    content[target] = as_json(result)
    together(content)


def as_json(result: dict[str, Any]) -> bytes:
    return (json.dumps(result, indent=1, allow_nan=False) + "\n").encode()


def together(content: dict[Path, bytes]) -> None:
    """Write several files, all of them or none: each is written beside its place, and then they are renamed, in order."""
    with contextlib.ExitStack() as stack:
        for target, data in reversed(content.items()):  # what is entered first is renamed last
            stack.enter_context(files.write_whole(target)).write_bytes(data)


def _about(budget: Budget, subject: "Subject | None") -> dict[str, Any]:
    """The provenance of a run's numbers: subject, corpus, commit, device, versions, date."""
    from saebook.sae.kernels import precision  # with PyTorch, which reading a result does without

    source = budget.source if isinstance(budget, SubjectBudget) else "environment"
    read = {"source": source, "hash": corpus_hash(source)} if subject else None
    return {
        "subject": {"name": subject.name, "weights_hash": subject.weights_hash} if subject else None,
        "corpus": {**read, "differs": corpus_differences(subject.name, source)} if subject and read else None,
        "commit": _commit(),
        "device": hardware.device(subject.device.type if subject else "cpu"),
        "precision": precision.current(subject.device.type) if subject else "",
        "python": platform.python_version(),
        "versions": {package: metadata.version(package) for package in _PACKAGES},
        "date": datetime.date.today().isoformat(),
    }


def _cost(result: dict[str, Any], name: str, trained: int, seconds: float) -> dict[str, Any]:
    """The cost of the result. A page made from stored runs keeps the cost of the run that trained them."""
    if not trained:
        for where in ("live", "recorded"):
            before = _readable(name, result["tier"], where)
            if before and all(before.get(key) == result[key] for key in ("parameters", "subject", "corpus")):
                return {key: before[key] for key in ("seconds", "peak_memory_mb", "trained_runs")}
    return {
        "seconds": round(seconds, 1),
        "peak_memory_mb": round(hardware.peak_memory() / 2**20),
        "trained_runs": trained,
    }


def _readable(name: str, tier: str, where: Where) -> dict[str, Any] | None:
    try:
        return read(name, tier, where)
    except UserError:
        return None


def read(name: str, tier: str, where: Where = "recorded") -> dict[str, Any] | None:
    """The result of chapter `name` at a tier, recorded or this copy's own; None when there is none.

    Raises `UserError` for a file that is damaged or holds values of a wrong type.
    """
    place = file(name, tier, where)
    if not place.is_file():
        return None
    return checked(place) | {"notebook": name, "tier": tier}


def checked(place: Path) -> dict[str, Any]:
    """The content of a result's JSON file, its types checked. Raises `UserError` in one line when it is damaged."""
    try:
        content = json.loads(place.read_text("utf-8"))
        known = _Checked.model_validate(content)
    except (OSError, ValueError, RecursionError) as error:  # a ValidationError is a ValueError
        what = ""
        if isinstance(error, ValidationError):
            what = " (" + ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"]) + ")"
        remedy = "restore it from git, or " if paths.data() in place.parents else ""
        raise UserError(f"result {place} is damaged{what}: {remedy}delete it and run its notebook again") from None
    return {name: getattr(known, name) for name in _SHOWN} | content


def live(result: dict[str, Any], key: str) -> Interval | list[Interval]:
    """A live quantity of a result. Raises `KeyError` with the key when the result does not hold it."""
    kept = result["live"][key]
    return [_Kept(**one).interval() for one in kept] if isinstance(kept, list) else _Kept(**kept).interval()


def stale(result: dict[str, Any], budget: Budget) -> list[str]:
    """The dependencies of a result that have changed since it was made; empty when it is fresh.

    `budget` is the tier's own.
    """
    return provenance.changed(result.get("hashes"), provenance.parts(result["notebook"], budget))


def published(name: str) -> "pd.DataFrame":
    """A table that a paper published, from ``data/papers/NAME.csv``; lines that begin with # say where it comes from."""
    import pandas as pd

    return pd.read_csv(paths.data() / "papers" / f"{name}.csv", comment="#")


def provenance_line(result: dict[str, Any]) -> str:
    """One line: tier, device, time, memory, subject, corpus, versions, date."""
    about = [
        f"Tier {result['tier']} on {result['device']}: {result['seconds']:.0f} s, {result['peak_memory_mb']} MB, "
        f"{result['trained_runs']} SAEs trained, {result['date']}."
    ]
    if result["precision"]:
        about.append(f"Products of training in {result['precision']}.")
    if result["subject"]:
        about.append(
            f"Subject {result['subject']['name']} ({result['subject']['weights_hash']}), corpus {result['corpus']['hash']}."
        )
        about += [f"This environment's corpus differs: {line}." for line in result["corpus"]["differs"]]
    versions = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
    library = result.get("hashes", {}).get("library", "unknown")
    about.append(f"Library {library}, commit {result['commit']}. Python {result['python']}, {versions}.")
    return " ".join(about)


def corpus_differences(subject: str, source: str) -> list[str]:
    """The difference between this environment's corpus and the subject's training corpus; empty when they are equal."""
    manifest = paths.data() / "subjects" / trained(subject) / "manifest.tsv"
    if source != "environment" or not manifest.is_file():
        return []
    expected = dict(line.split("\t") for line in manifest.read_text("utf-8").splitlines())
    if manifest_hash(expected) == corpus_hash(source):
        return []
    return differences(expected, corpus(source).manifest)


def _plain(value: Any) -> Any:
    """JSON without NaN: a number that does not exist is null, so that a browser can read the file."""
    if is_dataclass(type(value)):
        value = asdict(value)
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, bool | str | int) or value is None:
        return value
    number = float(value)
    return number if math.isfinite(number) else None


@functools.cache
def _commit() -> str:
    """The commit that is checked out, marked where anything but recorded results differs from it."""

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *words], cwd=paths.root(), capture_output=True, text=True, check=False)

    name = git("rev-parse", "--short", "HEAD").stdout.strip()
    if not name:
        return "unknown"
    return name + ("-dirty" if git("diff", "--quiet", "HEAD", "--", ".", ":!data/results").returncode else "")
