"""Largest cosines between the elements of dictionaries."""

import torch

from saebook.evaluation.geometry import max_cosine


def test_max_cosine_equals_a_plain_loop():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (9, 5))
    cosine = torch.nn.functional.cosine_similarity
    plain = torch.stack([max(cosine(x, y, dim=0) for y in b) for x in a])
    assert torch.allclose(max_cosine(a, b), plain)
    within = torch.stack([max(cosine(x, y, dim=0) for j, y in enumerate(a) if j != i) for i, x in enumerate(a)])
    assert torch.allclose(max_cosine(a), within)
    assert torch.allclose(max_cosine(a, 3 * a), torch.ones(9, dtype=torch.float64))
