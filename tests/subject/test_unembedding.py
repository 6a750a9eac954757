"""The unembedding in pieces equals the whole one, in float64."""

import pytest
import torch
import torch.nn.functional as F

from saebook.subject import unembedding
from saebook.subject.unembedding import Unembedding


@pytest.fixture(params=[True, False], ids=["bias", "no bias"])
def head(request, monkeypatch):
    """A small unembedding, in pieces that divide neither tokens nor vocabulary."""
    monkeypatch.setitem(unembedding.CHUNK, "cpu", (40, 77))
    generator = torch.Generator().manual_seed(0)
    W_U, b_U = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((8, 300), (300,)))
    return Unembedding(W_U, b_U if request.param else None)


@pytest.fixture
def hidden():
    return 3 * torch.randn(90, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_log_partition_and_its_gradient(head, hidden):
    lse, mean = head.log_partition(hidden)
    hidden.requires_grad_()
    plain = head.logits(hidden).logsumexp(-1)
    assert torch.allclose(lse, plain, rtol=1e-12)
    assert torch.allclose(mean, torch.autograd.grad(plain.sum(), hidden)[0], rtol=1e-10, atol=1e-13)


def test_losses_are_cross_entropies(head, hidden):
    targets = torch.randint(300, (90,), generator=torch.Generator().manual_seed(2))
    plain = F.cross_entropy(head.logits(hidden), targets, reduction="none")
    assert torch.allclose(head.losses(hidden, targets), plain, rtol=1e-11)


def test_logits_far_apart_stay_finite(head, hidden):
    far = hidden.float() * 300
    single = Unembedding(head.W_U.float(), None if head.b_U is None else head.b_U.float())
    lse, mean = single.log_partition(far)
    assert torch.allclose(lse, single.logits(far).logsumexp(-1), rtol=1e-6) and mean.isfinite().all()
