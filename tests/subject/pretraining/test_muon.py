"""Muon: directions of equal length, and the same steps as PyTorch's own up to its bfloat16."""

import pytest
import torch

from saebook.subject.pretraining.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(24, 64), (64, 24), (32, 32)])
def test_singular_directions_stay_and_get_about_the_same_length(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, before, v = torch.linalg.svd(matrix, full_matrices=False)
    inside = u.T @ orthogonalised(matrix) @ v.T
    after = inside.diagonal()
    assert (inside - after.diag()).abs().max() < 1e-9
    assert before.max() > 3 * before.min() and after.min() > 0.6 and after.max() < 1.3


def test_steps_are_those_of_pytorch_up_to_bfloat16():
    generator = torch.Generator().manual_seed(1)
    start, gradients = torch.randn(20, 8, generator=generator), torch.randn(4, 20, 8, generator=generator)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimisers = Muon([ours], 0.02, 0.01), torch.optim.Muon([theirs], lr=0.02, weight_decay=0.01, momentum=0.95)
    for gradient in gradients:
        for p, optimiser in zip((ours, theirs), optimisers, strict=True):
            p.grad = gradient.clone()
            optimiser.step()
    moved, expected = ours - start, theirs - start
    assert (moved - expected).norm() < 0.02 * expected.norm()
    assert (moved - expected).abs().max() > 0  # theirs rounds: an equal result would mean that ours does too
