"""What this book would bet on: verdicts sorted by what they rest on, and each paper in three sentences."""

from collections.abc import Sequence
from typing import Any

from saebook.claims.grades import Grade
from saebook.claims.ledger import Verdict
from saebook.claims.standings import Converged, Standing

_ANY_MODEL = (Grade.IDENTITY, Grade.PUBLISHED)
_LARGE = (Grade.REAL, Grade.PAPERS)
_VERBS = {
    Verdict.REPLICATES.value: ("holds", "hold"), Verdict.PARTLY.value: ("holds in part", "hold in part"),
    Verdict.DOES_NOT.value: ("does not", "do not"), Verdict.UNDERPOWERED.value: ("is undecided", "are undecided"),
}  # fmt: skip

# Title and explanation of each group of the page, and which verdicts belong to it; the first that fits takes a verdict.
GROUPS = (
    (
        "On a real language model, and converged",
        "The verdict comes from a model that others trained for use, and twice the tokens give the same one.",
        lambda row: _holds(row) and row.grade in _LARGE and row.converged is Converged.YES,
    ),
    (
        "On a real language model, not shown to be converged",
        "The same, but a longer run disagrees or has not been made.",
        lambda row: _holds(row) and row.grade in _LARGE,
    ),
    (
        "For any model, or by the paper's own numbers",
        "Identities, toys with a known answer, and published rows computed again. No training run of ours decides them.",
        lambda row: _holds(row) and row.grade in _ANY_MODEL,
    ),
    (
        "Only small: on our own subject",
        "The verdict comes from a model of a few million parameters and short runs. It may change with either.",
        lambda row: _holds(row) and row.grade is Grade.EMBEDDED,
    ),
    (
        "What did not hold",
        "The interval lies on the wrong side of what decides, on what is named behind each claim.",
        lambda row: row.verdict == Verdict.DOES_NOT.value and row.grade is not Grade.CONTROL,
    ),
)  # fmt: skip


def groups(rows: Sequence[Standing]) -> list[dict[str, Any]]:
    """The groups of the page with their rows, as the template takes them; a group without a row is there, and says so."""
    left, made = [row for row in rows if row.grade], []
    for title, text, belongs in GROUPS:
        mine = [row for row in left if belongs(row)]
        left = [row for row in left if row not in mine]
        made.append({"title": title, "text": text, "rows": mine})
    return made


def sentences(rows: Sequence[Standing]) -> list[str]:
    """Three sentences on one paper's rows: what holds, on what that was seen, and whether longer runs agree. One where none is judged."""
    judged = [row for row in rows if row.grade]
    if not judged:
        return [f"Of {len(rows)} claims none is judged yet: what has run is too small to judge them."]
    counts = [(word, sum(row.verdict == word for row in judged)) for word in _VERBS]
    told = [f"{count} {_VERBS[word][count != 1]}" for word, count in counts if count]
    on = [f"{_on(grade)} ({count})" for grade in Grade if (count := sum(row.grade == grade for row in judged))]
    trained = [row for row in judged if row.converged not in (None, Converged.NOT_APPLICABLE)]
    measured = [row for row in trained if row.converged is not Converged.NOT_MEASURED]
    same = sum(row.converged is Converged.YES for row in measured)
    return [
        f"Of {len(rows)} claims, {len(judged)} are judged: {_listed(told)}.",
        f"They rest on {_listed(on)}.",
        f"Of the {len(trained)} that depend on how long SAEs are trained, {len(measured) or 'none'} {_was(measured)} judged "
        "again on twice the tokens"
        + (f", and {same} kept {'its verdict' if same == 1 else 'their verdicts'}." if measured else "."),
    ]


def _holds(row: Standing) -> bool:
    return row.verdict == Verdict.REPLICATES.value


def _was(rows: Sequence[Standing]) -> str:
    return "were" if len(rows) > 1 else "was"


def _on(grade: Grade) -> str:
    return {
        Grade.IDENTITY: "an identity or a toy", Grade.PUBLISHED: "published rows", Grade.CONTROL: "random weights",
        Grade.EMBEDDED: "our own small language model", Grade.REAL: "a real language model",
        Grade.PAPERS: "the paper's own model",
    }[grade]  # fmt: skip


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
