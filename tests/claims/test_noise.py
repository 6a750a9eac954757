"""What the interval of each kind of claim says it is over."""

import pytest

from saebook.claims import ledger, noise
from saebook.evaluation.intervals import Interval, t_interval

SWEEP = {"subject": "prose-4l128", "seeds": [0, 1, 2], "eval_rows": 516, "tokens": 1000}


def of(claim_id: str, parameters: dict, n: int) -> str:
    (claim,) = [claim for claim in ledger.load() if claim.id == claim_id]
    return noise.noise(claim, parameters, t_interval(range(n)))


@pytest.mark.parametrize(
    ("claim_id", "parameters", "n", "words"),
    [
        ("gated.fig05.fewer_features", SWEEP, 3, noise.SEEDS),
        ("gated.fig02.l1_halves", {"seeds": [0, 1, 2], "steps": 400}, 3, noise.DRAWS),
        ("gated.fig01.published_rows", {}, 23, noise.PUBLISHED),
        ("gated.tab_ce.residual_dominates", SWEEP | {"seeds": []}, 516, noise.ROWS),
        ("gated.tab_ce.residual_dominates", SWEEP | {"ablation_rows": 32}, 32, noise.ROWS),
        ("gated.fig04.jumprelu", SWEEP, 20, noise.IDENTITY),
        ("gated.fig05.fewer_features", SWEEP, 20, noise.SHARED),
        ("topk.a2.overhead", SWEEP, 3, noise.TIMES),
        ("gated.fig05.fewer_features", SWEEP, 1, noise.ALONE),
    ],
)
def test_what_an_interval_is_over(claim_id, parameters, n, words):
    assert of(claim_id, parameters, n) == words.format(n=n)


def test_several_intervals_are_over_what_the_smallest_is_over():
    (claim,) = [claim for claim in ledger.load() if claim.id == "e2e.fig03.within"]
    both = [Interval(0.0, -1.0, 1.0, 3), Interval(0.0, -1.0, 1.0, 9)]
    assert noise.noise(claim, SWEEP, both) == noise.SEEDS.format(n=3)
    assert noise.noise(claim, SWEEP, []) == noise.ALONE
