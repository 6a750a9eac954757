"""Verdicts follow from intervals, and their error rates are what the method promises."""

import math

import numpy as np
import pytest

from saebook import claims
from saebook.claims import Claim, Verdict, verdict
from saebook.errors import UserError
from saebook.stats import Interval, t_interval

FEWER = Claim("a", "p", "w", "c", "direction", "x", "q", "s", null_value=1.0, smallest_effect=0.05, side="below")
MORE = Claim("a", "p", "w", "c", "direction", "x", "q", "s", null_value=0.0, smallest_effect=0.1, side="above")
HALF = Claim("a", "p", "w", "c", "value", "x", "q", "s", paper_value=0.5, band=(0.35, 0.65))


def at(low, high, n=3):
    return Interval((low + high) / 2, low, high, n)


@pytest.mark.parametrize(
    ("claim", "interval", "expected"),
    [
        (FEWER, at(0.4, 0.6), Verdict.REPLICATES),
        (FEWER, at(0.90, 0.97), Verdict.PARTLY),
        (FEWER, at(0.8, 1.2), Verdict.UNDERPOWERED),
        (FEWER, at(0.98, 1.3), Verdict.DOES_NOT),
        (FEWER, at(1.1, 1.3), Verdict.DOES_NOT),
        (MORE, at(0.2, 0.3), Verdict.REPLICATES),
        (MORE, at(0.05, 0.3), Verdict.PARTLY),
        (MORE, at(-0.3, -0.2), Verdict.DOES_NOT),
        (HALF, at(0.4, 0.6), Verdict.REPLICATES),
        (HALF, at(0.6, 0.8), Verdict.UNDERPOWERED),
        (HALF, at(0.7, 0.8), Verdict.PARTLY),
        (HALF, at(0.1, 0.2), Verdict.PARTLY),
        (HALF, at(0.9, 1.1), Verdict.DOES_NOT),
        (HALF, at(1.2, 1.4), Verdict.DOES_NOT),
    ],
)
def test_each_interval_has_its_verdict(claim, interval, expected):
    assert verdict(claim, interval) is expected


@pytest.mark.parametrize("claim", [FEWER, MORE, HALF])
def test_one_seed_or_none_is_never_enough(claim):
    for value in (0.5, 2.0, -1.0):
        assert verdict(claim, Interval(value, value, value, 1)) is Verdict.UNDERPOWERED
    assert verdict(claim, Interval(math.nan, -math.inf, math.inf, 0)) is Verdict.UNDERPOWERED


def test_no_effect_rarely_replicates_and_a_large_one_nearly_always():
    rng = np.random.default_rng(0)
    none = [verdict(FEWER, t_interval(rng.normal(1.0, 0.05, 3))) for _ in range(3000)]
    large = [verdict(FEWER, t_interval(rng.normal(0.5, 0.05, 3))) for _ in range(500)]
    assert np.mean([v in (Verdict.REPLICATES, Verdict.PARTLY) for v in none]) <= 0.035
    assert np.mean([v is Verdict.REPLICATES for v in large]) >= 0.95


def test_monotone_in_distance_and_in_seeds():
    order = [Verdict.DOES_NOT, Verdict.UNDERPOWERED, Verdict.PARTLY, Verdict.REPLICATES]
    ranks = [order.index(verdict(FEWER, at(c - 0.04, c + 0.04))) for c in np.linspace(1.3, 0.5, 60)]
    assert ranks == sorted(ranks) and ranks[0] == 0 and ranks[-1] == 3
    rng = np.random.default_rng(1)
    shares = [
        np.mean([verdict(FEWER, t_interval(rng.normal(0.85, 0.06, n))) is Verdict.REPLICATES for _ in range(400)])
        for n in (2, 3, 5, 10)
    ]
    assert shares == sorted(shares)


def test_the_ledger_loads_and_refuses_unknown_keys(tmp_path, monkeypatch):
    rows = claims.load("gated.fig05")
    assert {c.kind for c in rows} == {"direction", "value"} and all(c.source for c in rows)
    (tmp_path / "data").mkdir()
    (tmp_path / "_config.yml").write_text("")
    (tmp_path / "data" / "claims.yml").write_text("- {id: x, claims: y}")
    monkeypatch.setenv("SAEBOOK_HOME", str(tmp_path))
    with pytest.raises(UserError, match="unknown keys claims"):
        claims.load()
