"""Numbers in words: enough digits to tell the ends of an interval apart, and never NaN."""

import math

import pytest

from saebook.claims import wording
from saebook.claims.ledger import Claim
from saebook.evaluation.intervals import Interval


@pytest.mark.parametrize(
    ("mean", "low", "high", "words"),
    [
        (0.5584, 0.525, 0.5939, "0.56 (0.53 to 0.59)"),
        (0.9996, 0.9990, 1.0002, "0.9996 (0.9990 to 1.0002)"),
        (1.0, 0.9992, 1.0, "1.0000 (0.9992 to 1.0000)"),
        (0.0004, -0.01, 0.011, "0.000 (-0.010 to 0.011)"),
        (696.667, 600.0, 790.0, "697 (600 to 790)"),
        (2e-8, 1e-8, 3e-8, "2e-08 (1e-08 to 3e-08)"),
        (1.0, 1.0, 1.0, "1 (the same in all 5 values)"),
        (2.0, -math.inf, 3.0, "2.0 (no limit to 3.0)"),
        (math.nan, -math.inf, math.inf, "no value"),
    ],
)
def test_intervals_tell_their_ends_apart(mean, low, high, words):
    assert wording.interval(Interval(mean, low, high, 5)) == words


def test_one_value_has_no_interval_and_an_ordering_has_several():
    assert wording.sentence(Interval(0.5, -math.inf, math.inf, 1)) == "0.5 (one value)"
    two = [Interval(1.0, 0.5, 1.5, 3), Interval(2.0, 1.5, 2.5, 3)]
    assert wording.sentence(two) == "1.0, 95 % interval 0.5 to 1.5; 2.0, 95 % interval 1.5 to 2.5"


def claim(**fields):
    base = {"notebook": "gated/a", "id": "gated.a", "where": "w", "claim": "c", "kind": "direction", "source": "s"}
    return Claim(**base | {"quantity": "q", "live": "x"} | fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "value", "band": (0.35, 0.65)}, ("0.35 to 0.65", "must lie between 0.35 and 0.65")),
        ({"kind": "value", "band": (0.0, 0.0)}, ("exactly 0", "must be exactly 0")),
        ({"null_value": 1.0, "smallest_effect": 0.05}, ("below 0.95", "must lie below 0.95")),
        ({"null_value": 0.0, "smallest_effect": 0.1, "side": "above"}, ("above 0.1", "must lie above 0.1")),
        ({"kind": "ordering", "null_value": 0.0, "side": "above"}, ("each above 0", "each must lie above 0")),
        ({"live": "", "not_comparable": "closed"}, ("", "")),
    ],
)
def test_criterion_is_where_the_whole_interval_must_lie(fields, words):
    assert (wording.criterion(claim(**fields)), wording.needed(claim(**fields))) == words


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"null_value": 1.0, "smallest_effect": 0.05},
            "holds if the whole interval is below 0.95, partly if it is wholly between 0.95 and the null value 1",
        ),
        ({"null_value": 1.0}, "holds if the whole interval is below the null value 1"),
        (
            {"kind": "value", "band": (0.35, 0.65)},
            "holds if the whole interval is within 0.35 to 0.65, partly if it is wholly outside but below the null value 1",
        ),
        (
            {"kind": "value", "band": (0.0, 0.0)},
            "holds if the whole interval is exactly 0, partly if it is wholly outside but below the null value 1",
        ),
        (
            {"kind": "value", "band": (0.97, 1.03)},
            "holds if the whole interval is within 0.97 to 1.03, around the null value 1; never partly",
        ),
        (
            {"kind": "ordering", "null_value": 0.0, "smallest_effect": 0.1, "side": "above"},
            "holds if every interval is wholly above 0.1, partly if every one is above the null value 0 but one falls wholly "
            "short of 0.1",
        ),
        (
            {"kind": "ordering", "null_value": 0.0, "side": "above"},
            "holds if every interval is wholly above the null value 0",
        ),
        ({"live": "", "not_comparable": "closed"}, ""),
    ],
)
def test_rule_names_every_threshold(fields, words):
    assert wording.rule(claim(**fields)) == words


def test_rule_says_when_the_noise_of_the_papers_one_run_counts():
    one = claim(kind="value", band=(0.35, 0.65), one_run=True)
    assert wording.rule(one).endswith("; outside means that one more run of ours would be too")


def test_one_more_run_is_shown_where_the_runs_are_kept():
    kept = Interval(0.5, 0.4, 0.6, 3, (0.4, 0.5, 0.6))
    assert wording.one_more(claim(paper_value=0.35), kept) == (
        "one more run would fall within 0.30 to 0.70 (95 %), where the paper's 0.35 does lie"
    )
    assert wording.one_more(claim(paper_value=0.9), kept).endswith("where the paper's 0.9 does not lie")
    for value in (Interval(0.5, 0.4, 0.6, 3), [kept, kept], Interval(0.5, 0.5, 0.5, 2, (0.5, 0.5))):
        assert wording.one_more(claim(paper_value=0.9), value) == ""
    assert wording.one_more(claim(), kept) == "" == wording.one_more(claim(paper_value=0.9, timing=True), kept)


def test_paper_side_shows_the_number_with_its_precision():
    assert wording.paper(claim(paper_value=0.5, precision='"half"')) == '0.5 ("half")'
    assert wording.paper(claim(paper_value=0.5)) == "0.5" and wording.paper(claim()) == ""


def test_staleness_is_short():
    assert wording.staleness(()) == "" and wording.staleness(["library"]) == "library changed"
    assert wording.staleness(list("abcd")) == "4 of the things it depends on changed"


def test_ends_that_cannot_be_told_apart_are_not_shown_as_an_interval():
    tiny = Interval(0.5, 0.5 - 1e-9, 0.5 + 1e-9, 5)
    assert wording.interval(tiny) == wording.sentence(tiny) == "0.5 (the same in all 5 values to 6 decimals)"
