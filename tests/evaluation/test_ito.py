"""Gradient pursuit against a textbook twin, against what must hold of any code, and against exact least squares."""

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.common.errors import UserError
from saebook.evaluation import ito, metrics
from saebook.sae.base import Member
from saebook.sae.registry import build


def unit(*shape, seed=0):
    directions = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return directions / directions.norm(dim=-1, keepdim=True)


def orthonormal(size, seed=0):
    turn, _ = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(seed)).double())
    return turn


def textbook(x, directions, steps, shortened=True):
    """Weights [B, M] after every step, over all latents, a token at a time; and whether a step ever had to be clipped."""
    codes, clipped = torch.zeros(steps, len(x), len(directions), dtype=x.dtype), torch.zeros(len(x), dtype=torch.bool)
    for b, one in enumerate(x):
        alpha, chosen = torch.zeros(len(directions), dtype=x.dtype), set()
        for step in range(steps):
            residual = one - alpha @ directions
            agreement = directions @ residual
            chosen.add(int(agreement.argmax()))
            gradient = torch.zeros_like(alpha)
            for i in chosen:
                gradient[i] = agreement[i]
            towards = gradient @ directions
            aim = alpha + (towards @ residual) / (towards @ towards) * gradient
            moved = aim.clamp_min(0.0)
            clipped[b] |= bool((aim < 0).any())
            if shortened and not torch.equal(moved, aim):
                way = (moved - alpha) @ directions
                share = float((way @ residual) / (way @ way)) if bool(way.any()) else 0.0
                moved = alpha + min(max(share, 0.0), 1.0) * (moved - alpha)
            alpha = moved
            codes[step, b] = alpha
    return codes, clipped


def crowded():
    """Directions [80, 8] that lean one way, and tokens [100, 8]: some steps of pursuit leave the orthant here."""
    generator = torch.Generator().manual_seed(3)
    directions = torch.randn(80, 8, generator=generator).double() + 5.0 * 8**-0.5
    x = 4.0 * torch.randn(100, 8, generator=generator).double() + 5.0
    return directions / directions.norm(dim=1, keepdim=True), x


CROWDED = crowded()


def squared_errors(x, weights, directions):
    return (x - weights @ directions).square().sum(-1)


@pytest.mark.parametrize("together", [7 * 80, 10**6])
def test_pursuit_equals_a_textbook_implementation(monkeypatch, together):
    monkeypatch.setitem(ito._CELLS, "cpu", together)
    directions, x = CROWDED
    expected, clipped = textbook(x, directions, 12)
    assert 10 < clipped.sum() < 50
    codes = ito.pursuit(x, directions, range(1, 13))
    for step, code in codes.items():
        assert torch.allclose(code.dense(80), expected[step - 1], atol=1e-10)
        assert torch.allclose(code.xhat, expected[step - 1] @ directions, atol=1e-10)
    assert any(len(set(support.tolist())) < 12 for support in codes[12].support)


def test_codes_for_several_targets_equal_separate_runs():
    directions, x = CROWDED
    together = ito.pursuit(x, directions, [2, 5, 9])
    for target in (2, 5, 9):
        alone = ito.pursuit(x, directions, [target])[target]
        assert torch.equal(alone.dense(80), together[target].dense(80)) and alone.support.shape == (100, target)


def test_codes_are_nonnegative_sparse_and_no_step_adds_error():
    directions, x = CROWDED
    codes = ito.pursuit(x, directions, range(1, 21))
    errors = torch.stack([(x - code.xhat).square().sum(1) for code in codes.values()])
    assert (errors.diff(dim=0) <= 1e-12).all() and (errors[0] < x.square().sum(1)).any()
    for target, code in codes.items():
        dense = code.dense(80)
        assert (dense >= 0).all() and ((dense > 0).sum(1) <= target).all()
        assert torch.allclose((code.weights > 0).sum(1), (dense > 0).sum(1))


