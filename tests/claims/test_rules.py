"""Verdicts follow from intervals by one table of rules, and their error rates are what the method promises."""

import math

import numpy as np
import pytest
from claims.claim_rows import COMMON

from saebook.claims import levels, rules
from saebook.claims.ledger import Claim, Verdict
from saebook.claims.rules import verdict
from saebook.evaluation.intervals import Interval, joint_level, t_interval

FEWER = Claim(kind="direction", null_value=1.0, smallest_effect=0.05, side="below", **COMMON)
MORE = Claim(kind="direction", null_value=0.0, smallest_effect=0.1, side="above", **COMMON)
HALF = Claim(kind="value", paper_value=0.5, band=(0.35, 0.65), **COMMON)
SAME = Claim(kind="value", paper_value=1.0, band=(0.97, 1.03), **COMMON)
MILD = Claim(kind="direction", null_value=1.0, side="below", **COMMON)
RUN = Claim(kind="value", paper_value=0.5, band=(0.35, 0.65), one_run=True, **COMMON)
ORDER = Claim(kind="ordering", null_value=0.0, smallest_effect=0.1, side="above", **COMMON)
CLOSED = Claim(id="gated.a", notebook="", where="w", claim="c", source="s", kind="value", not_comparable="closed")


def at(low, high, n=3):
    return Interval((low + high) / 2, low, high, n)


