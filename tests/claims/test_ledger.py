"""Verdicts follow from intervals, and their error rates are what the method promises."""

import math

import numpy as np
import pytest
import yaml

from saebook.claims import ledger
from saebook.claims.ledger import Claim, Verdict, verdict
from saebook.common import paths
from saebook.common.errors import UserError
from saebook.evaluation.intervals import Interval, joint_level, t_interval

COMMON = {
    "id": "gated.a",
    "where": "w",
    "claim": "c",
    "source": "s",
    "quantity": "q",
    "live": "key",
    "notebook": "gated/note",
}
FEWER = Claim(kind="direction", null_value=1.0, smallest_effect=0.05, side="below", **COMMON)
MORE = Claim(kind="direction", null_value=0.0, smallest_effect=0.1, side="above", **COMMON)
HALF = Claim(kind="value", paper_value=0.5, band=(0.35, 0.65), **COMMON)
ORDER = Claim(kind="ordering", null_value=0.0, smallest_effect=0.1, side="above", **COMMON)
CLOSED = Claim(id="gated.a", notebook="", where="w", claim="c", source="s", kind="value", not_comparable="closed")


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


def test_ordering_needs_every_step():
    right, small, wide, wrong = at(0.2, 0.3), at(0.05, 0.2), at(-0.2, 0.4), at(-0.3, -0.1)
    assert verdict(ORDER, [right, right]) is Verdict.REPLICATES
    assert verdict(ORDER, [right, small]) is Verdict.PARTLY
    assert verdict(ORDER, [right, wide]) is Verdict.UNDERPOWERED
    assert verdict(ORDER, [wide, wrong]) is Verdict.DOES_NOT
    assert verdict(ORDER, []) is Verdict.UNDERPOWERED
    assert verdict(ORDER, [Interval(0.2, 0.2, 0.2, 1)]) is Verdict.UNDERPOWERED


def test_claims_that_need_people_are_never_judged():
    assert verdict(CLOSED, at(0.2, 0.3)) is Verdict.NOT_COMPARABLE


# Simulated papers with known truth: the error rates are what the method promises ----------------------------------------

SIMULATED = 3000
CHANCE = 3 * (0.025 * 0.975 / SIMULATED) ** 0.5  # three standard errors of a share of one in forty


def judged(claim, truth, spread, seeds, rng, steps=1):
    """Verdicts on many papers whose true effect is `truth`, each repeated with `seeds` noisy seeds."""
    verdicts = []
    for _ in range(SIMULATED):
        level = joint_level(steps)
        live = [t_interval(rng.normal(truth, spread, seeds), level) for _ in range(steps)]
        verdicts.append(verdict(claim, live if claim.kind == "ordering" else live[0]))
    return verdicts


def share(verdicts, *words):
    return np.mean([one in words for one in verdicts])


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_false_claim_replicates_at_most_as_often_as_promised(seeds):
    rng = np.random.default_rng(seeds)
    # At the very edge: no effect, an effect of exactly the smallest size, a value on the end of the band.
    assert share(judged(FEWER, 1.0, 0.05, seeds, rng), Verdict.REPLICATES, Verdict.PARTLY) <= 0.025 + CHANCE
    assert share(judged(FEWER, 0.95, 0.05, seeds, rng), Verdict.REPLICATES) <= 0.025 + CHANCE
    assert share(judged(HALF, 0.65, 0.03, seeds, rng), Verdict.REPLICATES) <= 0.025 + CHANCE
    assert share(judged(ORDER, 0.1, 0.05, seeds, rng, steps=2), Verdict.REPLICATES) <= 0.025 + CHANCE


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_true_claim_is_refuted_at_most_as_often_as_promised(seeds):
    rng = np.random.default_rng(10 + seeds)
    assert share(judged(FEWER, 0.95, 0.05, seeds, rng), Verdict.DOES_NOT) <= 0.025 + CHANCE
    assert share(judged(HALF, 0.35, 0.05, seeds, rng), Verdict.DOES_NOT, Verdict.PARTLY) <= 0.025 + CHANCE
    assert share(judged(ORDER, 0.1, 0.05, seeds, rng, steps=2), Verdict.DOES_NOT) <= 0.025 + CHANCE


def test_planted_faults_in_the_rule_are_detected():
    """An interval at half its width, the fault that one-sided thinking makes, breaks the promise by far."""
    rng = np.random.default_rng(0)
    wrong = [
        verdict(FEWER, Interval(i.mean, (i.mean + i.low) / 2, (i.mean + i.high) / 2, i.n))
        for i in (t_interval(rng.normal(1.0, 0.05, 3)) for _ in range(SIMULATED))
    ]
    assert share(wrong, Verdict.REPLICATES, Verdict.PARTLY) > 0.05


