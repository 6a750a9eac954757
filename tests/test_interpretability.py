"""The statistics of a rating study find a planted effect, find none where there is none, and notice swapped labels."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.common.errors import UserError
from saebook.papers.gated.human_study import cards, form, ratings
from saebook.papers.gated.human_study.cards import Card, Context
from saebook.sae.base import Member
from saebook.sae.registry import build

PAIRS, EDGE = 171, 0.27
STUDIES = 2000
CHANCE = 3 * (0.05 * 0.95 / STUDIES) ** 0.5


def study(effect, seed=0, pairs=PAIRS):
    return ratings.made_up(pairs, effect, EDGE, np.random.default_rng(seed))


def test_p_is_that_of_all_signs_tossed():
    """Against the exact null of a small study: every assignment of signs, ranks with zeros as Pratt has them."""
    d = np.array([1, -1, 2, 0, 1, 1, 0, 2, -1, 1, 2, 1])
    ranks = pd.Series(np.abs(d)).rank().to_numpy()[d != 0]
    seen = ranks[d[d != 0] > 0].sum()
    tossed = [(ranks * signs).sum() for signs in itertools.product((0, 1), repeat=len(ranks))]
    assert ratings.p_value(d) == pytest.approx(np.mean(np.array(tossed) >= seen), abs=0.02)
    assert ratings.p_value(np.zeros(5)) == 1.0


def test_the_test_keeps_its_promise_without_an_effect():
    assert ratings.found_share(PAIRS, 0.0, EDGE, STUDIES) <= 0.05 + CHANCE
    assert ratings.found_share(24, 0.0, EDGE, STUDIES, seed=1) <= 0.05 + CHANCE
    # A planted fault: two-sided thinking, the better of both directions, breaks the promise.
    twice = [min(ratings.p_value(d), ratings.p_value(-d)) < 0.05 for d in map(lambda s: study(0, s), range(500))]
    assert np.mean(twice) > 0.07


def test_a_known_effect_is_found_and_swapped_labels_are_noticed():
    assert ratings.found_share(PAIRS, 0.4, EDGE, 200) > 0.99
    d = study(0.4)
    right, swapped = ratings.mean_difference(d), ratings.mean_difference(-d)
    assert right.low < 0.4 < right.high and right.low > 0
    assert swapped.high < 0 and ratings.p_value(-d) > 0.99
    one_in_two = np.where(np.arange(PAIRS) % 2, d, -d)  # a key that is wrong for half of the pairs leaves nothing
    assert ratings.p_value(one_in_two) > 0.05


def test_made_up_raters_have_the_effect_and_spread_they_should():
    d = study(0.13, pairs=200_000)
    assert d.mean() == pytest.approx(0.13, abs=0.01) and set(d) <= {-2, -1, 0, 1, 2}
    none = study(0.0, pairs=200_000)
    assert none.var() == pytest.approx(4 * EDGE, rel=0.02)
    half = 1.645 * (4 * EDGE / PAIRS) ** 0.5
    assert ratings.edge_share(half, PAIRS) == pytest.approx(EDGE, rel=1e-3)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    found = [ratings.mean_difference(study(0.13, seed, 60)) for seed in range(60)]
    assert np.mean([i.low <= 0.13 <= i.high for i in found]) > 0.9 - 3 * (0.09 / 60) ** 0.5


# Ratings from files --------------------------------------------------------------------------------------------------------


@pytest.fixture
def key():
    rows = [[pair, kind] for pair in range(6) for kind in ("gated", "relu")]
    made = pd.DataFrame(rows, columns=["pair", "method"]).sample(frac=1, random_state=0, ignore_index=True)
    made.insert(0, "card", range(1, 13))
    return made


def rated(key, folder, name="rater.csv", **columns):
    given = pd.DataFrame(
        {"card": key.card, "label": key.method.map({"gated": "Yes", "relu": "No"}), "explanation": 'a, "b"'}
    )
    given = given.assign(cards_hash=ratings.commitment(key), **columns)
    given.to_csv(folder / name, index=False)
    return given


def test_ratings_are_read_by_their_key(key, tmp_path):
    given = rated(key, tmp_path)
    assert ratings.differences(tmp_path, key).difference.tolist() == [2.0] * 6
    given.loc[0, "label"] = ""  # a card left open takes its pair out
    given.to_csv(tmp_path / "rater.csv", index=False)
    assert len(ratings.differences(tmp_path, key)) == 5
    swapped = key.assign(method=key.method.map({"gated": "relu", "relu": "gated"}))
    with pytest.raises(UserError, match="other cards"):
        ratings.differences(tmp_path, swapped)


def test_what_are_no_ratings_is_refused(key, tmp_path):
    with pytest.raises(UserError, match="holds no CSV"):
        ratings.differences(tmp_path, key)
    rated(key, tmp_path, label="Perhaps")
    with pytest.raises(UserError, match="'Perhaps'"):
        ratings.differences(tmp_path, key)
    (tmp_path / "rater.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="lack the column card"):
        ratings.differences(tmp_path, key)


# Cards ---------------------------------------------------------------------------------------------------------------------


def test_a_card_shows_where_a_latent_is_strongest(small_subject):
    site = small_subject.site("resid_post", 1)
    rows = torch.randint(0, 300, (6, 32), generator=torch.Generator().manual_seed(0))
    sae = build("relu", site.d_in, 16, (Member(0, 1.0),))
    f = cards.activations(sae, small_subject, site, rows, 1)
    assert f.shape == (6, 31, 16)
    plain = sae.encode(small_subject.activations(rows[2:3], site)[0, 1:])[0]
    assert torch.allclose(f[2], plain, atol=1e-5)
    latent = int(f.flatten(0, 1).amax(0).argmax())
    found = cards.card(sae, latent, f[..., latent], small_subject, site, rows[:, 1:], contexts=3)
    assert found.largest == pytest.approx(float(f[..., latent].max()))
    assert sum(found.counts) == int((f[..., latent] > 0).sum())
    assert max(found.contexts[0].activations) == pytest.approx(found.largest) and len(found.contexts) == 3
    W_U, _ = small_subject.unembedding()
    best = int((sae.W_dec[0, latent] @ W_U).argmax())
    assert found.promoted[0] == small_subject.tokenizer.decode([best])
    neurons = small_subject.site("mlp_post", 1)
    assert cards.promoted(build("relu", neurons.d_in, 16, (Member(0, 1.0),)), 0, small_subject, neurons) == ()


def test_rated_saes_are_those_of_like_l0():
    rows = [["gated", s, seed, l0] for s, l0 in ((0.5, 60.0), (2.0, 20.0), (5.0, 5.0)) for seed in (0, 1)]
    rows += [["relu", s, seed, l0 + seed] for s, l0 in ((0.5, 80.0), (2.0, 22.0), (5.0, 9.0)) for seed in (0, 1)]
    chosen = cards.comparable(pd.DataFrame(rows, columns=["method", "sparsity", "seed", "l0"]))
    assert chosen.l0.tolist() == [20.0, 22.0, 20.0, 23.0] and chosen.method.tolist() == ["gated", "relu"] * 2


def test_the_form_names_no_kind_and_takes_no_markup():
    context = Context(("<script>alert(1)</script>", "\n", "b"), (0.5, 0.0, 1.0))
    shown = form.form([Card((context,), 0.01, (3, 1), 1.0, ("<b>",))], "c0ffee").html
    assert "alert(1)" in shown and "<script>alert" not in shown and "<code>&lt;b&gt;</code>" in shown
    assert not any(word in shown.lower() for word in ("gated", "relu", "baseline")) and 'data-hash="c0ffee"' in shown
