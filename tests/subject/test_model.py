"""The subject at a site agrees with Hugging Face's own model, and computes no more than it must."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from saebook.common.errors import UserError
from saebook.subject.blocks import WrittenOut
from saebook.subject.bridged import Bridged
from saebook.subject.model import SITES, Subject


@pytest.fixture(scope="module", params=["written out", "by the bridge"])
def small_subject(request, small_subject):
    """The small subject, computed in either way."""
    if request.param == "written out":
        assert isinstance(small_subject.forward, WrittenOut)
        return small_subject
    bridged = copy.copy(small_subject)
    bridged.forward = Bridged(small_subject.bridge)
    return bridged


@pytest.fixture(scope="module")
def rows():
    return torch.randint(0, 300, (3, 32), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def plain(small_subject_folder):
    from transformers import GPT2LMHeadModel

    return GPT2LMHeadModel.from_pretrained(small_subject_folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def plain_hidden(plain, rows):
    with torch.inference_mode():
        return plain(rows, output_hidden_states=True).hidden_states


def test_clean_loss_is_the_hugging_face_loss(small_subject, plain, rows):
    with torch.inference_mode():
        expected = plain(rows, labels=rows).loss
    assert torch.allclose(small_subject.loss(rows).mean(), expected, atol=1e-5)


@pytest.mark.parametrize("layer", [0, 1])
def test_residual_activations_are_the_hidden_states(small_subject, plain_hidden, rows, layer):
    before = small_subject.activations(rows, small_subject.site("resid_pre", layer))
    after = small_subject.activations(rows, small_subject.site("resid_post", layer))
    assert torch.allclose(before, plain_hidden[layer], atol=1e-5)
    assert torch.allclose(after, plain_hidden[layer + 1], atol=1e-5)


def test_mlp_and_attention_sites_are_the_modules_tensors(small_subject, plain, rows):
    seen = {}
    block = plain.transformer.h[1]
    handles = [
        block.mlp.register_forward_hook(lambda m, i, o: seen.update(mlp_out=o)),
        block.mlp.c_proj.register_forward_hook(lambda m, i, o: seen.update(mlp_post=i[0])),
        block.attn.c_proj.register_forward_hook(lambda m, i, o: seen.update(attn_z=i[0])),
    ]
    with torch.inference_mode():
        plain(rows)
    for handle in handles:
        handle.remove()
    for kind, expected in seen.items():
        site = small_subject.site(kind, 1)
        activations = small_subject.activations(rows, site)
        assert activations.shape == (*rows.shape, site.d_in)
        assert torch.allclose(activations, expected, atol=1e-5), kind


@pytest.mark.parametrize("kind", SITES)
@pytest.mark.parametrize("layer", [0, 2])
def test_intervention_equals_a_whole_pass_with_the_replacement(small_subject, rows, kind, layer):
    site = small_subject.site(kind, layer)

    def zero(x):
        return torch.zeros_like(x)

    logits = small_subject.logits(rows, site, zero)
    plain = cross_entropy(logits[:, :-1].flatten(0, 1), rows[:, 1:].flatten(), reduction="none").view(3, -1)
    assert torch.allclose(small_subject.loss(rows, site, zero), plain, atol=1e-5)
    intervention = small_subject.intervene(rows, site)
    assert torch.allclose(intervention.loss(intervention.activations), small_subject.loss(rows), atol=1e-5)
    assert not torch.allclose(intervention.loss(zero(intervention.activations)), small_subject.loss(rows), atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "layer", "word"),
    [("resid", 0, "resid_pre"), ("mlp_out", 3, "layers 0 to 2"), ("mlp_out", -1, "layers 0 to 2")],
)
def test_wrong_site_is_refused_with_the_known_ones(small_subject, kind, layer, word):
    with pytest.raises(UserError, match=word):
        small_subject.site(kind, layer)


def test_rows_of_a_shorter_context(small_subject, text_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "cache"))
    source = f"folder:{text_folder}"
    own, short = small_subject.rows(source, "validation"), small_subject.rows(source, "validation", 16)
    assert own.shape[1] == small_subject.context == 32 and short.shape[1] == 16
    assert own.reshape(-1)[: short.size].tolist() == short.reshape(-1)[: own.size].tolist()
    site = small_subject.site("resid_post", 1)
    few = torch.from_numpy(short[:2].astype("int64"))
    whole = torch.from_numpy(own[:1].astype("int64"))
    assert small_subject.activations(few, site).shape == (2, 16, site.d_in)
    # A causal model: the first half of a row does not see the second.
    assert torch.allclose(
        small_subject.activations(few, site)[0], small_subject.activations(whole, site)[0, :16], atol=1e-5
    )
    assert torch.allclose(small_subject.loss(few)[0], small_subject.loss(whole)[0, :15], atol=1e-5)


@pytest.mark.parametrize("context", [0, 1, 33, -5])
def test_context_that_the_model_cannot_take_is_refused(small_subject, context):
    with pytest.raises(UserError, match="takes rows of 2 to 32 tokens"):
        small_subject.rows("environment", "train", context)


@pytest.mark.parametrize("device", ["banana", "cuda:99"])
def test_absent_device_is_refused(small_subject_folder, device):
    with pytest.raises(UserError, match="not available on this machine"):
        Subject.load(str(small_subject_folder), device=device)
