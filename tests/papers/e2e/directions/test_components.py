"""Principal directions: planted groups, correlations and effects are read back."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.papers.e2e.directions import components
from saebook.sae.base import Member
from saebook.sae.registry import build


def planted(rows=60, width=24, apart=8.0, seed=0):
    """Component values [N, T] with the three groups `apart` at unit spread, and their labels."""
    generator = np.random.default_rng(seed)
    tokens = torch.from_numpy(generator.integers(1, 9, (rows, width)))
    tokens[:, 7] = 0  # the end of a text
    tokens[:5, 0] = 0  # a row that begins with one: position 0 all the same
    labels = components.groups(tokens, 0)
    return np.array([2 * apart, apart, 0.0])[labels] + generator.standard_normal((rows, width)), labels


def test_groups_put_position_zero_first():
    _, labels = planted()
    assert (labels[:, 0] == 0).all() and (labels[:, 7] == 1).all() and (labels[:, 1:7] == 2).all()


def test_separation_is_the_least_distance_in_spreads_within_groups():
    values, labels = planted()
    read = components.separation(values, labels)
    assert read.mean == pytest.approx(8.0, rel=0.06) and read.low < 8.0 < read.high and read.n == 60
    shuffled = np.random.default_rng(1).permutation(labels.ravel()).reshape(labels.shape)
    assert components.separation(values, shuffled).high < 1.0
    assert math.isnan(components.separation(values, np.minimum(labels, 1)).mean)


def test_interval_over_rows_is_that_of_a_mean():
    values = np.random.default_rng(0).standard_normal(200)
    read = components.over_rows(lambda chosen: float(values[chosen].mean()), 200)
    half = 1.97 * values.std(ddof=1) / math.sqrt(200)
    assert read.mean == pytest.approx(values.mean()) and read.high - read.mean == pytest.approx(half, rel=0.08)
    assert components.over_rows(lambda chosen: 1.0, 1).low == -math.inf


def test_first_direction_is_the_one_that_was_planted():
    generator = torch.Generator().manual_seed(0)
    along = torch.nn.functional.normalize(torch.randn(16, generator=generator), dim=0)
    x = torch.randn(20, 30, 16, generator=generator) + (5 * torch.randn(20, 30, 1, generator=generator) + 9) * along
    directions, shares = components.principal_directions(x, 3)
    assert float(directions[0] @ along) > 0.99  # and not its opposite: the mean component is positive
    assert torch.allclose(directions @ directions.T, torch.eye(3), atol=1e-5)
    assert shares[0] == pytest.approx(26 / 41, rel=0.15) and shares[1] < 0.1


def test_kept_reads_correlations_along_a_direction(small_subject):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 20, 32, generator=generator)
    sae = build("normalised_relu", 32, 64, (Member(0, 1.0),))
    with torch.no_grad():  # x = relu(x) - relu(-x): every direction kept, but the first is thrown away
        sae.W_enc[0] = torch.cat([torch.eye(32), -torch.eye(32)], 1)
        sae.W_dec[0] = torch.cat([torch.eye(32), -torch.eye(32)])
        sae.b_enc.zero_()
        sae.W_enc[0, 0, :] = 0.0
    table = pd.DataFrame([{"method": "e2e", "seed": 3}])
    labels = components.groups(torch.zeros(12, 20, dtype=torch.long) + 5, 0)
    kept = components.kept(table, [sae], x, torch.eye(32)[:3], labels).set_index("direction")
    assert math.isnan(kept.correlation[0])
    assert kept.correlation[1:].tolist() == pytest.approx([1.0, 1.0]) and kept.correlation_0[1] == pytest.approx(1.0)
    assert kept.seed.tolist() == [3, 3, 3]


def test_exchanging_a_component_is_what_a_plain_pass_says(small_subject):
    site = small_subject.site("resid_pre", 1)
    rows = torch.randint(300, (5, 16), generator=torch.Generator().manual_seed(2))
    directions = torch.eye(32)[:4]
    same = components.resampled_kl(small_subject, site, rows, directions, shuffled=False)
    assert np.abs(same).max() < 1e-5
    kl = components.resampled_kl(small_subject, site, rows, directions, seed=4)
    x = components.activations(small_subject, site, rows)
    order = torch.randperm(75, generator=torch.Generator().manual_seed(4))
    new = x.clone()
    new[:, 1:, 2] = x[:, 1:, 2].flatten()[order].view(5, 15)
    old, moved = (small_subject.logits(rows, site, lambda _, value=value: value).log_softmax(-1) for value in (x, new))
    plain = (old.exp() * (old - moved)).sum(-1)[:, 1:].mean(1)
    assert kl[:, 2] == pytest.approx(plain.numpy(), rel=1e-3, abs=1e-6) and kl.min() > 0


def test_share_of_a_direction_is_over_the_median_one():
    kl = np.ones((40, 5)) * np.random.default_rng(0).uniform(0.9, 1.1, (40, 1))
    kl[:, 0] *= 0.25
    read = components.kl_share(kl)
    assert read.mean == pytest.approx(0.25) and read.low <= 0.25 <= read.high < 1.0 and read.n == 40


def test_what_is_kept_is_compared_with_an_order_seed_by_seed():
    rows = [{"seed": s, "direction": k, "correlation": sign * k} for s, sign in ((0, 1), (1, -1)) for k in (2, 0, 1)]
    assert components.followed(pd.DataFrame(rows), np.exp([1.0, 2.0, 3.0])) == pytest.approx([1.0, -1.0])


def test_random_directions_are_unit_and_the_same_again():
    drawn = components.random_directions(5, torch.eye(16))
    assert drawn.norm(dim=1).tolist() == pytest.approx([1.0] * 5)
    assert torch.equal(drawn, components.random_directions(5, torch.eye(16)))
    assert float((drawn @ drawn.T - torch.eye(5)).abs().max()) < 0.9
