"""Simulated latents: exact ones change nothing, the losses are those of the metrics, and planted tables are read back."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.evaluation import metrics
from saebook.evaluation.explanations.pruning import Settings
from saebook.papers.topk.token_patterns import simulated
from saebook.papers.topk.token_patterns.explained import Text
from saebook.papers.topk.token_patterns.simulated import BY_TOKEN, CLEAN, MEAN, OTHER, OWN, SIMULATED
from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.text import ngrams
from saebook.training.config import Data


@pytest.fixture(scope="module")
def texts(small_subject):
    site = small_subject.site("resid_post", 0)
    rows = torch.randint(1, 40, (44, 32), generator=torch.Generator().manual_seed(0))
    return tuple(Text.read(small_subject, site, part, 1) for part in rows.split([32, 12]))


@pytest.fixture(scope="module")
def sae():
    return build("topk", 32, 24, (Member(0, 3.0),), per_token=True)


@pytest.fixture(scope="module")
def losses(texts, sae):
    table = pd.DataFrame([{"method": "topk", "d_sae": 24, "seed": 0, "sparsity": 3.0, "l0": 3.0}])
    return simulated.measured(table, [sae], texts[0], texts[1], Settings(4, 8, 2)).set_index("by")


def test_saes_own_loss_and_error_are_those_of_the_metrics(losses, texts, sae, small_subject):
    (expected,) = metrics.measure([sae], small_subject, texts[1].site, texts[1].rows, 1)[0]
    assert losses.ce[OWN] == pytest.approx(expected["ce"], rel=1e-5)
    assert losses.ce_increase[OWN] == pytest.approx(expected["ce"] - expected["ce_clean"], abs=1e-5)
    assert losses.normalised_mse[OWN] == pytest.approx(expected["normalised_mse"], rel=1e-4)
    assert losses.simulated_l0[OWN] == pytest.approx(expected["l0"])


def test_own_patterns_leave_less_error_than_those_of_another_latent(losses):
    assert losses.normalised_mse[SIMULATED] < losses.normalised_mse[OTHER]
    assert losses.simulated_l0[SIMULATED] > 0


def test_exact_predictions_are_the_sae_itself(texts, sae):
    class Exact:
        def predict(self, rows):
            x = texts[1].subject.activations(rows, texts[1].site)
            return sae.encode(sae.prepare(x.flatten(0, 1))[0])[0].detach().view(*rows.shape, -1)

    own, exact, other = simulated._sums(Exact(), [torch.ones(24)] * 2, sae, texts[1])  # type: ignore
    assert exact.tolist() == pytest.approx(own.tolist(), rel=1e-4)
    assert other[1] > 1.2 * own[1]


def test_latent_takes_the_predictions_of_its_neighbour_with_their_own_scale(texts, sae):
    class Turned:
        """The activations of the next latent, which the control then gives to that latent."""

        def predict(self, rows):
            x = texts[1].subject.activations(rows, texts[1].site)
            return sae.encode(sae.prepare(x.flatten(0, 1))[0])[0].detach().view(*rows.shape, -1).roll(-1, -1)

    own, _, back = simulated._sums(Turned(), [torch.ones(24)] * 2, sae, texts[1])  # type: ignore
    assert back.tolist() == pytest.approx(own.tolist(), rel=1e-4)


def test_baselines_know_the_mean_and_the_token(texts, sae):
    levels = simulated.baselines(texts[1], texts[1], sae)
    z = sae.prepare(texts[1].x[:, 1:].flatten(0, 1))[0]
    ids = texts[1].rows[:, 1:].flatten()
    within = sum(float((z[ids == token] - z[ids == token].mean(0)).square().sum()) for token in ids.unique())
    variance = float((z - z.mean(0)).square().sum())
    assert levels[CLEAN]["ce_increase"] == 0 and levels[CLEAN]["normalised_mse"] == 0
    assert levels[MEAN]["normalised_mse"] == pytest.approx(1.0, rel=1e-4)
    assert levels[BY_TOKEN]["normalised_mse"] == pytest.approx(within / variance, rel=1e-3)
    clean = texts[1].subject.loss(texts[1].rows)[:, 1:].mean()
    assert levels[CLEAN]["ce"] == pytest.approx(float(clean), rel=1e-5)


def test_unseen_token_has_the_mean_activation(texts, sae):
    none = Text.read(texts[0].subject, texts[0].site, texts[0].rows.clamp(max=3), 1)
    levels = simulated.baselines(none, Text.read(none.subject, none.site, texts[1].rows.clamp(min=10), 1), sae)
    assert levels[BY_TOKEN] == pytest.approx(levels[MEAN])


def test_bigrams_are_counted_on_training_text_and_scored_on_the_same_tokens(small_subject, text_folder):
    data = Data(source=f"folder:{text_folder}")
    rows = small_subject.rows(data.source, "validation")[:6].astype(np.int64)
    other = Text(small_subject, small_subject.site("resid_post", 0), torch.from_numpy(rows), torch.zeros(0), 1)
    train = np.asarray(small_subject.rows(data.source, "train"))
    vocabulary = small_subject.bridge.cfg.d_vocab
    assert simulated.bigrams(data, other) == pytest.approx(ngrams.kneser_ney(train, rows[:, 1:], vocabulary, 2))
    assert simulated.bigrams(data, other) < ngrams.kneser_ney(train, rows[:, 1:], vocabulary, 1)


def planted():
    """Simulated loss that falls with width and rises with k, seed 2 being luckier at one place; ReLU has twice TopK's."""
    rows = []
    for seed in (0, 1, 2):
        for width in (128, 512):
            for k in (8.0, 32.0):
                loss = 2.0 - 0.1 * math.log(width / 128) + 0.2 * math.log(k / 8) + 0.01 * seed
                lucky = -1.0 if (seed, width, k) == (2, 128, 32.0) else 0.0
                for by, factor in ((SIMULATED, 1.0), (OWN, 0.1)):
                    run = {"d_sae": width, "seed": seed, "sparsity": k, "l0": k, "by": by, "simulated_l0": 1.0}
                    rows.append(run | {"method": "topk", "ce_increase": factor * loss, "ce": 3 + factor * loss + lucky})
                    if width == 512:
                        rows.append(run | {"method": "relu", "ce_increase": 2 * factor * loss, "ce": 4 + factor * loss})
    return pd.DataFrame(rows)


def test_planted_slopes_ratios_and_best_are_read_back():
    table = planted()
    assert simulated.slopes(table, "d_sae") == pytest.approx([-0.1] * 3)
    assert simulated.slopes(table, "sparsity") == pytest.approx([0.2] * 3)
    assert simulated.over_relu(table, SIMULATED) == pytest.approx([0.5] * 3)
    best = 5 - 0.1 * math.log(4)
    chosen = simulated.least(table)
    assert chosen[2] == pytest.approx(best + 0.02)  # not the lucky one, which the other seeds do not know of
    assert math.isnan(simulated.least(table[table.seed == 0])[0])
