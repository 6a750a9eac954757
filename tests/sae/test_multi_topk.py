"""Multi-TopK against its own formula, written out; `test_base` holds its gradients to autograd and finite differences."""

import pytest
import torch

from saebook.sae.base import Member
from saebook.sae.multi_topk import MultiTopK
from saebook.sae.topk import TopK

D, M, B = 12, 40, 64
KS = (3, 7, 20)  # four times the last is more than there are latents
DEAD = torch.zeros(len(KS), M, dtype=torch.bool).index_fill_(1, torch.arange(9), True)


def made(architecture=MultiTopK, dtype=torch.float64):
    stack = architecture(D, M, tuple(Member(seed, k) for seed, k in enumerate(KS)), dtype=dtype)
    generator = torch.Generator().manual_seed(9)
    for parameter in stack.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
    stack.init_bias(data(dtype))
    return stack


def data(dtype=torch.float64):
    return torch.randn(B, D, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(dtype) + 0.5


def squared_error(stack, i, k, x):
    """Mean squared error of member i with its k strongest latents, as a textbook would write it, over the variance."""
    pre = (x - stack.b_dec[i]) @ stack.W_enc[i] + stack.b_enc[i]
    kept = pre * (pre >= pre.sort(dim=1, descending=True).values[:, k - 1 : k])
    return (kept.relu() @ stack.W_dec[i] + stack.b_dec[i] - x).square().sum(1).mean() / stack.variance


def test_loss_is_that_of_k_and_an_eighth_of_that_of_four_times_as_many():
    stack, x = made(), data()
    losses = stack.loss(x)
    for i, k in enumerate(KS):
        expected = squared_error(stack, i, k, x) + squared_error(stack, i, min(4 * k, M), x) / 8
        assert losses.total[i].item() == pytest.approx(expected.item(), rel=1e-12)
    assert losses.terms["auxiliary"].abs().max() == 0


def test_all_but_the_wider_term_is_topks():
    stack, topk, x = made(), made(TopK), data()
    losses, expected = stack.step_gradients(x, DEAD), topk.step_gradients(x, DEAD)
    assert torch.equal(stack.encode(x), topk.encode(x)) and torch.equal(stack.reconstruct(x), topk.reconstruct(x))
    assert torch.equal(losses.fired, expected.fired) and torch.equal(losses.l0, expected.l0)
    assert all(torch.equal(losses.terms[name], term) for name, term in expected.terms.items())
    assert expected.terms["auxiliary"].min() > 0 and losses.terms["wider"].min() > 0
    assert not torch.allclose(stack.W_dec.grad, topk.W_dec.grad, rtol=1e-3)
    assert stack.members == topk.members and stack.options() == topk.options()


def test_gradients_in_single_precision_are_those_of_the_loss():
    """Float64 is in `test_base`: here the products and loops of a training run."""
    stack, x = made(dtype=torch.float32), data(torch.float32)
    stack.plain_gradients(x, DEAD)
    expected = {name: parameter.grad.clone() for name, parameter in stack.named_parameters()}
    stack.step_gradients(x, DEAD)
    for name, parameter in stack.named_parameters():
        assert torch.allclose(parameter.grad, expected[name], rtol=1e-4, atol=1e-5), name
