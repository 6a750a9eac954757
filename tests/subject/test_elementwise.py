"""Compiled elementwise passes in float32 agree with plain PyTorch in float64, and so do their gradients."""

import pytest
import torch
import torch.nn.functional as F

from saebook.subject import elementwise


def normal(*shape, scale=1.0, seed=0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_gelu_and_its_slope(scale):
    x = normal(7, 301, scale=scale).requires_grad_()
    exact = x.detach().double().requires_grad_()
    expected = F.gelu(exact, approximate="tanh")
    (slope,) = torch.autograd.grad(expected.sum(), exact)
    assert torch.allclose(elementwise.gelu_tanh(x.detach()).double(), expected, rtol=2e-6, atol=1e-6 * scale)
    y = elementwise.gelu_tanh(x)
    assert torch.allclose(y.double(), expected, rtol=2e-6, atol=1e-6 * scale)
    assert torch.allclose(torch.autograd.grad(2 * y.sum(), x)[0].double(), 2 * slope, rtol=1e-5, atol=5e-6)
    assert torch.equal(elementwise.gelu_tanh(exact), expected)  # float64 stays with PyTorch


def test_gelu_of_a_view_and_of_bfloat16():
    x = normal(40, 8)
    assert torch.equal(elementwise.gelu_tanh(x.T), elementwise.gelu_tanh(x).T)
    rounded = elementwise.gelu_tanh(x.bfloat16())
    assert rounded.dtype == torch.float32
    assert torch.allclose(rounded, F.gelu(x.bfloat16().float(), approximate="tanh"), atol=1e-6)


def test_gelu_far_out_and_nan():
    x = torch.tensor([float("nan"), 1e4, -1e4, 0.0])
    y = elementwise.gelu_tanh(x)
    assert y[0].isnan() and y[1] == 1e4 and y[2:].abs().max() < 1e-30


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_causal_softmax_and_its_gradient(scale):
    scores, grad = normal(3, 33, 33, seed=1), normal(3, 33, 33, seed=2)
    exact = scores.double().requires_grad_()
    future = torch.ones(33, 33, dtype=torch.bool).triu(1)
    expected = (exact * scale).masked_fill(future, float("-inf")).softmax(-1)
    shares = elementwise.causal_softmax(scores.clone(), scale)
    assert torch.allclose(shares.double(), expected, rtol=2e-5, atol=1e-7) and not shares[:, future].any()
    (slope,) = torch.autograd.grad(expected, exact, grad.double())
    ours = elementwise.causal_softmax_gradient(shares, grad.clone(), scale)
    assert torch.allclose(ours.double(), slope, rtol=1e-4, atol=2e-6 * scale) and not ours[:, future].any()


def test_scores_far_apart_give_finite_shares_and_the_future_is_never_seen():
    scores = normal(2, 16, 16, scale=1e4)
    shares = elementwise.causal_softmax(scores.clone(), 1.0)
    assert torch.allclose(shares.sum(-1), torch.ones(2, 16)) and shares.isfinite().all()
    scores[:, :, 9:] = float("nan")
    seen = elementwise.causal_softmax(scores.clone(), 1.0)
    assert torch.equal(seen[:, :9], shares[:, :9]) and seen[:, 9:, :9].isnan().all()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_attention_and_its_gradients_are_those_of_the_fused_kernel(dtype, tolerance):
    q, k, v = (normal(4, 21, 8, scale=2.0, seed=seed).double().requires_grad_() for seed in range(3))
    grad = normal(4, 21, 8, seed=3).double()
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    theirs = [expected, *torch.autograd.grad(expected, (q, k, v), grad)]
    own = [one.detach().to(dtype).requires_grad_() for one in (q, k, v)]
    mixed = elementwise.attention(*own)
    for a, b in zip([mixed, *torch.autograd.grad(mixed, own, grad.to(dtype))], theirs, strict=True):
        assert (a - b).abs().max() <= tolerance * b.abs().max()


def test_exponentials_and_their_sums():
    logits, mass = normal(9, 70, scale=8.0), torch.full((9, 1), 0.5)
    top = logits.amax(1, keepdim=True)
    expected = (logits.double() - top).exp()
    weights = elementwise.exponentials(logits.clone(), top, mass)
    assert torch.allclose(weights.double(), expected, rtol=1e-5, atol=1e-30)
    assert torch.allclose(mass.double(), 0.5 + expected.sum(1, keepdim=True), rtol=1e-6)
    exact = torch.full((9, 1), 0.5, dtype=torch.float64)
    assert torch.equal(elementwise.exponentials(logits.double(), top.double(), exact), expected)