@pytest.mark.parametrize(
    ("claim", "interval", "expected"),
    [
        (FEWER, at(0.4, 0.6), Verdict.REPLICATES),
        (FEWER, at(0.8, 1.2), Verdict.UNDERPOWERED),
        (FEWER, at(0.98, 1.3), Verdict.DOES_NOT),
        (FEWER, at(1.1, 1.3), Verdict.DOES_NOT),
        (MORE, at(0.2, 0.3), Verdict.REPLICATES),
        (FEWER, at(0.90, 0.97), Verdict.UNDERPOWERED),
        (FEWER, at(0.95, 0.97), Verdict.UNDERPOWERED),
        (FEWER, at(0.96, 0.98), Verdict.PARTLY),
        (FEWER, at(0.96, 1.00), Verdict.DOES_NOT),
        (MILD, at(0.90, 0.99), Verdict.REPLICATES),
        (MILD, at(0.90, 1.0), Verdict.UNDERPOWERED),
        (MILD, at(1.0, 1.1), Verdict.DOES_NOT),
        (SAME, at(0.98, 1.02), Verdict.REPLICATES),
        (SAME, at(1.0, 1.05), Verdict.UNDERPOWERED),
        (SAME, at(1.04, 1.05), Verdict.DOES_NOT),
        (SAME, at(0.90, 0.95), Verdict.DOES_NOT),
        (RUN, at(0.7, 0.8), Verdict.UNDERPOWERED),
        (RUN, at(0.72, 0.76), Verdict.PARTLY),
        (RUN, at(0.4, 0.6), Verdict.REPLICATES),
        (MORE, at(0.05, 0.3), Verdict.UNDERPOWERED),
        (MORE, at(0.02, 0.08), Verdict.PARTLY),
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
    right, small, wide, wrong = at(0.2, 0.3), at(0.02, 0.08), at(-0.2, 0.4), at(-0.3, -0.1)
    assert verdict(ORDER, [right, right]) is Verdict.REPLICATES
    assert verdict(ORDER, [right, small]) is Verdict.PARTLY
    assert verdict(ORDER, [right, at(0.05, 0.2)]) is Verdict.UNDERPOWERED
    assert verdict(ORDER, [small, wide]) is Verdict.DOES_NOT  # the size is excluded, and the direction not established
    assert verdict(ORDER, [right, wide]) is Verdict.UNDERPOWERED
    assert verdict(ORDER, [wide, wrong]) is Verdict.DOES_NOT
    assert verdict(ORDER, []) is Verdict.UNDERPOWERED
    assert verdict(ORDER, [Interval(0.2, 0.2, 0.2, 1)]) is Verdict.UNDERPOWERED


def test_claims_that_need_people_are_never_judged():
    assert verdict(CLOSED, at(0.2, 0.3)) is Verdict.NOT_COMPARABLE


# Simulated papers with known truth: the error rates are what the method promises ----------------------------------------

SIMULATED = 3000
CHANCE = 3 * (0.025 * 0.975 / SIMULATED) ** 0.5  # three standard errors of a share of one in forty


def papers(truths, spread, seeds, count, rng, level=0.95):
    """Yields `count` papers: for each claim of a paper, whose true values are `truths`, the t interval of `seeds` runs."""
    runs = rng.normal(np.array(truths)[:, None], spread, (count, len(truths), seeds))
    means = runs.mean(-1)
    halves = levels.quantile(seeds, level) * runs.std(-1, ddof=1) / math.sqrt(seeds)
    for mean, half in zip(means.tolist(), halves.tolist(), strict=True):
        yield [Interval(m, m - h, m + h, seeds) for m, h in zip(mean, half, strict=True)]


def judged(claim, truth, spread, seeds, rng, steps=1):
    """Verdicts on many papers whose true effect is `truth`, each repeated with `seeds` noisy seeds."""
    many = papers([truth] * steps, spread, seeds, SIMULATED, rng, joint_level(steps))
    return [verdict(claim, live if claim.kind == "ordering" else live[0]) for live in many]


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
        verdict(MILD, Interval(i.mean, (i.mean + i.low) / 2, (i.mean + i.high) / 2, i.n))
        for (i,) in papers([1.0], 0.05, 3, SIMULATED, rng)
    ]
    assert share(wrong, Verdict.REPLICATES, Verdict.PARTLY) > 0.05


@pytest.mark.parametrize(("claim", "true", "spread"), [(FEWER, 0.85, 0.06), (MORE, 0.25, 0.1), (HALF, 0.5, 0.08)])
def test_more_seeds_find_a_true_effect_more_often(claim, true, spread):
    rng = np.random.default_rng(1)
    power = [share(judged(claim, true, spread, seeds, rng), Verdict.REPLICATES) for seeds in (2, 3, 5, 10)]
    assert power == sorted(power) and power[-1] > 0.8 > power[0]


@pytest.mark.parametrize(("claim", "path"), [(FEWER, (1.3, 0.5)), (MORE, (-0.4, 0.6)), (HALF, (1.4, 0.5))])
def test_nearer_to_the_claim_is_never_judged_worse(claim, path):
    order = [Verdict.DOES_NOT, Verdict.PARTLY, Verdict.UNDERPOWERED, Verdict.REPLICATES]
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


def test_page_and_code_read_the_same_table():
    text = rules.meanings()
    assert all(f"| *{rule.verdict}* | {rule.means} |" in text for rule in rules.RULES)
    assert {rule.verdict for rule in rules.RULES} | {Verdict.NOT_COMPARABLE} == set(Verdict)


def test_open_size_is_told_from_an_open_direction():
    assert rules.still_open(FEWER, at(0.90, 0.97)) == rules.SIZE_OPEN == rules.still_open(HALF, at(0.6, 0.8))
    assert rules.still_open(ORDER, [at(0.05, 0.2), at(0.2, 0.3)]) == rules.SIZE_OPEN
    for live in (at(0.4, 0.6), at(0.8, 1.2), at(0.96, 0.98)):
        assert rules.still_open(FEWER, live) == ""
    assert rules.still_open(SAME, at(1.0, 1.05)) == ""


def test_wrong_number_of_intervals_is_refused():
    with pytest.raises(TypeError, match="several"):
        verdict(ORDER, at(0.2, 0.3))
    with pytest.raises(TypeError, match="one"):
        verdict(FEWER, [at(0.2, 0.3)])


# The p-value and the family -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", [FEWER, MORE, HALF, SAME, MILD, RUN, ORDER])
def test_p_value_is_the_level_at_which_the_verdict_is_lost(claim):
    rng = np.random.default_rng(3)
    for _ in range(60):
        centre, n = rng.uniform(-0.5, 1.5), int(rng.integers(2, 8))
        live = [t_interval(rng.normal(centre, 0.1, n), joint_level(2)) for _ in range(2)]
        value, contrasts = (live, 2) if claim is ORDER else (t_interval(rng.normal(centre, 0.1, n)), 1)
        p = rules.p_value(claim, value)
        for alpha, decided in ((p * 1.001, True), (p * 0.999, False)):
            if 1e-6 < alpha < 1:
                wide = [levels.at_level(one, 1 - alpha, contrasts) for one in live]
                at_alpha = wide if claim is ORDER else levels.at_level(value, 1 - alpha)
                assert (verdict(claim, at_alpha) is not Verdict.UNDERPOWERED) is decided


def test_family_of_one_is_as_it_was_and_a_larger_one_takes_more():
    clear, fair, poor = at(0.5, 0.52), at(0.88, 0.94), at(0.8, 1.2)
    assert rules.corrected([(FEWER, clear)]) == [Verdict.REPLICATES] and rules.corrected([]) == []
    assert rules.corrected([(FEWER, fair)]) == [Verdict.REPLICATES]
    many = rules.corrected([(FEWER, fair)] * 8 + [(FEWER, clear), (FEWER, poor)])
    assert many == [Verdict.UNDERPOWERED] * 8 + [Verdict.REPLICATES, Verdict.UNDERPOWERED]
    # What is certain takes no share of alpha from the others.
    certain = [(FEWER, Interval(0.5, 0.5, 0.5, 3))] * 50
    assert rules.corrected([*certain, (FEWER, fair)]) == [Verdict.REPLICATES] * 51


def true_verdicts(claim, truth):
    """The verdicts that say nothing wrong of a claim whose true value is `truth`."""
    exact = verdict(claim, Interval(truth, truth, truth, 2))
    weaker = {Verdict.PARTLY: {Verdict.DOES_NOT}}  # a refuted size, without a word on the direction
    return {exact, Verdict.UNDERPOWERED} | weaker.get(exact, set())


def error_rates(claims, truths, spread, seeds, count, rng):
    """Wrong verdicts on many papers: share of rows, share of papers with any, and the latter after correction."""
    right = [true_verdicts(claim, truth) for claim, truth in zip(claims, truths, strict=True)]
    rows, plain, corrected = 0, 0, 0
    for live in papers(truths, spread, seeds, count, rng):
        wrong = sum(verdict(c, one) not in ok for c, one, ok in zip(claims, live, right, strict=True))
        rows, plain = rows + wrong, plain + (wrong > 0)
        together = rules.corrected(list(zip(claims, live, strict=True)))
        corrected += any(one not in ok for one, ok in zip(together, right, strict=True))
    return rows / count / len(claims), plain / count, corrected / count


PAPERS = 1000
MARGIN = 3 * (0.05 * 0.95 / PAPERS) ** 0.5  # three standard errors of a share of one in twenty
MIXED = [FEWER, MILD, MORE, HALF, SAME] * 2
KINDS_OF_PAPER = {
    "nothing is there": ([MILD] * 12, [1.0] * 12),
    "nothing is there, and every size is claimed": ([FEWER, MORE, HALF] * 4, [1.0, 0.0, 1.0] * 4),
    "every claim is true at its edge": (MIXED, [0.95, 0.99, 0.1, 0.65, 1.03] * 2),
    "some claims are true and some too large": (MIXED, [0.8, 1.0, 0.05, 0.5, 1.0, 0.97, 1.1, 0.3, 0.75, 1.1]),
    "every direction is right and every size too small": ([FEWER, MORE, HALF] * 4, [0.97, 0.05, 0.8] * 4),
}


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("kind", KINDS_OF_PAPER)
def test_wrong_verdicts_are_as_rare_as_promised(kind, seeds):
    claims, truths = KINDS_OF_PAPER[kind]
    rng = np.random.default_rng([seeds, *map(ord, kind)])
    rows, _, corrected = error_rates(claims, truths, 0.02, seeds, PAPERS, rng)
    assert rows <= 0.05 + MARGIN / len(claims) ** 0.5
    assert corrected <= 0.05 + MARGIN


def test_without_correction_a_paper_of_null_claims_is_often_believed_somewhere():
    claims, truths = KINDS_OF_PAPER["nothing is there"]
    rows, plain, corrected = error_rates(claims, truths, 0.02, 3, PAPERS, np.random.default_rng(0))
    # Each row errs towards the claim with 2.5 % and against it never; of twelve, one in four papers has such a row.
    assert rows == pytest.approx(0.025, abs=0.005)
    assert plain == pytest.approx(1 - 0.975**12, abs=0.05) and corrected < 0.05


def test_correction_never_says_more_than_the_plain_rule_and_real_effects_survive_it():
    rng = np.random.default_rng(5)
    claims, truths = [FEWER, MORE, HALF, SAME] * 3, [0.7, 0.4, 0.5, 1.0] * 3
    survived = 0
    for live in papers(truths, 0.01, 5, 200, rng):
        together = rules.corrected(list(zip(claims, live, strict=True)))
        for claim, one, after in zip(claims, live, together, strict=True):
            assert after is Verdict.UNDERPOWERED or after is verdict(claim, one)
        survived += sum(one is Verdict.REPLICATES for one in together)
    assert survived > 0.9 * 200 * len(claims)


@pytest.mark.parametrize(
    ("claim", "truth", "least", "most"),
    [
        (FEWER, 0.97, 0.85, 1.0),  # half the claimed size, seen sharply
        (FEWER, 0.95, 0.0, 0.025),  # exactly the claimed size
        (FEWER, 1.0, 0.0, 0.025),  # no effect
        (FEWER, 1.05, 0.0, 0.025),  # the other direction
        (HALF, 0.8, 0.85, 1.0),
        (HALF, 0.65, 0.0, 0.025),
        (HALF, 1.0, 0.0, 0.025),
        (SAME, 1.1, 0.0, 0.0),  # there is no direction to be right about
        (MILD, 0.9, 0.0, 0.0),  # there is no size to fall short of
    ],
)
def test_partly_is_said_when_the_size_falls_short_and_hardly_ever_else(claim, truth, least, most):
    rng = np.random.default_rng(11)
    said = [verdict(claim, live[0]) is Verdict.PARTLY for live in papers([truth], 0.005, 4, 2000, rng)]
    assert least <= np.mean(said) <= most + (CHANCE if most else 0)


def test_number_of_one_run_is_missed_by_chance_as_often_as_promised():
    """The paper's number has the noise of one run, which the interval of our mean does not have."""
    rng = np.random.default_rng(2)
    published = rng.normal(0.5, 0.1, 2000)
    missed = {True: 0, False: 0}
    for number, (live,) in zip(published, papers([0.5], 0.1, 4, 2000, rng), strict=True):
        for one_run in missed:
            row = Claim(kind="value", paper_value=number, band=(number, number), one_run=one_run, **COMMON)
            missed[one_run] += verdict(row, live) is not Verdict.UNDERPOWERED
    assert missed[True] / 2000 == pytest.approx(0.05, abs=0.015) and missed[False] / 2000 > 0.1