def test_shortened_step_is_needed_where_clipping_adds_error():
    directions, x = CROWDED
    plain, clipped = textbook(x, directions, 12, shortened=False)
    errors = squared_errors(x, plain, directions)
    assert errors.diff(dim=0).max() > 1e-3  # what the shortened step is for
    ours = ito.pursuit(x, directions, [12])[12].dense(80)
    assert torch.allclose(ours[~clipped], plain[-1][~clipped], atol=1e-10)
    assert squared_errors(x, ours, directions).mean() < errors[-1].mean()


def test_planted_code_is_recovered_in_an_orthonormal_dictionary():
    generator, directions = torch.Generator().manual_seed(0), orthonormal(24)
    on = torch.rand(50, 24, generator=generator).argsort(1) < 5
    planted = on * (0.1 + torch.rand(50, 24, generator=generator).double())
    codes = ito.pursuit(planted @ directions, directions, [3, 5, 8])
    assert torch.allclose(codes[5].dense(24), planted) and torch.allclose(codes[8].dense(24), planted)
    # With fewer it keeps the largest, which is the optimum here.
    largest = planted * (planted >= planted.sort(1, descending=True).values[:, 2:3])
    assert torch.allclose(codes[3].dense(24), largest)


def test_excess_error_against_exact_least_squares():
    directions = orthonormal(24)
    x = torch.rand(30, 24, generator=torch.Generator().manual_seed(1)).double() @ directions
    code = ito.pursuit(x, directions, [6])[6]
    assert ito.excess_error(x, directions, code) == pytest.approx(0.0, abs=1e-9)
    weak = ito.Code(code.support, 0.8 * code.weights, 0.8 * code.xhat)
    assert ito.excess_error(x, directions, weak) > 0.05
    coherent, y = unit(200, 24, seed=5), unit(50, 24, seed=6)
    for target, pursued in ito.pursuit(y, coherent, [1, 4, 8]).items():
        assert -1e-9 < ito.excess_error(y, coherent, pursued) < 0.02 * target


def test_zero_activations_and_unhelpful_directions_get_zero_codes():
    directions = orthonormal(8)
    x = torch.stack([torch.zeros(8).double(), -directions.sum(0), directions[3]])
    code = ito.pursuit(x, directions, [4])[4]
    assert torch.equal(code.weights[:2], torch.zeros(2, 4).double()) and torch.isfinite(code.xhat).all()
    assert torch.allclose(code.xhat[2], x[2])


@pytest.mark.parametrize("l0s", [[], [0, 3], [9]])
def test_impossible_targets_are_refused(l0s):
    with pytest.raises(UserError, match="1 to 8 latents"):
        ito.pursuit(unit(4, 8), orthonormal(8), l0s)


# On a model --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def sweep(small_subject):
    """The SAEs of a sweep, two architectures of two seeds, with biases; and the table that names them."""
    site, lines, saes = small_subject.site("resid_post", 1), [], []
    for kind, d_sae in (("gated", 48), ("relu", 72)):
        for seed in (0, 1):
            sae = build(kind, site.d_in, d_sae, (Member(seed, 1.0),))
            sae.b_dec.data += 0.3
            saes.append(sae)
            lines.append({"method": kind, "seed": seed, "sparsity": 1.0, "l0": 9.0, "key": f"{kind}{seed}"})
    rows = torch.randint(300, (20, 32), generator=torch.Generator().manual_seed(2))
    return pd.DataFrame(lines), saes, site, rows


def test_encoder_rows_equal_metrics_measure(small_subject, sweep):
    table, saes, site, rows = sweep
    measured = ito.measured(table, saes, small_subject, site, rows, 1, [2, 5]).set_index(["method", "seed", "target"])
    for sae, row in zip(saes, table.itertuples(), strict=True):
        expected = metrics.measure([sae], small_subject, site, rows, 1)[0][0]
        line = measured.loc[row.method, row.seed, 0]
        assert line.by == ito.ENCODER and line.own_l0 == 9.0 and np.isnan(line.excess_error)
        for name in ("l0", "normalised_mse", "loss_recovered"):
            assert line[name] == pytest.approx(expected[name], rel=1e-4), name
        two, five = (measured.loc[row.method, row.seed, target] for target in (2, 5))
        assert two.l0 <= 2 and five.l0 <= 5 and five.normalised_mse < two.normalised_mse
        assert -1e-4 < two.excess_error < 0.2