@pytest.mark.parametrize(("claim", "true", "spread"), [(FEWER, 0.85, 0.06), (MORE, 0.25, 0.1), (HALF, 0.5, 0.08)])
def test_more_seeds_find_a_true_effect_more_often(claim, true, spread):
    rng = np.random.default_rng(1)
    power = [share(judged(claim, true, spread, seeds, rng), Verdict.REPLICATES) for seeds in (2, 3, 5, 10)]
    assert power == sorted(power) and power[-1] > 0.8 > power[0]
    assert share(judged(claim, true, spread / 20, 1, rng), Verdict.UNDERPOWERED) == 1.0


@pytest.mark.parametrize(("claim", "path"), [(FEWER, (1.3, 0.5)), (MORE, (-0.4, 0.6)), (HALF, (1.4, 0.5))])
def test_nearer_to_the_claim_is_never_judged_worse(claim, path):
    order = [Verdict.DOES_NOT, Verdict.PARTLY, Verdict.UNDERPOWERED, Verdict.REPLICATES]
    if claim.band is None:  # a direction that is certain, of a size that is not, stands above an open question
        order = [Verdict.DOES_NOT, Verdict.UNDERPOWERED, Verdict.PARTLY, Verdict.REPLICATES]
    for half in (0.005, 0.02, 0.04):
        ranks = [order.index(verdict(claim, at(c - half, c + half))) for c in np.linspace(*path, 200)]
        assert ranks == sorted(ranks) and ranks[0] == 0 and ranks[-1] == 3


@pytest.mark.parametrize("claim", [FEWER, MORE, HALF])
def test_narrower_interval_about_the_same_mean_never_loses_a_verdict(claim):
    for mean in np.linspace(-0.5, 1.5, 81):
        verdicts = [verdict(claim, at(mean - half, mean + half)) for half in np.geomspace(1.0, 1e-3, 60)]
        settled = [one is not Verdict.UNDERPOWERED for one in verdicts]
        assert settled == sorted(settled)
        replicated = [one is Verdict.REPLICATES for one in verdicts]
        assert replicated == sorted(replicated)


# The ledger itself --------------------------------------------------------------------------------------------------------


def test_ledger_covers_the_three_papers():
    rows = ledger.load()
    assert {c.paper for c in rows} == {"gated", "topk", "e2e"}
    assert {c.kind for c in rows} == {"value", "direction", "ordering", "slope", "existence"}
    judged_here = [c for c in rows if c.live]
    assert len(judged_here) >= 40 and all(c.source and c.claim.endswith(".") for c in rows)
    assert any(not c.confirmed for c in rows) and any(c.not_comparable for c in rows)
    assert all(c.notebook.startswith(c.paper + "/") for c in judged_here if c.notebook)


def test_every_claim_has_a_live_quantity_in_its_notebook():
    for claim in ledger.load():
        if claim.notebook and claim.live:
            source = (paths.root() / "notebooks" / f"{claim.notebook}.ipynb").read_text()
            assert f'\\"{claim.live}\\"' in source, claim.id


def test_claim_without_a_chapter_names_the_planned_one_or_says_why_not():
    for claim in ledger.load():
        if not claim.notebook:
            assert bool(claim.planned) != bool(claim.not_comparable), claim.id


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "_config.yml").write_text("")
    (tmp_path / "notebooks" / "gated").mkdir(parents=True)
    monkeypatch.setenv("SAEBOOK_HOME", str(tmp_path))
    return tmp_path / "notebooks" / "gated"


GOOD = {name: value for name, value in COMMON.items() if name != "notebook"} | {"kind": "direction"}


def sidecar_of(home, rows):
    (home / "note.ipynb").write_text("{}")
    (home / "note.yml").write_text(yaml.safe_dump({"title": "t", "plan": "p", "claims": rows}))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"claims": "y"}, "claims: Extra inputs"),
        ({"kind": "feeling"}, "kind: Input should be"),
        ({"kind": "value"}, "needs a band"),
        ({"live": ""}, "either live"),
        ({"quantity": ""}, "quantity must say"),
        ({"tier": "smoke"}, "tier: Input should be"),
        ({"id": "other.a"}, "an id begins"),
        ({"band": [2, 1]}, "lower to its upper"),
        ({"where": None}, "where: Input should be"),
    ],
)
def test_contradictory_row_is_refused_in_one_line(home, row, words):
    sidecar_of(home, [GOOD | row])
    with pytest.raises(UserError, match=words) as refused:
        ledger.load()
    assert "notebooks/gated/note.yml" in str(refused.value) and "\n" not in str(refused.value)


def test_id_that_occurs_twice_is_refused(home):
    sidecar_of(home, [GOOD])
    (home / "claims.yml").write_text(yaml.safe_dump([GOOD]))
    with pytest.raises(UserError, match=r"gated\.a twice"):
        ledger.load()


@pytest.mark.parametrize("content", ["a: [", "- 3", "x: y", ""])
def test_damaged_claims_are_refused_in_one_line(home, content):
    (home / "claims.yml").write_text(content)
    with pytest.raises(UserError, match=r"claims\.yml") as refused:
        ledger.load()
    assert "\n" not in str(refused.value)
