"""Times of steps: the dense step is TopK's, rounds are interleaved, and medians have intervals that hold."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.book import budgets
from saebook.common.errors import UserError
from saebook.papers.topk.optimisation import step_times
from saebook.papers.topk.optimisation.step_times import AGAIN, AUTOGRAD, DENSE, SPARSE, DenseTopK, Shape
from saebook.sae.base import Member
from saebook.sae.topk import TopK
from saebook.training.config import TrainConfig
from saebook.training.graphed import GraphedState
from saebook.training.loop import TrainState

NAME, D, M = "topk/d2_kernels", 12, 40


def data(n=64, dtype=torch.float64):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(dtype) + 0.5


def gradients(kind, how, x):
    made = kind(D, M, (Member(1, 3.0), Member(2, 25.0)), dtype=torch.float64)
    generator = torch.Generator().manual_seed(9)
    for parameter in made.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    losses = getattr(made, how)(x)
    return losses, {name: p.grad.clone() for name, p in made.named_parameters()}


@pytest.mark.parametrize("how", ["step_gradients", "plain_gradients"])
def test_dense_step_has_the_losses_and_gradients_of_topk(how):
    """At the larger k many tokens have fewer positive latents than k: unused places of entries must count for nothing."""
    assert DenseTopK.has_own_gradients()
    losses, own = gradients(DenseTopK, how, data())
    expected, topk = gradients(TopK, "plain_gradients", data())
    assert expected.l0[1] < 24.5
    assert torch.allclose(losses.total, expected.total, rtol=1e-12) and torch.equal(losses.fired, expected.fired)
    assert torch.allclose(losses.l0, expected.l0)
    for name, value in topk.items():
        assert torch.allclose(own[name], value, rtol=1e-9, atol=1e-12), name


@pytest.mark.parametrize(("kind", "entries"), [(TopK, True), (DenseTopK, False)])
def test_both_steps_of_a_gpu_train_as_that_of_a_cpu_does(kind, entries):
    """The state for a GPU, uncaptured on a CPU."""
    training = TrainConfig(lr=0.01, tokens=64 * 8, batch=64, beta1=0.9, resample_at=(), dead_share=1.0)
    made = [one(D, M, (Member(1, 3.0),), aux_weight=0.0) for one in (kind, TopK)]
    for one in made:
        one.init_bias(data(256, torch.float32))
    states = GraphedState(made[0], training, entries=entries), TrainState(made[1], training, compiled=False)
    for state in states:
        state.steps([data(64, torch.float32)] * 3, 1)
    for (name, own), expected in zip(made[0].named_parameters(), made[1].parameters(), strict=True):
        assert torch.allclose(own, expected, atol=1e-4), name
    moved = made[0].W_dec.detach() - kind(D, M, (Member(1, 3.0),)).W_dec.detach()
    assert moved.abs().max() > 0.01


def test_agreement_of_the_steps_is_measured_and_can_fail(monkeypatch):
    x = data(32, torch.float32)
    assert step_times.largest_difference(Shape(M, 4), x) < 1e-10
    half = DenseTopK.encode
    monkeypatch.setattr(DenseTopK, "encode", lambda self, x: 0.5 * half(self, x))
    assert step_times.largest_difference(Shape(M, 4), x) > 0.1


def test_every_work_is_measured_in_every_round_each_in_an_order_of_its_own(monkeypatch):
    order, clock = [], itertools.count()
    made = {name: (lambda name=name: order.append(name)) for name in (SPARSE, DENSE, AUTOGRAD)}
    monkeypatch.setattr(step_times, "works", lambda shape, batches, seed: made)
    monkeypatch.setattr(step_times.time, "perf_counter", lambda: float(next(clock)))
    times = step_times.measure(Shape(M, 4), [data()] * 4, rounds=8)
    assert len(times) == 24 and set(times.seconds) == {0.25}
    measured = [tuple(order[i : i + 3]) for i in range(6, len(order), 3)]  # each has been done twice before
    assert all(set(one) == set(made) for one in measured) and len(set(measured)) > 1
    with pytest.raises(ValueError, match="fewer than 16"):
        step_times.measure(Shape(M, 4), [data()] * 16, rounds=1)


def test_real_works_run_and_give_times():
    times = step_times.measure(Shape(M, 4), [data(32, torch.float32)] * 2, rounds=1)
    assert {SPARSE, DENSE, AUTOGRAD, AGAIN} < set(times.work) and (times.seconds > 0).all()


def test_median_interval_holds_the_median_as_often_as_it_says():
    rng = np.random.default_rng(0)
    draws = rng.exponential(size=(2000, 11))
    held = [one.low <= np.log(2) <= one.high for one in map(step_times.median_interval, draws)]
    assert 0.95 <= np.mean(held) < 0.995
    few = step_times.median_interval([3.0, 1.0, 2.0])
    assert (few.mean, few.low, few.high, few.n) == (2.0, -np.inf, np.inf, 3)
    assert step_times.median_interval([1, 2, 3, 4, 5, 60]).high == 60


@pytest.fixture
def times():
    """Dense products take twice as long as active latents, plain PyTorch three times, and slow rounds slow all."""
    rows = [
        {"d_sae": d_sae, "k": k, "seed": seed, "work": work, "round": number,
         "seconds": factor * (1 + number + 6 * seed) * d_sae / 1000}
        for d_sae, k in ((32, 4), (64, 4), (64, 8))
        for work, factor in (
            (SPARSE, 1.0), (AGAIN, 1.0), (DENSE, 2.0), (AUTOGRAD, 3.0), (step_times.FORWARD, 0.5),
            (step_times.DENSE_FORWARD, 0.75), (step_times.ENCODER, 0.25),
        )
        for seed in (0, 1)
        for number in range(6)
    ]  # fmt: skip
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def test_ratios_are_of_the_same_round_and_against_the_faster_dense_step(times):
    shape = Shape(64, 4)
    assert step_times.ratios(times, shape, AUTOGRAD, SPARSE) == pytest.approx([3.0] * 12)
    assert step_times.faster_dense(times, shape) == DENSE
    over = step_times.over_sparse(times, shape)
    assert {name: interval.mean for name, interval in over.items()} == pytest.approx({DENSE: 2, AUTOGRAD: 3, AGAIN: 1})
    table = step_times.speed_ups(times)
    assert table.index.nunique() == 3
    assert table.loc[(64, 8)].to_list() == pytest.approx([2.0, 3.0, 1.5, 0.25])


def test_figure_has_a_line_for_each_kind_of_step(times):
    left, right = step_times.figure(times, 4, 64).axes
    assert left.get_legend_handles_labels()[1] == [SPARSE, DENSE, AUTOGRAD, step_times.ENCODER]
    assert list(left.containers[1][0].get_xdata()) == [32, 64]
    assert list(right.containers[0][0].get_xdata()) == [4, 8]
    assert left.containers[1][0].get_ydata()[0] == pytest.approx(2 * 6.5 * 32)


def test_shapes_are_every_width_and_every_k_once():
    assert step_times.shapes((8, 16), 2, (2, 4), 16) == [(8, 2), (16, 2), (16, 4)]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"width": 100}, "width must be one of widths"),
        ({"k": 5}, "k one of ks"),
        ({"rounds": 5}, "rounds"),
        ({"steps": 16}, "steps"),
        ({"ks": [4, 512]}, "ks at most 256"),
    ],
)
def test_impossible_measurement_is_refused_in_one_line(asked, words):
    with pytest.raises(UserError, match=words) as refused:
        budgets.resolve(NAME, "smoke", **asked)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("tier", ["smoke", "cpu", "gpu", "paper"])
def test_budgets_of_all_tiers_are_whole(tier):
    budget = budgets.resolve(NAME, tier)
    assert step_times.shapes(budget.widths, budget.k, budget.ks, budget.width)
