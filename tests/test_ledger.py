"""The ledger joins claims with results: the largest tier speaks, nothing below a claim's tier is judged."""

import json

import pytest

from saebook.claims import ledger, results, standings
from saebook.claims.ledger import Claim
from saebook.evaluation.intervals import Interval

COMMON = {"where": "w", "claim": "c.", "source": "s", "quantity": "q"}
HALF = Claim("gated.a", kind="value", paper_value=0.5, band=(0.35, 0.65), live="gated.note:ratio", **COMMON)


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "folder", lambda tier: tmp_path / tier)
    monkeypatch.setattr(results, "stale", lambda result: result["stale"])

    def write(tier, low, high, stale=()):
        live = {"ratio": {"mean": (low + high) / 2, "low": low, "high": high, "n": 3}}
        kept = {"findings": {}, "parameters": {}, "date": "d", "tier": tier, "live": live, "stale": list(stale)}
        file = tmp_path / tier / "gated" / "note.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(kept))

    return write


def test_a_larger_tier_speaks_before_a_smaller_one(recorded):
    assert standings.standing(HALF).verdict == ledger.NOT_RUN
    recorded("smoke", 0.4, 0.6)
    assert standings.standing(HALF).verdict == ledger.NOT_RUN
    recorded("cpu", 0.1, 0.9)
    assert standings.standing(HALF).verdict == "underpowered"
    recorded("gpu", 0.4, 0.6, stale=["library"])
    found = standings.standing(HALF)
    assert (found.verdict, found.result["tier"], found.stale) == ("replicates", "gpu", ("library",))


def test_nothing_below_a_claims_own_tier_is_judged(recorded):
    recorded("cpu", 0.4, 0.6)
    large = Claim("gated.b", kind="value", band=(0.35, 0.65), live="gated.note:ratio", tier="gpu", **COMMON)
    assert standings.standing(large).verdict == ledger.NOT_RUN
    assert standings.judged(large, Interval(0.5, 0.4, 0.6, 3), "cpu") == ledger.NOT_JUDGED
    assert standings.judged(large, Interval(0.5, 0.4, 0.6, 3), "paper") == "replicates"
    assert standings.judged(HALF, Interval(0.5, 0.4, 0.6, 3), "smoke") == ledger.NOT_JUDGED


def test_a_missing_key_is_not_a_verdict(recorded):
    recorded("cpu", 0.4, 0.6)
    other = Claim("gated.b", kind="value", band=(0.35, 0.65), live="gated.note:other", **COMMON)
    assert standings.standing(other).verdict == ledger.NOT_RUN


def test_counts_hold_every_claim_once(recorded):
    rows = standings.standings()
    found = standings.counts(rows)
    assert sum(sum(words.values()) for words in found.values()) == len(rows) == len(ledger.load())


def test_intervals_as_text():
    assert standings.shown(Interval(0.5234, 0.371, 0.739, 3)) == "0.523 (0.371 to 0.739)"
    assert standings.shown(Interval(0.5, float("-inf"), float("inf"), 1)) == "0.5 (one value)"
    assert standings.shown(Interval(float("nan"), 0, 0, 0)) == "no value"
    assert standings.shown([Interval(1, 0, 2, 3), Interval(2, 1, 3, 3)]) == "1 (0 to 2); 2 (1 to 3)"
