"""Scores of explanations of a sweep's SAEs: planted rates are read back, and a real SAE beats its controls."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.evaluation.explanations.pruning import Settings
from saebook.papers.topk.token_patterns import explained
from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.training.config import Method, TrainConfig


def planted(slope_k=-0.1, slope_width=0.05, ratio=1.5):
    """One row per SAE: F1 linear in log k and log width, recall of TopK `ratio` times ReLU's at every L0."""
    rows = []
    for seed in (0, 1, 2):
        for width in (128, 512):
            for k in (8.0, 32.0):
                f1 = 0.5 + 0.01 * seed + slope_k * math.log(k / 8) + slope_width * math.log(width / 128)
                run = {"d_sae": width, "seed": seed, "sparsity": k, "l0": k, "f1": f1}
                rows.append(run | {"method": "topk", "recall": ratio * 0.1 * math.sqrt(8 / k)})
                if width == 512:
                    rows.append(run | {"method": "relu", "recall": 0.1 * math.sqrt(8 / k)})
    return pd.DataFrame(rows)


def test_planted_ratio_and_slopes_are_read_back():
    assert explained.ratios(planted(), "recall") == pytest.approx([1.5] * 3)
    assert explained.ratios(planted(), "recall", "relu", "topk") == pytest.approx([1 / 1.5] * 3)
    assert explained.slopes(planted(), "sparsity") == pytest.approx([-0.1] * 3)
    assert explained.slopes(planted(), "d_sae") == pytest.approx([0.05] * 3)


def test_latents_without_a_rate_do_not_count_in_its_mean():
    run = {"method": "topk", "d_sae": 8, "seed": 0, "sparsity": 2.0, "l0": 2.0, "unexplained": 0.0, "density": 0.1}
    of_latents = [
        {"active": 10, "predicted": 5, "both": 5, "recall": 0.5, "precision": 1.0, "f1": 2 / 3},
        {"active": 0, "predicted": 5, "both": 0, "recall": np.nan, "precision": 0.0, "f1": 0.0},
        {"active": 0, "predicted": 0, "both": 0, "recall": np.nan, "precision": np.nan, "f1": np.nan},
    ]
    scores = pd.DataFrame([run | latent for latent in of_latents])
    (mean,) = explained.means(scores).to_dict("records")
    assert (mean["recall"], mean["precision"], mean["f1"]) == pytest.approx((0.5, 0.5, 1 / 3))
    (pooled,) = explained.pooled(scores).to_dict("records")
    assert (pooled["recall"], pooled["precision"], pooled["f1"]) == pytest.approx((0.5, 0.5, 0.5))


def test_best_middle_and_worst_are_told_by_f1():
    run = {"method": "topk", "d_sae": 8, "seed": 0, "sparsity": 2.0}
    scores = pd.DataFrame([run | {"latent": i, "f1": f1} for i, f1 in enumerate((0.5, np.nan, 0.1, 0.9))])
    other = scores.assign(seed=1, f1=1.0)
    three = explained.best_middle_worst(pd.concat([other, scores]), pd.DataFrame([run]))
    assert three.latent.tolist() == [3, 0, 2]


@pytest.fixture(scope="module")
def texts(small_subject):
    site = small_subject.site("resid_post", 0)
    rows = torch.randint(1, 40, (80, 32), generator=torch.Generator().manual_seed(0))
    seen, other = (explained.Text.read(small_subject, site, part, 1) for part in rows.split(40))
    return seen, other


def test_own_patterns_beat_those_of_another_latent(small_subject, texts):
    table = pd.DataFrame([{"method": "topk", "d_sae": 24, "seed": seed, "sparsity": 3.0, "l0": 3.0} for seed in (0, 1)])
    saes = [build("topk", 32, 24, (Member(seed, 3.0),), per_token=True) for seed in (0, 1)]
    settings = Settings(4, 8, 2)
    own = explained.measured(table, saes, texts[0], texts[1], settings, 12, above=(0.0, 0.3))
    assert own.groupby(["seed", "above"]).size().tolist() == [12] * 4
    assert own.groupby("seed").latent.apply(set)[0] != own.groupby("seed").latent.apply(set)[1]
    other = explained.measured(table, saes, texts[0], texts[1], settings, 12, shift=1)
    f1 = [explained.means(one[one.above == 0.0]).f1.mean() for one in (own, other)]
    assert f1[0] > 2 * f1[1]


def test_shuffled_text_has_the_same_tokens_in_each_row(texts):
    shuffled = texts[0].shuffled(0)
    assert torch.equal(shuffled.rows.sort(1).values, texts[0].rows.sort(1).values)
    assert not torch.equal(shuffled.rows, texts[0].rows) and not torch.allclose(shuffled.x, texts[0].x)


def test_untrained_saes_are_those_that_training_begins_with(texts):
    method = Method("topk", 24, (2.0, 3.0), TrainConfig(lr=0.01, tokens=512, batch=64), (("per_token", True),))
    table, saes = explained.untrained([method], [0, 1], texts[0])
    assert table.sparsity.tolist() == [2.0, 3.0, 2.0, 3.0] and table.seed.tolist() == [0, 0, 1, 1]
    fresh = build("topk", 32, 24, (Member(1, 3.0),), per_token=True)
    assert torch.equal(saes[3].W_dec, fresh.W_dec) and saes[3].b_dec.any()
