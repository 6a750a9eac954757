"""The loss of a tied head, and its gradients, against the plain ones."""

import pytest
import torch

from saebook.subject.pretraining.tied_head import tied_cross_entropy


def test_tied_cross_entropy_equals_the_plain_one():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(1100, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(50, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 50, (1100,), generator=generator)
    plain = torch.nn.functional.cross_entropy(hidden @ weight.T, targets)
    expected = torch.autograd.grad(3 * plain, (hidden, weight))
    tied = tied_cross_entropy(hidden, weight, targets)
    assert tied.item() == pytest.approx(plain.item(), rel=1e-12)
    for a, b in zip(torch.autograd.grad(3 * tied, (hidden, weight)), expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-14)
