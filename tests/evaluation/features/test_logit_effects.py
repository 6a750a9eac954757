"""Effects on logits are what the final norm and the unembedding make of a small step in the stream."""

import pytest
import torch

from saebook.evaluation.features import logit_effects
from saebook.subject.model import Subject


@pytest.fixture(scope="module")
def subject(small_subject_folder):
    subject = Subject.load(str(small_subject_folder))
    with torch.no_grad():  # a norm that was never trained has weights of one, and would hide that they are left out
        norm = subject.bridge.ln_final
        norm.weight.copy_(1 + torch.rand(norm.weight.shape, generator=torch.Generator().manual_seed(3)))
    return subject


def directions(width, count=4):
    generator = torch.Generator().manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(count, width, generator=generator), dim=1)


def by_loop(subject, stream, count):
    """Logits of a stream with the direction minus those without it, at a fixed scale of the norm, one latent at a time."""
    weight, W_U = subject.bridge.ln_final.weight, subject.unembedding.W_U
    for direction in stream:
        change = torch.stack([((direction - direction.mean()) * weight) @ W_U[:, v] for v in range(W_U.shape[1])])
        change = change - change.mean()
        order = change.argsort(descending=True)
        yield order[:count], change[order[:count]], order.flip(0)[:count], change[order.flip(0)[:count]]


def test_effects_are_those_of_a_loop_over_the_vocabulary(subject, monkeypatch):
    monkeypatch.setitem(logit_effects._LOGITS, "cpu", 1)
    site = subject.site("resid_post", 1)
    d = directions(site.d_in)
    got = logit_effects.effects(subject, site, d, 6)
    for i, (up, up_by, down, down_by) in enumerate(by_loop(subject, d, 6)):
        assert torch.equal(got.raised[i], up) and torch.equal(got.lowered[i], down)
        assert torch.allclose(got.raised_by[i], up_by, atol=1e-5)
        assert torch.allclose(got.lowered_by[i], down_by, atol=1e-5)


def test_last_block_adds_just_this_to_the_logits_but_for_the_norm_s_scale(subject):
    """What is left out is one factor: a small step at the last site moves the logits in proportion."""
    site = subject.site("resid_post", subject.n_layers - 1)
    d = directions(site.d_in, 1)
    rows = torch.randint(0, 300, (1, 5), generator=torch.Generator().manual_seed(1))
    x = subject.activations(rows, site)
    scale = (x[0, -1] - x[0, -1].mean()).norm()
    orthogonal = d[0] - d[0].mean()
    centred = x[0, -1] - x[0, -1].mean()
    orthogonal = orthogonal - centred * (orthogonal @ centred) / scale**2  # along the stream the scale changes, too
    step = 1e-2 * orthogonal
    before, after = (subject.logits(rows, site, lambda a, s=s: a + s)[0, -1] for s in (-step, step))
    moved = after - before
    moved = moved - moved.mean()
    expected = logit_effects.effects(subject, site, orthogonal[None], 300)
    change = torch.empty(300).scatter_(0, expected.raised[0], expected.raised_by[0])
    assert torch.corrcoef(torch.stack([moved, change]))[0, 1] > 0.9999


@pytest.mark.parametrize("kind", ["mlp_post", "attn_z", "mlp_out"])
def test_neurons_and_heads_are_carried_to_the_stream_as_their_block_does(subject, kind):
    """One direction more at the site changes the stream after the block by just what it is carried to."""
    site, after = subject.site(kind, 1), subject.site("resid_post", 1)
    d = directions(site.d_in, 2)
    stream = logit_effects.to_stream(subject, site, d)
    assert stream.shape == (2, subject.d_model)
    if kind == "attn_z":  # the MLP reads what attention writes; its output weights alone are linear
        W_O = subject.bridge.blocks[1].attn.W_O
        heads = d.view(2, *W_O.shape[:2])
        assert torch.allclose(stream, torch.einsum("nhe,hed->nd", heads, W_O), atol=1e-5)
        return
    rows = torch.randint(0, 300, (1, 6), generator=torch.Generator().manual_seed(1))
    intervention = subject.intervene(rows, site)
    clean = intervention.onwards(intervention.activations, [after])[1][0]
    for direction, carried in zip(d, stream, strict=True):
        there = intervention.onwards(intervention.activations + direction, [after])[1][0]
        assert torch.allclose(there - clean, carried.expand_as(clean), atol=1e-4)


def test_a_layer_norm_takes_the_mean_away_and_an_rms_norm_does_not(subject):
    like = torch.zeros(1)
    assert logit_effects.centres(torch.nn.LayerNorm(24), 24, like)
    assert not logit_effects.centres(torch.nn.RMSNorm(24), 24, like)
    assert logit_effects.centres(subject.bridge.ln_final, subject.d_model, like)


def test_more_tokens_than_there_are_is_all_of_them(subject):
    site = subject.site("resid_post", 0)
    assert logit_effects.effects(subject, site, directions(site.d_in, 2), 10**6).raised.shape == (2, 300)
