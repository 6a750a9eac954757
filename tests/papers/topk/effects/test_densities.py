"""Densities, strengths and nearest directions of latents: planted ones are read back."""

import math

import pandas as pd
import pytest
import torch

from saebook.papers.topk.effects import densities
from saebook.sae.base import Member
from saebook.sae.registry import build


def test_each_method_gives_its_runs_nearest_in_l0():
    rows = [
        {"method": m, "sparsity": s, "seed": seed, "l0": l0 + seed}
        for m, s, l0 in (("topk", 8.0, 8), ("topk", 32.0, 32), ("relu", 0.5, 60), ("relu", 2.0, 14), ("relu", 9.0, -1))
        for seed in (0, 1)
    ]
    chosen = densities.nearest_to(pd.DataFrame(rows), 12.0)
    assert set(zip(chosen.method, chosen.sparsity, strict=True)) == {("topk", 8.0), ("relu", 2.0)} and len(chosen) == 4


def test_every_latent_is_counted_as_encode_has_it(small_subject):
    site = small_subject.site("resid_post", 1)
    rows = torch.randint(300, (21, 32), generator=torch.Generator().manual_seed(2))
    made = build("topk", site.d_in, 48, (Member(0, 6),), per_token=True)
    table = pd.DataFrame([{"method": "topk", "seed": 0, "sparsity": 6.0}])
    latents, sizes = densities.measured(table, [made], small_subject, site, rows, 1)
    f = made.encode(made.prepare(small_subject.activations(rows, site)[:, 1:].flatten(0, 1))[0])[0].detach()
    assert latents.density.tolist() == pytest.approx((f > 0).double().mean(0).tolist())
    assert latents.density.sum() == pytest.approx(6.0, abs=0.2)
    again = made.encode(made.prepare(small_subject.activations(rows[1::2], site)[:, 1:].flatten(0, 1))[0])[0]
    assert latents.again.tolist() == pytest.approx((again > 0).double().mean(0).tolist())
    alive = (f > 0).any(0)
    strength = (f.sum(0) / (f > 0).sum(0))[alive]
    assert latents.strength[alive.numpy()].tolist() == pytest.approx(strength.tolist(), rel=1e-4)
    inside = f[(f >= densities.SIZES[0]) & (f < densities.SIZES[-1])]
    assert sizes["share"].sum() == pytest.approx(len(inside) / int((f > 0).sum()), rel=1e-6)


def test_nearest_direction_leaves_out_itself_and_the_dead():
    directions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.1]])
    read = densities.nearest(directions, torch.tensor([True, True, True, False])).tolist()
    assert read[:3] == pytest.approx([math.sqrt(0.5)] * 3) and math.isnan(read[3])
    assert all(map(math.isnan, densities.nearest(directions, torch.tensor([True] + [False] * 3)).tolist()))


def test_random_directions_crowd_with_their_number():
    few, many = (densities.random_nearest(count, 16).mean() for count in (16, 512))
    assert 0.2 < few < many < 0.9
    assert densities.random_nearest(2, 3).tolist() == densities.random_nearest(2, 3).tolist()


def test_summary_reads_planted_shares():
    rows = [{"density": d, "nearest": 0.5} for d in (0.0, 0.2, 0.05, 0.05)]
    latents = pd.DataFrame(rows).assign(method="topk", seed=0, sparsity=8.0)
    (one,) = densities.summary(latents).to_dict("records")
    assert (one["dense"], one["never"], one["median_density"]) == (0.25, 0.25, 0.05)
    assert one["firing_by_dense"] == pytest.approx(2 / 3) and one["median_nearest"] == 0.5
