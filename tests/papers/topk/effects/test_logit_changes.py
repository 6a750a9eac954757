"""Effects of ablations on logits: planted sparsities are read back, and one ablation is as the whole model computes it."""

import math

import pandas as pd
import pytest
import torch

from saebook.common.errors import UserError
from saebook.evaluation.intervals import joint_level
from saebook.papers.topk.effects import logit_changes
from saebook.papers.topk.effects.logit_changes import CHANNEL, ELSEWHERE, LATENT, RANDOM, Places
from saebook.sae.base import Member
from saebook.sae.registry import build

V, L = 1001, 16


def rows(count=12):
    return torch.randint(300, (count, 32), generator=torch.Generator().manual_seed(2))


def density_of(change):
    return logit_changes.density(logit_changes.centred(change)).tolist()


def test_gaussian_logits_have_two_over_pi():
    change = torch.randn(20, L, V, generator=torch.Generator().manual_seed(0))
    # The estimate has a relative standard error of about sqrt((pi - 2) / (V L)) at each of twenty draws.
    assert density_of(change) == pytest.approx([2 / math.pi] * 20, rel=4 * math.sqrt((math.pi - 2) / (V * L)))


def test_one_changed_logit_has_the_smallest_value_and_a_shift_of_all_none():
    change = torch.zeros(3, L, V)
    change[0, 5, 17] = -2.0
    change[1, 5, :100] = 1.0
    change[2] = 3.0
    one, hundred, none = density_of(change)
    assert one == pytest.approx(1 / (V * L)) and hundred == pytest.approx(100 / (V * L)) and math.isnan(none)


def test_density_ignores_size_order_and_what_all_logits_of_a_position_share():
    generator = torch.Generator().manual_seed(1)
    change = torch.randn(1, L, V, generator=generator) ** 3
    shuffled = change[:, :, torch.randperm(V, generator=generator)]
    shifted = change * 1e-3 + torch.randn(1, L, 1, generator=generator)
    assert density_of(shuffled) == pytest.approx(density_of(change), rel=1e-5)
    assert density_of(shifted) == pytest.approx(density_of(change), rel=1e-3)


def test_parts_hold_every_place_once_and_none_has_a_single_one():
    places = Places(rows(7), torch.arange(7))
    parts = places.split(3)
    assert [len(part.positions) for part in parts] == [4, 3] and len(places.split(9)) == 1
    assert torch.cat([part.positions for part in parts]).tolist() == list(range(7))
    assert torch.equal(torch.cat([part.rows for part in parts]), places.rows)


def test_places_leave_room_for_the_span_and_differ_by_seed():
    drawn = [logit_changes.drawn_places(rows(), 200, 3, 10, seed) for seed in (0, 0, 1)]
    assert drawn[0].positions.min() == 3 and drawn[0].positions.max() == 32 - 10
    assert torch.equal(drawn[0].positions, drawn[1].positions)
    assert not torch.equal(drawn[0].positions, drawn[2].positions)
    assert (drawn[0].positions.diff() >= 0).all()
    assert drawn[0].until(10).rows.shape == (200, 32) and drawn[0].split(50)[0].until(10).rows.shape[1] < 25
    with pytest.raises(UserError, match="a span of 30 tokens does not fit"):
        logit_changes.drawn_places(rows(), 5, 3, 30, 0)


@pytest.fixture
def subject_and_site(small_subject):
    return small_subject, small_subject.site("resid_post", 0)


def test_one_ablation_is_as_the_whole_model_computes_it(subject_and_site):
    subject, site = subject_and_site
    places, span = Places(rows(3), torch.tensor([4, 20, 11])), 6
    removed = torch.randn(3, 2, site.d_in, generator=torch.Generator().manual_seed(3))
    intervention = subject.intervene(places.rows, site)
    with torch.inference_mode():
        clean = intervention.onwards(intervention.activations)[0]
        fast = logit_changes.changes(intervention, clean, places, removed, span, subject.unembedding)
    for n in range(2):
        for b, position in enumerate(places.positions.tolist()):

            def ablated(x, b=b, position=position, n=n):
                x = x.clone()
                x[b, position] -= removed[b, n]
                return x

            plain = subject.logits(places.rows, site, ablated) - subject.logits(places.rows)
            torch.testing.assert_close(fast[n, b], plain[b, position : position + span].detach(), atol=1e-4, rtol=1e-3)
            assert plain[b, :position].abs().max() < 1e-4  # nothing before the token changes


def test_contributions_sum_to_the_reconstruction(subject_and_site):
    subject, site = subject_and_site
    made = build("topk", site.d_in, 48, (Member(0, 6),), per_token=True)
    x = subject.activations(rows(2), site)[:, 3]
    parts = logit_changes._contributions(made, x, 48, torch.Generator().manual_seed(0))
    z, _, spread = made.prepare(x)
    expected = (made.reconstruct(z)[0] - made.b_dec[0]) * spread
    torch.testing.assert_close(parts.sum(1), expected.detach(), atol=1e-5, rtol=1e-4)
    assert (parts.abs().sum(2) > 0).sum(1).tolist() == [6, 6]


