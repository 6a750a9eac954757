"""What this book would bet on: verdicts sorted by what they rest on, and each paper in three sentences."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from saebook.claims.grades import Grade
from saebook.claims.ledger import Verdict
from saebook.claims.reruns.controls import Word
from saebook.claims.standings import Converged, Standing

_NO_MODEL = (Grade.IDENTITY, Grade.PUBLISHED)
_LARGE = (Grade.REAL, Grade.PAPERS)
_OPEN = (Verdict.UNDERPOWERED.value, Verdict.PARTLY.value)
_VERBS = {
    Verdict.REPLICATES.value: ("holds", "hold"), Verdict.PARTLY.value: ("holds in part", "hold in part"),
    Verdict.DOES_NOT.value: ("does not", "do not"), Verdict.UNDERPOWERED.value: ("is undecided", "are undecided"),
}  # fmt: skip


@dataclass(frozen=True)
class Group:
    """A section of the page: its explanation, which verdicts belong to it, and whether it stands there without any."""

    title: str
    text: str
    belongs: Callable[[Standing], bool]
    always: bool = True


# The first that fits takes a verdict. Together they take every verdict.
GROUPS = (
    Group(
        "On a real language model, and converged",
        "The verdict comes from a language model that others trained, and SAEs trained on twice the tokens give the same "
        "verdict.",
        lambda row: _holds(row) and row.grade in _LARGE and row.converged is Converged.YES,
    ),
    Group(
        "On a real language model, not shown to be converged",
        "The verdict comes from a language model that others trained. SAEs trained on twice the tokens give another verdict, "
        "or have not been trained yet.",
        lambda row: _holds(row) and row.grade in _LARGE,
    ),
    Group(
        "Identities, toys and published rows",
        "Proved, or exact; toys with a known answer; published rows computed again. None depends on a language model that we "
        "trained. A toy speaks for that toy alone.",
        lambda row: _holds(row) and row.grade in _NO_MODEL,
    ),
    Group(
        "Only on our own small model",
        "The verdict comes from a small language model that we trained ourselves, and from short runs. To bet on one of these "
        "claims is to bet that this is enough to see it.",
        lambda row: _holds(row) and row.grade is Grade.EMBEDDED,
    ),
    Group(
        "Undecided, or in part",
        "Underpowered: the interval reaches into the range in which the claim holds, and out of it. Partly: the direction is "
        "right, the claimed size is excluded.",
        lambda row: row.verdict in _OPEN and row.grade is not Grade.CONTROL,
    ),
    Group(
        "What did not hold",
        "The interval lies wholly outside the range in which the claim holds, and does not show the claimed direction either.",
        lambda row: row.verdict == Verdict.DOES_NOT.value and row.grade is not Grade.CONTROL,
    ),
    Group(
        "On random weights alone",
        "Nothing has trained the model that these chapters look into. They say what SAEs do on any activations.",
        lambda row: row.grade is Grade.CONTROL,
        always=False,
    ),
)


def groups(rows: Sequence[Standing]) -> list[tuple[Group, list[Standing]]]:
    """The sections of the page with their rows, every verdict that stands in one of them."""
    left, made = [row for row in rows if row.grade], []
    for group in GROUPS:
        mine = [row for row in left if group.belongs(row)]
        left = [row for row in left if row not in mine]
        if mine or group.always:
            made.append((group, mine))
    return made


def reruns(rows: Sequence[Standing]) -> str:
    """How many verdicts were judged again on twice the tokens, and on random weights, as a sentence."""
    trained, longer = _trained(rows)
    learned = [row for row in rows if row.grade and row.control and row.control.verdict != Word.NOT_APPLICABLE]
    there = sum(row.control is not None and row.control.verdict != Word.NOT_MEASURED for row in learned)
    return (
        f"Of the {len(trained)} verdicts that depend on how long SAEs are trained, {len(longer) or 'none'} {_was(len(longer))} "
        f"judged again on twice the tokens; of the {len(learned)} about what a language model learned, {there or 'none'} "
        f"{_was(there)} judged again on random weights."
    )


def sentences(rows: Sequence[Standing]) -> list[str]:
    """Three sentences on one paper's rows: what holds, on what that was seen, and whether longer runs agree. Two where none is judged."""
    judged = [row for row in rows if row.grade]
    if not judged:
        return [
            f"None of the {len(rows)} claims is judged yet.",
            "A verdict needs a larger run than any that is recorded; numbers shown here come from smaller ones.",
        ]
    counts = [(word, sum(row.verdict == word for row in judged)) for word in _VERBS]
    told = [f"{count} {_VERBS[word][count != 1]}" for word, count in counts if count]
    on = [f"{_on(grade)} ({count})" for grade in Grade if (count := sum(row.grade == grade for row in judged))]
    trained, longer = _trained(judged)
    same = sum(row.converged is Converged.YES for row in longer)
    return [
        f"Of {len(rows)} claims, {len(judged)} are judged: {_listed(told)}.",
        f"They rest on {_listed(on)}.",
        f"Of the {len(trained)} that depend on how long SAEs are trained, {len(longer) or 'none'} {_was(len(longer))} judged "
        "again on twice the tokens"
        + (f", and {same} kept {'its verdict' if same == 1 else 'their verdicts'}." if longer else "."),
    ]


def _trained(rows: Sequence[Standing]) -> tuple[list[Standing], list[Standing]]:
    """The rows whose verdicts depend on how long SAEs are trained, and those of them judged again on twice the tokens."""
    trained = [row for row in rows if row.converged not in (None, Converged.NOT_APPLICABLE)]
    return trained, [row for row in trained if row.converged is not Converged.NOT_MEASURED]


def _holds(row: Standing) -> bool:
    return row.verdict == Verdict.REPLICATES.value


def _was(count: int) -> str:
    return "were" if count > 1 else "was"


def _on(grade: Grade) -> str:
    return {
        Grade.IDENTITY: "an identity or a toy", Grade.PUBLISHED: "published rows", Grade.CONTROL: "random weights",
        Grade.EMBEDDED: "our own small language model", Grade.REAL: "a real language model",
        Grade.PAPERS: "the paper's own model",
    }[grade]  # fmt: skip


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
