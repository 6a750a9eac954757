"""The ledger joins claims with results: the largest tier takes precedence, and tiers below a claim's own are not judged."""

import json

import pytest

from saebook.book import budgets
from saebook.claims import ledger, results, standings
from saebook.claims.grades import Grade
from saebook.claims.ledger import Claim
from saebook.evaluation.intervals import Interval

COMMON = {"notebook": "gated/note", "where": "w", "claim": "c.", "source": "s", "quantity": "q", "live": "ratio"}
HALF = Claim(id="gated.a", kind="value", paper_value=0.5, band=(0.35, 0.65), **COMMON)
SLOW = Claim(id="gated.t", kind="value", paper_value=0.1, band=(0.05, 0.15), timing=True, **COMMON)


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "_config.yml").write_text("")
    monkeypatch.setenv("SAEBOOK_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def put(home):
    def put(tier, low, high, where="recorded", **others):
        live = {"ratio": {"mean": (low + high) / 2, "low": low, "high": high, "n": 3}}
        kept = {"findings": {}, "parameters": {}, "date": "2030-01-02", "live": live} | others
        file = results.file("gated/note", tier, where)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(kept))

    return put


def test_larger_tier_wins(put):
    assert standings.standing(HALF).verdict == ledger.NOT_RUN
    put("smoke", 0.4, 0.6)
    assert standings.standing(HALF).verdict == ledger.NOT_RUN
    put("cpu", 0.1, 0.9)
    assert standings.standing(HALF).verdict == "underpowered"
    put("gpu", 0.4, 0.6)
    standing = standings.standing(HALF, lambda result: ("library",))
    assert (standing.verdict, standing.result["tier"], standing.stale) == ("replicates", "gpu", ("library",))


def test_tiers_below_the_claims_own_are_not_judged(put):
    put("cpu", 0.4, 0.6)
    large = Claim(id="gated.b", kind="value", band=(0.35, 0.65), tier="gpu", **COMMON)
    shown = standings.standing(large)
    assert (shown.verdict, shown.live.mean, shown.result["tier"], shown.grade) == (ledger.NOT_JUDGED, 0.5, "cpu", None)
    put("gpu", 0.4, 0.6)
    assert standings.standing(large).verdict == "replicates"
    assert standings.judged(large, Interval(0.5, 0.4, 0.6, 3), "cpu") == ledger.NOT_JUDGED
    assert standings.judged(large, Interval(0.5, 0.4, 0.6, 3), "paper") == "replicates"
    assert standings.judged(HALF, Interval(0.5, 0.4, 0.6, 3), "smoke") == ledger.NOT_JUDGED


def test_missing_key_is_not_a_verdict(put):
    put("cpu", 0.4, 0.6)
    other = HALF.model_copy(update={"live": "other"})
    assert standings.standing(other, tier="cpu") == standings.Standing(other, ledger.NOT_RUN)


def test_live_verdict_never_replaces_the_recorded_one(put):
    put("cpu", 0.4, 0.6)
    put("cpu", 1.1, 1.3, "live")
    put("smoke", 0.4, 0.6, "live")
    standing = standings.standing(HALF, tier="cpu")
    assert (standing.verdict, standing.own.verdict, standing.own.tier) == ("replicates", "does not replicate", "cpu")
    assert standings.standing(HALF, tier="smoke").own.verdict == ledger.NOT_JUDGED
    assert standings.standing(HALF).own is None
    results.file("gated/note", "cpu").unlink()
    standing = standings.standing(HALF, tier="cpu")
    assert (standing.verdict, standing.own.verdict) == (ledger.NOT_RUN, "does not replicate")


def test_times_are_judged_by_three_recorded_measurements(put):
    put("cpu", 0.09, 0.11, "live")
    put("cpu", 0.09, 0.11)
    standing = standings.standing(SLOW, tier="cpu")
    assert (standing.verdict, standing.live.n, standing.own.verdict) == (ledger.REPORTED, 1, ledger.REPORTED)
    put("cpu", 0.09, 0.11, timings={"ratio": [0.10, 0.101]})
    assert standings.standing(SLOW).verdict == ledger.REPORTED
    put("cpu", 0.09, 0.11, timings={"ratio": [0.10, 0.101, 0.099]})
    standing = standings.standing(SLOW)
    assert (standing.verdict, standing.live.n, standing.live.mean) == ("replicates", 3, pytest.approx(0.1))
    assert standings.judged(SLOW, Interval(0.1, 0.09, 0.11, 3), "cpu") == ledger.REPORTED
    assert standings.judged(SLOW, Interval(0.1, 0.09, 0.11, 3), "smoke") == ledger.NOT_JUDGED


def test_counts_hold_every_claim_once():
    rows = standings.standings(budgets.resolve, "cpu")
    counts = standings.counts(rows)
    tallies = [tally for of_paper in counts.values() for tally in of_paper.values()]
    assert sum(sum(tally.values()) for tally in tallies) == len(rows) == len(ledger.load())
    assert {row.grade for row in rows} >= {Grade.IDENTITY, Grade.PUBLISHED, Grade.EMBEDDED, None}


def test_result_whose_chapter_lost_its_budget_is_stale(put, monkeypatch):
    put("gpu", 0.4, 0.6)
    monkeypatch.setattr(ledger, "load", lambda: [HALF])
    (standing,) = standings.standings(budgets.resolve)
    assert (standing.verdict, standing.stale) == ("replicates", ("notebook",))


def test_family_is_what_one_tier_judges_of_one_paper(put, monkeypatch):
    put("cpu", 0.38, 0.62)
    gpu = HALF.model_copy(update={"id": "gated.g", "tier": "gpu"})
    other = HALF.model_copy(update={"id": "topk.a"})
    monkeypatch.setattr(ledger, "load", lambda: [HALF, gpu, other, HALF.model_copy(update={"id": "gated.c"})])
    rows = standings.standings(budgets.resolve)
    assert [(row.verdict, row.corrected, row.family) for row in rows] == [
        ("replicates", "underpowered", 2),
        (ledger.NOT_JUDGED, "", 0),
        ("replicates", "replicates", 1),
        ("replicates", "underpowered", 2),
    ]


def test_intervals_as_text():
    assert standings.shown(Interval(0.5234, 0.371, 0.739, 3)) == "0.52 (0.37 to 0.74)"
    assert standings.shown(Interval(0.5, float("-inf"), float("inf"), 1)) == "0.5 (one value)"
    assert standings.shown(Interval(float("nan"), 0, 0, 0)) == "no value"
    assert standings.shown([Interval(1, 0, 2, 3), Interval(2, 1, 3, 3)]) == "1.0 (0.0 to 2.0); 2.0 (1.0 to 3.0)"
