"""A new stack starts at random unit directions; one for stored tensors draws nothing and is laid out alike."""

import pytest
import torch

from saebook.sae import initial
from saebook.sae.base import Member
from saebook.sae.registry import build, get, names

SHAPE = (12, 40, (Member(1, 3), Member(2, 5)))


def test_directions_have_unit_norm_and_depend_on_their_own_seed_alone():
    both = initial.directions([1, 2], 40, 12, "cpu", torch.float64)
    assert both.shape == (2, 40, 12) and torch.allclose(both.norm(dim=-1), torch.ones(2, 40, dtype=torch.float64))
    assert torch.equal(both[1:], initial.directions([2], 40, 12, "cpu", torch.float64))
    assert not torch.equal(both[0], both[1])


@pytest.mark.parametrize("kind", names())
def test_unfilled_stack_is_laid_out_as_a_new_one(kind, monkeypatch):
    def layout(stack):
        tensors = {n: (t.shape, t.stride(), t.dtype, t.device) for n, t in stack.state_dict().items()}
        return tensors, {n: p.requires_grad for n, p in stack.named_parameters()}, stack.options(), stack.members

    options = {"dtype": torch.float64, "per_token": True, "transposed": False}
    new = layout(build(kind, *SHAPE, **options))
    monkeypatch.setattr(initial, "_unit_rows", None)  # not called
    assert layout(initial.unfilled(get(kind), *SHAPE, **options)) == new