def test_complete_dictionary_recovers_everything(small_subject, sweep):
    table, saes, site, rows = sweep

    def both_ways(sae):
        axes = torch.eye(site.d_in)
        return torch.cat([axes, -axes])

    measured = ito.measured(table[:1], saes[:1], small_subject, site, rows, 1, [4, 32], both_ways).set_index("target")
    assert measured.normalised_mse[32] < 1e-6 and measured.loss_recovered[32] == pytest.approx(1.0, abs=1e-3)
    assert measured.normalised_mse[4] > 0.01


def test_random_and_rotated_controls_are_unit_directions(sweep):
    sae = sweep[1][2]
    own, drawn, rotated = ito.trained(sae), ito.drawn(sae), ito.rotated(sae)
    assert own.shape == drawn.shape == rotated.shape
    assert torch.allclose(drawn.norm(dim=1), torch.ones(72)) and torch.equal(drawn, ito.drawn(sae))
    assert torch.allclose(rotated @ rotated.T, own @ own.T, atol=1e-5)
    assert (torch.nn.functional.cosine_similarity(rotated, own) < 0.9).all()


# What a chapter reads off --------------------------------------------------------------------------------------------------


def planted(gated_gap=2.0, relu_gap=3.0, lift=0.02, seeds=3):
    """Encoders and optimised codes whose loss recovered is linear in log L0, a planted factor of L0 apart."""
    rows = []
    for kind, factor, base, own in (("gated", gated_gap, lift, (5, 20, 80)), ("relu", relu_gap, 0.0, (6, 30, 120))):
        for seed in range(seeds):
            for sparsity, own_l0 in zip((4.0, 1.0, 0.25), own, strict=True):
                common = {"method": kind, "seed": seed, "sparsity": sparsity, "own_l0": own_l0}
                worse = {4.0: 0.05, 1.0: 0.0, 0.25: 0.02}[sparsity]
                for target in (0, 3, 10, 30):
                    l0 = target or own_l0
                    quality = base + 0.5 + 0.1 * np.log(l0 if target else l0 / factor) - (worse if target else 0.0)
                    of_code = {
                        "by": ito.ITO if target else ito.ENCODER, "target": target, "l0": l0, "loss_recovered": quality,
                        "normalised_mse": 1 - quality, "excess_error": 0.1,
                    }  # fmt: skip
                    rows.append(common | of_code)
    return pd.DataFrame(rows)


def test_gaps_gains_and_best_decoders_are_read_back():
    table = planted()
    assert ito.gains(table, "gated", "relu") == pytest.approx([0.02] * 3)
    assert ito.gains(table, "gated", "gated", table) == pytest.approx([0.0] * 3)
    assert set(ito.best_decoders(table).sparsity) == {1.0}
    assert ito.own_l0_ratios(table, "relu", "gated") == pytest.approx([1.5] * 3)
    assert ito.gaps(table, "gated").to_list() == pytest.approx([np.log(2.0)] * 3)
    assert ito.gap_ratios(table, "gated", "relu") == pytest.approx([np.log(2) / np.log(3)] * 3)
    assert all(ratio < 1 for ratio in ito.error_ratios(table, "relu"))
    assert len(ito.frontiers(table)) == 2 * 3 * (3 + 3)
    assert ito.excess_per_seed(table, "gated") == pytest.approx([0.1] * 3)


def test_baseline_without_a_gap_gives_no_ratio():
    table = planted(relu_gap=0.8)
    assert (ito.gaps(table, "relu") < 0).all() and ito.gap_ratios(table, "gated", "relu") == []
    assert ito.finite_interval([]).n == 0
    apart = table.assign(loss_recovered=table.loss_recovered + 5.0 * (table.by == ito.ITO))
    assert ito.gaps(apart, "gated").isna().all() and ito.finite_interval(ito.gaps(apart, "gated")).n == 0
