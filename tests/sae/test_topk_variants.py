"""Each variant of TopK differs from it in one thing, and in nothing else."""

import numpy as np
import pytest
import torch

from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.training.config import TrainConfig
from saebook.training.loop import TrainState

D, M = 12, 40
MEMBERS = (Member(1, 3.0), Member(2, 7.0))


def data(n=64):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(5)) + 0.5


def trained(kind, steps=12, **options):
    """A stack of `kind` after some steps at a high rate."""
    made = build(kind, D, M, MEMBERS, **options)
    made.init_bias(data(256))
    state = TrainState(made, TrainConfig(lr=0.05, tokens=64 * steps, batch=64, resample_at=()))
    for step in range(steps):
        state.step(data(), step)
    return made


def test_without_a_bias_the_encoder_has_none_after_training():
    plain, without = trained("topk"), trained("topk_no_bias")
    assert plain.b_enc.abs().max() > 0.01 and without.b_enc.abs().max() == 0
    assert "b_enc" not in dict(without.named_parameters())
    x = data()
    pre = (x - without.b_dec[0]) @ without.W_enc[0]
    assert torch.allclose(without.encode(x)[0].sum(1), pre.topk(3).values.relu().sum(1), atol=1e-5)


def test_without_a_bias_the_first_gradients_are_those_of_topk():
    plain, without = build("topk", D, M, MEMBERS), build("topk_no_bias", D, M, MEMBERS)
    for made in (plain, without):
        made.init_bias(data(256))
        made.step_gradients(data())
    for name in ("W_enc", "W_dec", "b_dec"):
        assert torch.equal(getattr(plain, name).grad, getattr(without, name).grad)


def test_free_norms_leave_one_and_those_of_topk_do_not():
    norms = {kind: trained(kind).W_dec.norm(dim=-1) for kind in ("topk", "topk_free_norm")}
    assert torch.allclose(norms["topk"], torch.ones(2, M), atol=1e-5)
    assert (norms["topk_free_norm"] - 1).abs().max() > 0.02


def test_scaled_encoder_begins_with_reconstructions_of_the_size_of_the_input():
    scaled, plain = build("topk_scaled", D, M, MEMBERS), build("topk", D, M, MEMBERS)
    for made in (scaled, plain):
        made.init_bias(data(256))
    u = np.random.default_rng(0).standard_normal((20_000, D))
    u = torch.from_numpy(u / np.linalg.norm(u, axis=1, keepdims=True)).float()
    with torch.no_grad():
        size = [(m.reconstruct(u + m.b_dec[0])[0] - m.b_dec[0]).norm(dim=1).mean() for m in (scaled, plain)]
    assert float(size[0]) == pytest.approx(1.0, abs=0.05) and abs(float(size[1]) - 1) > 0.1
    ratio = scaled.W_enc / plain.W_enc
    assert torch.allclose(ratio, ratio[:, :1, :1].expand_as(ratio), rtol=1e-4)
    assert torch.equal(scaled.W_dec, plain.W_dec) and torch.equal(scaled.b_dec, plain.b_dec)
