"""A threshold keeps the share that was asked for, and the share is chosen by the rule."""

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.papers.gated.refits import as_gated, thresholded
from saebook.sae.base import Member
from saebook.sae.registry import build


def baseline(d_in=12, d_sae=40, dtype=torch.float64, seed=0):
    """A baseline with biases of both signs, and inputs [64, d_in]."""
    made = build("relu", d_in, d_sae, (Member(seed, 1.0),), dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    made.b_enc.data += 0.3 * torch.randn(made.b_enc.shape, generator=generator, dtype=dtype)
    return made, torch.randn(64, d_in, generator=generator, dtype=dtype)


@pytest.mark.parametrize("kind", ["relu", "gated"])
def test_threshold_keeps_the_strongest_share(kind):
    sae, x = baseline()
    gated = as_gated.as_gated(sae)
    if kind == "gated":
        generator = torch.Generator().manual_seed(3)
        for name in ("r_mag", "b_mag"):
            getattr(gated, name).data += 0.3 * torch.randn(gated.r_mag.shape, generator=generator, dtype=x.dtype)
    f = gated.encode(x)
    for share in (0.9, 0.5, 0.2):
        left = thresholded.keep_strongest(gated, x, share).encode(x)
        assert (left > 0).sum() == pytest.approx(share * float((f > 0).sum()), abs=2)
        assert torch.equal(left[left > 0], f[left > 0]) and f[(left == 0)].max() <= left[left > 0].min()
        blind = thresholded.keep_at_random(gated, x, share).encode(x)
        left_over = float((blind > 0).sum()) - share * float((f > 0).sum())
        assert 0 <= left_over <= float((f > 0).sum((0, 1)).max())  # whole latents are shut, and never too many
        assert torch.equal(blind[blind > 0], f[blind > 0]) and blind[blind > 0].min() < left[left > 0].min()
    assert torch.equal(thresholded.keep_strongest(gated, x, 1.0).encode(x), f)


def test_share_with_the_fewest_latents_at_equal_loss_is_chosen():
    quality = np.linspace(0.5, 0.9, 5)

    def swept(factors):
        return pd.DataFrame(
            [(s, factor * np.exp(4 * q), q) for s, factor in factors.items() for q in quality],
            columns=["seed", "l0", "loss_recovered"],
        )

    scored = {1.0: swept({0: 1.0, 1: 1.0}), 0.5: swept({0: 0.8, 1: 1.2}), 0.2: swept({0: 0.9, 1: 1.5})}
    assert [thresholded.choose(scored, seed) for seed in (0, 1)] == [0.5, 1.0]
    scored[0.1] = swept({0: 0.1, 1: 0.1}).assign(loss_recovered=0.1)  # reaches nothing in common: never chosen
    assert thresholded.choose(scored, 0) == 0.5
