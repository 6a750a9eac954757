"""Codes at another L0: thresholds keep what they should, and planted differences are read back."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.evaluation import metrics
from saebook.papers.topk import progressive
from saebook.papers.topk.progressive import BLIND, JUMPRELU, NMSE, TOPK
from saebook.sae.base import Member
from saebook.sae.registry import build

D, M, B = 12, 40, 300


def sae(architecture, sparsity):
    made = build(architecture, D, M, (Member(0, sparsity),))
    made.b_enc.data += 0.2 * torch.randn(1, M, generator=torch.Generator().manual_seed(3))
    made.b_dec.data += 0.1
    return made


def tokens():
    return torch.randn(B, D, generator=torch.Generator().manual_seed(5)) + 0.3


@pytest.mark.parametrize(("architecture", "sparsity"), [("topk", 8), ("multi_topk", 8), ("relu", 1.0)])
def test_k_of_training_gives_the_saes_own_code(architecture, sparsity):
    made, x = sae(architecture, sparsity), tokens()
    pre = progressive.pre_activations(made, x)
    k = 8 if architecture != "relu" else M
    code = progressive.above(pre, progressive.token_thresholds(pre, [k])[k])
    assert torch.allclose(code, made.encode(x)[0], atol=1e-6) and torch.equal(code > 0, made.encode(x)[0] > 0)


def test_token_thresholds_keep_the_k_largest():
    made, x = sae("topk", 8), tokens()
    pre = progressive.pre_activations(made, x)
    for k, theta in progressive.token_thresholds(pre, [2, 5, M]).items():
        values, latents = pre.topk(k)
        expected = torch.zeros_like(pre).scatter(1, latents, values.relu())
        assert torch.equal(progressive.above(pre, theta), expected), k


def test_fixed_thresholds_give_the_wanted_l0_and_fewer_where_fewer_are_positive():
    pre = progressive.pre_activations(sae("topk", 8), tokens())
    thresholds = progressive.fixed_thresholds(pre, [1, 4, 9, M])
    for l0 in (1, 4, 9):
        kept = progressive.above(pre, thresholds[l0])
        assert float((kept > 0).float().sum(1).mean()) == l0
        assert kept[kept > 0].min() > pre[(pre > 0) & (kept == 0)].max()
    assert thresholds[M] == 0 and (progressive.above(pre, 0.0) > 0).sum() == (pre > 0).sum() < M * B


def test_blind_codes_are_parts_of_the_saes_own():
    made, x = sae("topk", 8), tokens()
    pre, own = progressive.pre_activations(made, x), made.encode(x)[0]
    codes = dict(progressive._codes(made, pre, [3, 8], {3: 0.5, 8: 0.1}, torch.Generator().manual_seed(0)))
    assert set(codes) == {(TOPK, 3), (TOPK, 8), (JUMPRELU, 3), (JUMPRELU, 8), (BLIND, 3)}
    blind = codes[BLIND, 3]
    assert torch.equal(blind[blind > 0], own[blind > 0]) and int((blind > 0).sum(1).max()) == 3
    assert blind.sum() < codes[TOPK, 3].sum()


def test_measured_errors_are_those_of_metrics_measure(small_subject):
    site, lines, saes = small_subject.site("resid_post", 1), [], []
    for architecture, sparsity in (("topk", 6), ("multi_topk", 6), ("relu", 1.0)):
        made = build(architecture, site.d_in, 48, (Member(0, sparsity),), per_token=True)
        made.b_dec.data += 0.3
        saes.append(made)
        lines.append({"method": architecture, "seed": 0, "sparsity": sparsity, "l0": 6.0})
    rows = torch.randint(300, (40, 32), generator=torch.Generator().manual_seed(2))
    measured = progressive.measured(pd.DataFrame(lines), saes, small_subject, site, rows[:20], rows[20:], 1, [2, 6, 48])
    measured = measured.set_index(["method", "by", "wanted"])
    for made, own in zip(saes, (6, 6, 48), strict=True):
        expected = metrics.measure([made], small_subject, site, rows[:20], 1)[0][0]
        line = measured.loc[made.architecture, TOPK, own]
        assert line[NMSE] == pytest.approx(expected["normalised_mse"], rel=1e-4)
        assert line.l0 == pytest.approx(expected["l0"], rel=1e-4) and line.own_l0 == 6.0
        assert measured.loc[made.architecture, JUMPRELU, 2].l0 == pytest.approx(2, rel=0.2)
        assert measured.loc[made.architecture, JUMPRELU, 48][NMSE] == pytest.approx(
            measured.loc[made.architecture, TOPK, 48][NMSE], rel=1e-6
        )
    assert measured.loc["topk", BLIND, 2][NMSE] > measured.loc["topk", TOPK, 2][NMSE]
    assert ("relu", BLIND, 2) not in measured.index


def curves(wider=0.5, price=1.02, jump=1.1, blind=1.5, seeds=3):
    """Codes of TopK whose error falls to that of training and no further, and of Multi-TopK, whose error falls on."""
    rows = []
    for seed in range(seeds):
        for k in (4.0, 8.0, 16.0):
            for wanted in (2, 4, 8, 16, 32, 64):
                error = 1 / min(wanted, k)
                for method, factor in (("topk", 1.0), ("multi_topk", wider if wanted > k else price)):
                    run = {"method": method, "seed": seed, "sparsity": k, "own_l0": k, "wanted": wanted}
                    rows.append(run | {"by": TOPK, "l0": float(wanted), NMSE: factor * error})
                    rows.append(run | {"by": JUMPRELU, "l0": wanted * 1.01, NMSE: factor * error * jump})
                    if wanted < k:
                        rows.append(run | {"by": BLIND, "l0": float(wanted), NMSE: factor * error * blind})
    return pd.DataFrame(rows)


def test_planted_price_and_gain_are_read_back():
    codes = curves()
    assert progressive.at_multiple(codes, "multi_topk", "topk", 4) == pytest.approx([0.5] * 3)
    assert progressive.at_multiple(codes, "multi_topk", "topk", 1) == pytest.approx([1.02] * 3)
    by_k = progressive.by_trained_k(codes, "multi_topk", "topk", 4)
    assert by_k.index.tolist() == [4.0, 8.0, 16.0] and by_k.tolist() == pytest.approx([0.5] * 3)
    assert progressive.over_trained_there(codes, "topk", 4) == pytest.approx([4.0] * 3)
    assert progressive.over_trained_there(codes, "multi_topk", 4) == pytest.approx([2.0] * 3)


def test_codes_are_compared_on_their_own_side_of_the_l0_of_training():
    codes = curves()
    below = progressive.against_topk(codes, "topk", JUMPRELU)
    assert below == pytest.approx(
        [1.1 * 1.01] * 3, rel=1e-2
    )  # the error is one over L0, and its L0 is a hundredth higher
    assert progressive.against_topk(codes, "topk", BLIND) == pytest.approx([1.5] * 3)
    worse = codes.assign(**{NMSE: np.where((codes.by == JUMPRELU) & (codes.wanted > codes.own_l0), 9.0, codes[NMSE])})
    assert progressive.against_topk(worse, "topk", JUMPRELU) == below
    assert min(progressive.against_topk(worse, "topk", JUMPRELU, below=False)) > 9
    one = codes[codes.wanted == 2]
    assert all(math.isnan(value) for value in progressive.against_topk(one, "topk", JUMPRELU))
