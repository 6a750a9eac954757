"""A baseline written as a Gated SAE computes the same function."""

import torch

from saebook.papers.gated.refits import as_gated
from saebook.sae.base import Member
from saebook.sae.registry import build


def baseline(d_in=12, d_sae=40, dtype=torch.float64, seed=0):
    """A baseline with biases of both signs, and inputs [64, d_in]."""
    made = build("relu", d_in, d_sae, (Member(seed, 1.0),), dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    made.b_enc.data += 0.3 * torch.randn(made.b_enc.shape, generator=generator, dtype=dtype)
    return made, torch.randn(64, d_in, generator=generator, dtype=dtype)


def test_rescaled_baseline_equals_its_gated_form():
    sae, x = baseline()
    gated = as_gated.as_gated(sae)
    assert torch.allclose(gated.encode(x), sae.encode(x), rtol=1e-12, atol=1e-12)
    gated.b_gate.data += 1.0
    assert gated.b_mag.equal(sae.b_enc) and not gated.b_gate.equal(sae.b_enc)
