"""Made-up latents whose every activation is known, as a list of firings and as a table."""

import pytest
import torch

from saebook.evaluation.features.firings import Firings

SKIP = 2


def listed(f: torch.Tensor) -> Firings:
    """The firings of latents `f` [N, T, m], listed one by one."""
    n, t, m = f.shape
    places, values = [], []
    for latent in range(m):
        for row in range(n):
            for position in range(SKIP, t):
                if f[row, position, latent] > 0:
                    places.append((latent * n + row) * t + position)
                    values.append(float(f[row, position, latent]))
    return Firings(torch.tensor(places), torch.tensor(values), m, n, t, n * (t - SKIP))


@pytest.fixture
def table():
    """Activations [N, T, m] of five latents: the last one never fires, the one before it once."""
    generator = torch.Generator().manual_seed(0)
    f = torch.rand(12, 10, 5, generator=generator)
    f = f * (torch.rand(f.shape, generator=generator) < 0.3)
    f[..., 3:] = 0
    f[4, 7, 3] = 2.5
    f[:, :SKIP] = 0
    return f


@pytest.fixture
def of(table):
    return listed(table)