def test_channels_are_set_to_zero_one_at_a_time():
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    channels = logit_changes._channels(x, 3, torch.Generator().manual_seed(1))
    assert ((channels != 0).sum(2) == 1).all()
    left = x[:, None] - channels
    assert ((left == 0).sum(2) == 1).all() and len({tuple(one) for one in (channels != 0).nonzero().tolist()}) == 15


def test_every_sae_is_measured_at_the_tokens_of_its_seed(subject_and_site):
    subject, site = subject_and_site
    runs = [(seed, k) for k in (3.0, 6.0) for seed in (0, 1)]
    saes = [build("topk", site.d_in, 48, (Member(s, k),), per_token=True) for s, k in runs]
    table = pd.DataFrame([{"method": "topk", "seed": s, "sparsity": k} for s, k in runs])
    effects = logit_changes.measured(table, saes, subject, site, rows(), 1, 10, 4, 8)
    assert len(effects) == 4 * 4 and set(effects.removed) == {LATENT, RANDOM, ELSEWHERE, CHANNEL}
    few = effects[(effects.sparsity == 3.0) & (effects.removed == LATENT)]
    assert (few.ablations == 30).all() and (effects[effects.sparsity == 6.0].ablations == 40).all()
    channels = effects[effects.removed == CHANNEL].pivot(index="seed", columns="sparsity", values="density")
    assert channels[3.0].tolist() == channels[6.0].tolist() and channels[3.0][0] != channels[3.0][1]
    sizes = effects.pivot(index=["seed", "sparsity"], columns="removed", values="size")
    assert sizes[LATENT].to_numpy() == pytest.approx(sizes[RANDOM].to_numpy(), rel=1e-4)
    assert effects.own_share.between(0, 1).all() and effects.density.between(1 / (300 * 8), 1).all()
    again = logit_changes.measured(table, saes, subject, site, rows(), 1, 10, 4, 8)
    pd.testing.assert_frame_equal(effects, again)


def test_latents_that_are_random_directions_show_no_order(subject_and_site):
    """The null: directions of an untrained SAE are random, so nothing tells them from those of the control."""
    subject, site = subject_and_site
    made = build("topk", site.d_in, 48, (Member(0, 6),), per_token=True)
    table = pd.DataFrame([{"method": "topk", "seed": 0, "sparsity": 6.0}])
    effects = logit_changes.measured(table, [made], subject, site, rows(), 1, 60, 4, 8)
    means = effects.set_index("removed").density
    assert abs(math.log(means[RANDOM] / means[LATENT])) < 0.1


def planted(densities, seeds=3):
    lines = [
        {
            "method": "topk", "seed": seed, "sparsity": k, "removed": removed,
            "density": density * (1.0 if removed == LATENT else 5.0) * (1 + 0.01 * seed),
        }
        for seed in range(seeds)
        for k, density in densities.items()
        for removed in (LATENT, CHANNEL)
    ]  # fmt: skip
    return pd.DataFrame(lines)


def test_planted_order_is_read_back_at_a_joint_level():
    contrasts = logit_changes.order(planted({8.0: 0.1, 16.0: 0.2}))
    assert [one.mean for one in contrasts] == pytest.approx([math.log(5.0)] * 2) and contrasts[0].n == 3
    assert logit_changes.log_ratios(planted({8.0: 0.1}), LATENT).to_numpy() == pytest.approx(0.0)
    assert joint_level(2) == 0.975


def test_planted_minimum_over_k_is_read_back():
    falls, rises = logit_changes.by_k(planted({8.0: 0.3, 16.0: 0.1, 32.0: 0.2}))
    assert falls.mean == pytest.approx(0.2, rel=0.02) and rises.mean == pytest.approx(0.1, rel=0.02)
    falls, rises = logit_changes.by_k(planted({8.0: 0.1, 16.0: 0.2, 32.0: 0.3}))
    assert falls.mean == 0.0 and rises.mean > 0.19
    assert logit_changes.by_k(planted({8.0: 0.1, 16.0: 0.2}, seeds=1))[0].n == 0


def test_choice_of_the_sparsest_k_brings_no_difference_with_it():
    generator = torch.Generator().manual_seed(0)
    means = []
    for _ in range(200):
        draws = 0.1 + 0.01 * torch.randn(3, 4, generator=generator)
        table = pd.DataFrame(
            [
                {"seed": s, "sparsity": float(k), "removed": LATENT, "density": float(draws[s, k])}
                for s in range(3)
                for k in range(4)
            ]
        )
        means.append(logit_changes.by_k(table)[0].mean)
    # Were the sparsest chosen on the same seed, the mean would be about one standard deviation, 0.01.
    assert abs(sum(means) / len(means)) < 0.002
