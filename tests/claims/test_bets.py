"""Verdicts are sorted by what they rest on, and the sentences on a paper count them."""

import itertools
from types import SimpleNamespace

import pytest

from saebook.claims import bets
from saebook.claims.grades import Grade
from saebook.claims.ledger import Verdict
from saebook.claims.reruns.controls import Control, Word
from saebook.claims.standings import Converged

JUDGED = [verdict.value for verdict in Verdict if verdict is not Verdict.NOT_COMPARABLE]


def row(verdict="replicates", grade=Grade.EMBEDDED, converged=Converged.NOT_MEASURED, control=None):
    return SimpleNamespace(verdict=verdict, grade=grade, converged=converged, control=control)


@pytest.mark.parametrize(
    ("one", "title"),
    [
        (row(grade=Grade.REAL, converged=Converged.YES), "On a real language model, and converged"),
        (row(grade=Grade.REAL, converged=Converged.NO), "On a real language model, not shown to be converged"),
        (row(grade=Grade.PAPERS), "On a real language model, not shown to be converged"),
        (row(grade=Grade.IDENTITY), "Identities, toys and published rows"),
        (row(converged=Converged.YES), "Only on our own small model"),
        (row("underpowered", Grade.REAL), "Undecided, or in part"),
        (row("partly", Grade.PUBLISHED), "Undecided, or in part"),
        (row("does not replicate", Grade.REAL), "What did not hold"),
        (row("does not replicate", Grade.CONTROL), "On random weights alone"),
    ],
)
def test_verdict_stands_in_the_group_that_it_belongs_to(one, title):
    assert [group.title for group, rows in bets.groups([one]) if rows] == [title]


def test_every_verdict_that_stands_is_on_the_page_exactly_once():
    every = [row(*of) for of in itertools.product(JUDGED, Grade, Converged)]
    without = [row("not run yet", None, None), row("not comparable here", None, None)]
    shown = [id(one) for _, rows in bets.groups([*every, *without]) for one in rows]
    assert sorted(shown) == sorted(map(id, every))


def test_group_without_a_row_is_there_unless_it_is_about_controls():
    titles = [group.title for group, _ in bets.groups([])]
    assert titles == [group.title for group in bets.GROUPS if group.title != "On random weights alone"]


def test_reruns_are_counted_where_they_could_be_made():
    rows = [
        row(converged=Converged.YES, control=Control("replicates")),
        row(converged=Converged.NO, control=Control(Word.UNDEFINED)),
        row(control=Control(Word.NOT_MEASURED)),
        row(grade=Grade.PUBLISHED, converged=Converged.NOT_APPLICABLE, control=Control(Word.NOT_APPLICABLE)),
        row("not run yet", None, None),
    ]
    assert bets.reruns(rows) == (
        "Of the 3 verdicts that depend on how long SAEs are trained, 2 were judged again on twice the tokens; "
        "of the 3 about what a language model learned, 2 were judged again on random weights."
    )
    assert bets.reruns(rows[2:]).count("none was judged again") == 2


def test_three_sentences_count_what_holds_on_what_and_for_how_long():
    rows = [
        row(converged=Converged.YES), row(converged=Converged.NO), row("partly", converged=Converged.NOT_MEASURED),
        row("does not replicate", Grade.REAL), row(grade=Grade.IDENTITY, converged=Converged.NOT_APPLICABLE),
        row("not run yet", None, None),
    ]  # fmt: skip
    what, on, length = bets.sentences(rows)
    assert what == "Of 6 claims, 5 are judged: 3 hold, 1 holds in part and 1 does not."
    assert (
        on == "They rest on an identity or a toy (1), our own small language model (3) and a real language model (1)."
    )
    assert length.startswith("Of the 4 that depend on how long SAEs are trained, 2 were judged again")
    assert length.endswith("and 1 kept its verdict.")
    assert bets.sentences(rows[-1:])[0] == "None of the 1 claims is judged yet."
    assert " none was judged again on twice the tokens." in bets.sentences([row()])[2]
