"""Cards show latents at their strongest."""

import pandas as pd
import pytest
import torch

from saebook.common.errors import UserError
from saebook.plotting.rating import cards
from saebook.sae.base import Member
from saebook.sae.registry import build


def test_card_shows_where_a_latent_is_strongest(small_subject):
    site = small_subject.site("resid_post", 1)
    rows = torch.randint(0, 300, (6, 32), generator=torch.Generator().manual_seed(0))
    sae = build("relu", site.d_in, 16, (Member(0, 1.0),))
    f = cards.latents_of(sae, [small_subject.activations(part, site)[:, 1:] for part in rows.split(4)])
    assert f.shape == (6, 31, 16)
    plain = sae.encode(small_subject.activations(rows[2:3], site)[0, 1:])[0]
    assert torch.allclose(f[2], plain, atol=1e-5)
    latent = int(f.flatten(0, 1).amax(0).argmax())
    shown = cards.card(sae, latent, f[..., latent], small_subject, site, rows[:, 1:], contexts=3)
    assert shown.largest == pytest.approx(float(f[..., latent].max()))
    assert sum(shown.counts) == int((f[..., latent] > 0).sum())
    assert max(shown.contexts[0].activations) == pytest.approx(shown.largest) and len(shown.contexts) == 3
    best = int((sae.W_dec[0, latent] @ small_subject.unembedding.W_U).argmax())
    assert shown.promoted[0] == small_subject.tokenizer.decode([best])
    neurons = small_subject.site("mlp_post", 1)
    assert cards.promoted(build("relu", neurons.d_in, 16, (Member(0, 1.0),)), 0, small_subject, neurons) == ()


def test_drawn_latents_fill_their_cards(small_subject, monkeypatch):
    """Every card has as many contexts as were asked for; too few such latents are one line, not short cards."""
    site = small_subject.site("resid_post", 1)
    rows = torch.randint(0, 300, (9, 32), generator=torch.Generator().manual_seed(0))
    made = {"g": build("gated", site.d_in, 16, (Member(0, 1.0),)), "r": build("relu", site.d_in, 24, (Member(0, 1.0),))}
    for sae in made.values():  # some fire everywhere, some in few rows
        bias = next(getattr(sae, name) for name in ("b_gate", "b_enc") if hasattr(sae, name))
        bias.data[0] = torch.linspace(-6, 2, bias.shape[1])
    monkeypatch.setattr(cards, "Store", lambda: _Kept(made))
    run = {"seed": 0, "sparsity": 1.0, "l0": 4.0}
    chosen = pd.DataFrame([{"method": "gated", "key": "g"} | run, {"method": "relu", "key": "r"} | run])
    key, shown = cards.drawn(chosen, 3, small_subject, site, rows, 1, 6)
    assert len(key) == len(shown) == 6 and all(len(card.contexts) == 6 for card in shown)
    with pytest.raises(UserError, match=r"only \d+ latents of gated fire in 9 rows of text"):
        cards.drawn(chosen, 16, small_subject, site, rows, 1, 9)


class _Kept:
    def __init__(self, saes):
        self.load_sae = saes.get
