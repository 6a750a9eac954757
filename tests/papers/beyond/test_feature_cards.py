"""Cards of a reader's SAEs show what fires, shaded by strength, with every token escaped."""

import re
from dataclasses import replace

import pytest
import torch

from saebook.common.errors import UserError
from saebook.evaluation.features import logit_effects
from saebook.papers.beyond import feature_cards
from saebook.papers.beyond.feature_cards import Card, Context
from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.subject.model import Subject

SKIP, CONTEXTS, FEATURES = 1, 2, 5


@pytest.fixture(scope="module")
def given(small_subject_folder):
    """Two untrained SAEs by name, and the text they are shown on."""
    subject = Subject.load(str(small_subject_folder))
    site = subject.site("resid_post", 1)
    saes = {name: build("relu", site.d_in, 18, (Member(seed, 1.0),)) for seed, name in enumerate(("mine", "other"))}
    rows = torch.randint(0, 300, (6, 20), generator=torch.Generator().manual_seed(0))
    return saes, subject, site, rows, SKIP


def test_cards_are_what_a_loop_over_the_text_sees(given):
    saes, subject, site, rows, _ = given
    cards = feature_cards.measured(*given, FEATURES, CONTEXTS)
    x = subject.activations(rows, site)
    assert list(cards) == list(saes) and all(len(some) == FEATURES for some in cards.values())
    for name, some in cards.items():
        for card in some:
            f = saes[name].encode(x.flatten(0, 1))[0][:, card.latent].view(6, 20).detach()
            f[:, :SKIP] = 0
            assert card.density == pytest.approx(float((f > 0).sum()) / (6 * 19))
            assert card.largest == pytest.approx(float(f.max()), rel=1e-5) and sum(card.counts) == int((f > 0).sum())
            written = {
                tuple(subject.tokenizer.decode([token]) for token in row): f[n] for n, row in enumerate(rows.tolist())
            }
            for contexts in card.contexts.values():
                assert len(contexts) <= CONTEXTS
                for context in contexts:
                    assert context.activations == pytest.approx(written[context.tokens].tolist(), abs=1e-5)
                    assert context.activations[context.peak] > 0
            assert max(card.contexts["top"][0].activations) == pytest.approx(card.largest)


def test_raised_and_lowered_tokens_are_those_of_the_measure(given):
    saes, subject, site, *_ = given
    card = feature_cards.measured(*given, FEATURES, CONTEXTS)["other"][1]
    expected = logit_effects.effects(subject, site, saes["other"].W_dec[0, [card.latent]], 8)
    for shown, tokens, by in (
        (card.raised, expected.raised, expected.raised_by),
        (card.lowered, expected.lowered, expected.lowered_by),
    ):
        assert [token for token, _ in shown] == [subject.tokenizer.decode([token]) for token in tokens[0].tolist()]
        assert [change for _, change in shown] == pytest.approx(by[0].tolist(), rel=1e-4)


def test_the_same_latents_and_contexts_are_drawn_again(given):
    first, again = (feature_cards.measured(*given, FEATURES, CONTEXTS) for _ in range(2))
    assert first == again
    saes, *text = given
    alone = feature_cards.measured({"other": saes["other"]}, *text, FEATURES, CONTEXTS)
    assert [card.latent for card in alone["other"]] == [card.latent for card in first["other"]]


def test_there_are_as_many_cards_as_latents_fire_and_no_more_than_a_page_holds(given, monkeypatch):
    saes, *text = given
    quiet = build("relu", 32, 18, (Member(0, 1.0),))
    quiet.b_enc.data[..., 3:] = -1e6
    quiet.b_enc.data[..., :3] = 1.0
    made = feature_cards.measured({"quiet": quiet}, *text, FEATURES, CONTEXTS)
    assert [card.latent for card in made["quiet"]] == [0, 1, 2]
    monkeypatch.setattr(feature_cards, "MOST", 2)
    assert len(feature_cards.measured({"mine": saes["mine"]}, *text, FEATURES, CONTEXTS)["mine"]) == 2
    quiet.b_enc.data[:] = -1e6
    with pytest.raises(UserError, match="no latent of quiet fires on this text"):
        feature_cards.measured({"quiet": quiet}, *text, FEATURES, CONTEXTS)


def test_without_saes_nothing_is_read_and_nothing_shown():
    assert feature_cards.measured({}, None, None, None, 0, FEATURES, CONTEXTS) == {}  # type: ignore[arg-type]
    assert feature_cards.shown({}) is None


WRITTEN = Card(
    latent=7, density=0.0125, largest=4.0, counts=(3, 0, 6),
    contexts={
        "top": [Context(("<script>alert(1)</script>", " a&b", "\n", "."), (4.0, 1.0, 0.0, 2.0), 0)], "middle": [],
        "random": [Context(("x",), (1.0,), 0)],
    },
    raised=(("</code><b>", 0.5),), lowered=((" ", -0.25),),
)  # fmt: skip


def test_every_token_and_name_is_escaped():
    html = feature_cards.shown({"<i>mine</i>": [WRITTEN]}).html
    assert "<script" not in html and "&lt;script&gt;alert(1)&lt;/script&gt;" in html and " a&amp;b" in html
    assert "<code>&lt;/code&gt;&lt;b&gt;</code> +0.5" in html and "<code>\u2423</code> -0.25" in html
    assert "<i>" not in html and "&lt;i&gt;mine" in html


def test_shade_is_proportional_to_strength_and_marks_the_chosen_token():
    html = feature_cards.shown({"mine": [WRITTEN]}).html
    shades = [float(shade) for shade in re.findall(r"--shade:([\d.]+)", html)]
    assert shades == pytest.approx([0.6, 0.15, 0.3, 0.15])
    assert re.findall(r'class="(on[ a-z]*)" title="([^"]*)"', html) == [
        ("on peak", "4"), ("on", "1"), ("on", "2"), ("on peak", "1"),
    ]  # fmt: skip
    assert "\u21b5<span" in html  # where the latent is off, a token is not shaded


def test_card_says_its_numbers_and_leaves_an_empty_band_out():
    html = feature_cards.shown({"mine": [WRITTEN, replace(WRITTEN, latent=8)]}).html
    assert "mine: 2 latents at random" in html and html.count("<details") == 2 and html.count("<details open") == 1
    assert "Latent 7 <small>on for 1.2 % of tokens, at most 4</small>" in html
    assert re.findall(r'class="band">(\w+)<', html) == ["Top", "Random"] * 2
    heights = [float(height) for height in re.findall(r'<rect .*?height="([\d.]+)"', html)]
    assert heights == [20.0, 0.0, 40.0] * 2
