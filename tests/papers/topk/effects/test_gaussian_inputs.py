"""Normally distributed inputs: what is drawn has the moments that were asked for, and training on it is repeatable."""

import math

import pandas as pd
import pytest
import torch

from saebook.papers.topk.effects import gaussian_inputs
from saebook.papers.topk.effects.gaussian_inputs import NMSE
from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.training.config import Method, TrainConfig
from saebook.training.store import Store

OPTIONS = (("per_token", True),)


def method(width=32, lr=0.01, tokens=4096):
    return Method("topk", width, (4.0,), TrainConfig(lr=lr, tokens=tokens, batch=64, resample_at=()), OPTIONS)


def test_matched_noise_has_mean_and_covariance_and_no_sparse_structure():
    generator = torch.Generator().manual_seed(0)
    codes = torch.rand(20_000, 12, generator=generator) * (torch.rand(20_000, 12, generator=generator) < 0.1)
    x = codes @ torch.randn(12, 8, generator=generator) + 3.0
    drawn = gaussian_inputs.matched(x).draw(20_000, 0, 0, 0)
    torch.testing.assert_close(drawn.mean(0), x.mean(0), atol=0.03, rtol=0.02)
    torch.testing.assert_close(drawn.T.cov(), x.T.cov(), atol=0.03, rtol=0.05)

    def kurtosis(y):
        z = (y - y.mean(0)) / y.std(0)
        return float((z**4).mean() - 3)

    assert kurtosis(x) > 1.0 and abs(kurtosis(drawn)) < 0.1


def test_draws_are_a_function_of_seed_stream_and_number():
    white = gaussian_inputs.white(8)
    assert torch.equal(white.draw(5, 1, 0, 3), white.draw(5, 1, 0, 3))
    others = [white.draw(5, *of) for of in ((1, 0, 3), (2, 0, 3), (1, 1, 3), (1, 0, 4))]
    assert len({tuple(x.flatten().tolist()) for x in others}) == 4
    buffer = gaussian_inputs.NormalBuffer(white, 5, 1)
    assert torch.equal(list(buffer.batches(0, 4))[2], next(iter(buffer.batches(2, 4))))
    assert white.digest() != gaussian_inputs.white(9).digest()


def test_measured_is_the_error_over_the_variance():
    normal = gaussian_inputs.matched(torch.randn(500, 8, generator=torch.Generator().manual_seed(0)) + 2.0)
    made = build("topk", 8, 16, (Member(0, 3.0),), per_token=True)
    z = made.prepare(normal.draw(300, 0, 2, 0))[0]
    expected = (made.reconstruct(z)[0] - z).square().sum(1).mean() / (z - z.mean(0)).square().sum(1).mean()
    read = gaussian_inputs.measured(made, normal, 300)
    assert read[NMSE] == pytest.approx(expected.item(), rel=1e-4) and 0 < read["l0"] <= 3


def test_signed_axes_keep_the_largest_squares():
    """Of one latent in D dimensions the error is known: one less the mean of the largest of D squares over D."""
    error = gaussian_inputs.signed_axes_error(gaussian_inputs.white(16), 1, 20_000)
    z = torch.randn(20_000, 16, generator=torch.Generator().manual_seed(5))
    z = (z - z.mean(1, keepdim=True)) / z.std(1, keepdim=True)
    assert error == pytest.approx(1 - float(z.square().amax(1).mean()) / 15, abs=0.01)
    assert math.isnan(gaussian_inputs.signed_axes_error(gaussian_inputs.white(16), 16, 10))


def test_sweep_is_trained_once_and_beats_no_training(tmp_path, monkeypatch):
    store, white = Store(tmp_path), gaussian_inputs.white(16)
    table = gaussian_inputs.swept(white, [method(), method(64)], [0, 1], 2000, store)
    assert table.groupby("d_sae").seed.nunique().tolist() == [2, 2] and (table.l0 <= 4).all()
    untrained = build("topk", 16, 32, (Member(0, 4.0),), per_token=True)
    assert table[NMSE].max() < gaussian_inputs.measured(untrained, white, 2000)[NMSE]
    monkeypatch.setattr(gaussian_inputs, "train", lambda *_: pytest.fail("trained again"))
    pd.testing.assert_frame_equal(gaussian_inputs.swept(white, [method(), method(64)], [0, 1], 2000, store), table)
    with pytest.raises(pytest.fail.Exception):
        gaussian_inputs.swept(white, [method(lr=0.02)], [0], 2000, store)


def test_planted_exponent_is_read_back():
    rows = [{"seed": s, "d_sae": n, NMSE: (1 + s) * n**-0.2} for s in range(2) for n in (64, 128, 256)]
    assert gaussian_inputs.exponents(pd.DataFrame(rows)) == pytest.approx([-0.2, -0.2])
