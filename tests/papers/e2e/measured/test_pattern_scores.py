"""Token patterns of each objective's elements: who is drawn, what is averaged, and what is compared with what."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.evaluation.explanations.explaining import explain
from saebook.evaluation.explanations.pruning import Settings
from saebook.evaluation.explanations.scoring import score
from saebook.papers.e2e.comparison import ALIVE, CE
from saebook.papers.e2e.measured import pattern_scores as scores
from saebook.sae.base import Member
from saebook.sae.registry import build

SETTINGS = Settings(strongest=2, drawn=2, longest=2)


def run(method="local", seed=0, **values):
    return {"method": method, "seed": seed, "sparsity": 1.0, CE: 0.5, "l0": 3.0, ALIVE: 24} | values


@pytest.fixture
def texts():
    rows = torch.randint(300, (12, 16), generator=torch.Generator().manual_seed(2))
    return scores.Texts(rows[:8], rows[8:], SETTINGS, 6)


@pytest.fixture
def saes():
    """The second has four elements that fire, and the third one."""
    saes = [build("normalised_relu", 32, 24, (Member(0, 1.0),)) for _ in range(3)]
    saes[1].b_enc.data[0, 4:] = -1e6
    saes[2].b_enc.data[0, 1:] = -1e6
    saes[2].b_enc.data[0, 0] = 1e3
    return saes


@torch.inference_mode()
def test_elements_that_fire_are_counted_by_hand(small_subject, saes, texts):
    site = small_subject.site("resid_pre", 1)
    x = small_subject.activations(texts.seen, site)
    by_hand = {
        i
        for row in x
        for token in row[scores.SKIP :]
        for i in torch.nonzero(saes[1].encode(saes[1].prepare(token[None])[0])[0][0] > 0).flatten().tolist()
    }
    assert scores.firing(saes[1], x).tolist() == sorted(by_hand) and 0 < len(by_hand) <= 4


def test_means_are_those_of_the_elements_drawn(small_subject, saes, texts):
    site, table = small_subject.site("resid_pre", 1), pd.DataFrame([run(), run(seed=1)])
    made = scores.scores(table, saes[:2], small_subject, site, texts)
    alive = scores.firing(saes[1], small_subject.activations(texts.seen, site))
    assert made.elements.tolist() == [6, len(alive)]
    assert {"f1", "explained", "precision", "recall", "unexplained", "l0", CE} <= set(made)
    at = (small_subject, site, saes[1])
    by_hand = score(explain(*at, alive.tolist(), texts.seen, SETTINGS, 1, 1), *at, texts.other, 1)
    counted = by_hand[by_hand.active + by_hand.predicted > 0]
    assert made.f1[1] == pytest.approx(counted.f1.mean()) and made.explained[1] == pytest.approx(
        counted.explained.mean()
    )


def test_patterns_of_another_element_foretell_less(small_subject, saes, texts):
    site, table = small_subject.site("resid_pre", 1), pd.DataFrame([run()])
    text = scores.Texts(
        texts.seen, texts.seen, SETTINGS, 12
    )  # the text that was explained, where patterns are at their best
    own, other = (scores.scores(table, saes[:1], small_subject, site, text, shift) for shift in (0, 1))
    assert own.explained[0] > other.explained[0] + 0.05


def test_an_sae_without_two_elements_that_fire_is_left_out(small_subject, saes, texts):
    site = small_subject.site("resid_pre", 1)
    made = scores.scores(pd.DataFrame([run(), run(seed=1)]), saes[1:], small_subject, site, texts)
    assert made.seed.tolist() == [0]


def test_shuffled_rows_keep_their_tokens(texts):
    mixed = texts.shuffled()
    assert not torch.equal(mixed.seen, texts.seen) and mixed.other is texts.other
    assert torch.equal(mixed.seen.sort(1).values, texts.seen.sort(1).values)


def test_every_layer_is_explained_at_its_own_site(small_subject, saes, texts):
    sites = [small_subject.site("resid_pre", layer) for layer in (0, 1)]
    table = pd.DataFrame([run(layer=0), run(layer=1), run(layer=1, seed=1)])
    made = scores.scores_by_layer(table, lambda some: [saes[i] for i in some.seed], small_subject, sites, texts)
    alone = scores.scores(table[table.layer == 0], saes[:1], small_subject, sites[0], texts)
    assert made.layer.tolist() == [0, 1, 1] and made.f1[0] == pytest.approx(alone.f1[0])
    control = scores.controls(table, lambda some: [saes[i] for i in some.seed], small_subject, sites, texts)
    own = control[control["patterns of"] == "its own"].reset_index(drop=True)
    assert set(control["patterns of"]) == {"its own", "another element", "shuffled text"}
    pd.testing.assert_frame_equal(own.drop(columns="patterns of"), made)


def test_differences_are_read_off_at_one_l0_and_one_loss():
    """F1 falls with the logarithm of L0 for each method, from levels a known distance apart."""
    distance = {"local": 0.0, "e2e": 0.1, "e2e+ds": -0.05}
    lines = [
        run(method, seed, sparsity=l0, l0=l0 * (1 + 0.1 * i), layer=layer)
        | {CE: 1 / (l0 * (1 + 0.1 * i)), "f1": 0.9 + above + 0.01 * seed - 0.1 * math.log(l0 * (1 + 0.1 * i))}
        for i, (method, above) in enumerate(distance.items())
        for layer in (1, 3)
        for seed in (0, 1, 2)
        for l0 in (4.0, 16.0, 64.0)
        if (method, layer) != ("e2e+ds", 3)
    ]
    made = scores.differences_by_layer(pd.DataFrame(lines), "f1")
    assert len(made) == 2 * (2 + 1)
    for (_, _, words), interval in made.items():
        assert interval.n == 3
        assert np.isclose(interval.mean, distance[words.removesuffix(" minus local")])
