"""Verdicts are sorted by what they rest on, and the sentences on a paper count them."""

from types import SimpleNamespace

import pytest

from saebook.claims import bets
from saebook.claims.grades import Grade
from saebook.claims.standings import Converged


def row(verdict="replicates", grade=Grade.EMBEDDED, converged=Converged.NOT_MEASURED):
    return SimpleNamespace(verdict=verdict, grade=grade, converged=converged)


@pytest.mark.parametrize(
    ("one", "title"),
    [
        (row(grade=Grade.REAL, converged=Converged.YES), "On a real language model, and converged"),
        (row(grade=Grade.REAL, converged=Converged.NO), "On a real language model, not shown to be converged"),
        (row(grade=Grade.PAPERS), "On a real language model, not shown to be converged"),
        (row(grade=Grade.IDENTITY), "For any model, or by the paper's own numbers"),
        (row(converged=Converged.YES), "Only small: on our own subject"),
        (row("does not replicate", Grade.REAL), "What did not hold"),
    ],
)
def test_verdict_stands_in_the_first_group_that_fits(one, title):
    assert [group["title"] for group in bets.groups([one]) if group["rows"]] == [title]


def test_controls_and_what_nothing_judges_are_no_bets():
    rest = [row(grade=Grade.CONTROL), row("does not replicate", Grade.CONTROL), row("not run yet", None), row("partly")]
    assert not any(group["rows"] for group in bets.groups(rest))


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
    assert bets.sentences(rows[-1:]) == ["Of 1 claims none is judged yet: what has run is too small to judge them."]
    assert " none was judged again on twice the tokens." in bets.sentences([row()])[2]
