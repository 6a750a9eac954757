"""A threshold keeps the share that was asked for, and the share is chosen by the rule."""

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.papers.gated.refits import as_gated, thresholded
from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.training.store import Store
from saebook.training.sweep import Data


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


@pytest.mark.parametrize("prune", [thresholded.keep_strongest, thresholded.keep_at_random])
def test_all_shares_together_give_what_each_gives_by_itself(prune, small_subject, text_folder, tmp_path, monkeypatch):
    """The sweep is encoded and measured once for all shares; here each share is tried alone."""
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SAEBOOK_RUNS", str(tmp_path / "runs"))
    site, data = small_subject.site("resid_post", 1), Data(source=f"folder:{text_folder}", eval_rows=4)
    lines = [
        {"method": "relu", "d_sae": 48, "sparsity": bias, "seed": seed, "key": f"{seed}{i}"}
        for i, bias in enumerate((0.5, 1.0, 2.0)) for seed in (0, 1)
    ]  # fmt: skip
    for line in lines:
        sae, _ = baseline(site.d_in, 48, torch.float32, line["seed"])
        sae.b_enc.data -= line["sparsity"]
        Store().save_sae(line["key"], sae)
    shares, how = (1.0, 0.7, 0.4), (4, small_subject, site, data, prune)
    table, chosen = thresholded.pruned(pd.DataFrame(lines), "relu", shares, *how)
    alone = {share: thresholded.pruned(pd.DataFrame(lines), "relu", [share], *how) for share in shares}
    assert all(only == {0: share, 1: share} for share, (_, only) in alone.items())
    seen = as_gated.rows_of("train", 4, small_subject, data)
    x = small_subject.activations(seen, site)[:, data.skip :].flatten(0, 1)
    scored = {}
    for share in shares:
        made = [prune(as_gated.stored(line["key"], x.device), x, share) for line in lines]
        scored[share] = as_gated.measured(made, pd.DataFrame(lines), "relu", small_subject, site, seen, data.skip)
    assert chosen == {seed: thresholded.choose(scored, seed) for seed in (0, 1)}
    for seed, share in chosen.items():
        expected = alone[share][0]
        pd.testing.assert_frame_equal(table[table.seed == seed], expected[expected.seed == seed], rtol=1e-6)
