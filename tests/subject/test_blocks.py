"""Blocks written out agree with TransformerBridge and with Hugging Face, at every site, and with autograd through both."""

import copy
from dataclasses import replace

import pytest
import torch

from saebook.common.errors import UserError
from saebook.subject import blocks
from saebook.subject.blocks import WrittenOut
from saebook.subject.bridged import Bridged
from saebook.subject.model import SITES, Subject

FAMILIES = ("prose-4l128", "gpt2", "llama-grouped", "llama-tied")
LAYERS = (0, 2)


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, family_folders, embedded_folder):
    return family_folders.get(request.param, embedded_folder)


@pytest.fixture(scope="module")
def subject(folder):
    return Subject.load(str(folder), device="cpu")


@pytest.fixture(scope="module")
def rows():
    return torch.randint(0, 300, (3, 32), generator=torch.Generator().manual_seed(1))


def by_bridge(subject):
    """The same subject, computed by its bridge."""
    other = copy.copy(subject)
    other.forward = Bridged(subject.bridge)
    return other


def every_site(subject, layers=LAYERS):
    return [subject.site(kind, layer) for layer in layers for kind in SITES]


def close(ours, theirs, tolerance):
    return ours.shape == theirs.shape and (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_hidden_states_and_losses_are_those_of_hugging_face(folder, rows, dtype, tolerance, monkeypatch):
    from transformers import AutoModelForCausalLM
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    def whole(self, x):  # Hugging Face's falls back to float32, whatever the model's dtype
        return self.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon))

    subject = Subject.load(str(folder), device="cpu", dtype=dtype)
    assert isinstance(subject.forward, WrittenOut)
    monkeypatch.setattr(LlamaRMSNorm, "forward", whole)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").eval()
    with torch.inference_mode():
        out = model(rows, labels=rows, output_hidden_states=True)
    sites = [subject.site("resid_pre", layer) for layer in range(subject.n_layers)]
    for ours, theirs in zip(subject.activations_at(rows, sites), out.hidden_states, strict=False):
        assert close(ours, theirs, tolerance)
    with torch.inference_mode():
        assert close(subject.forward.hidden(rows), out.hidden_states[-1], tolerance)
    assert subject.loss(rows).mean().item() == pytest.approx(out.loss.item(), rel=max(tolerance, 1e-6))


def test_every_site_is_the_bridges(subject, rows):
    sites = every_site(subject)
    expected = by_bridge(subject).activations_at(rows, sites)
    for site, ours, theirs in zip(sites, subject.activations_at(rows, sites), expected, strict=True):
        assert ours.shape[-1] == site.d_in and close(ours, theirs, 1e-5), site
        assert torch.equal(ours, subject.activations(rows, site)), site


def test_float64_sites_are_the_bridges(embedded_folder, rows):
    subject = Subject.load(str(embedded_folder), device="cpu", dtype=torch.float64)
    sites = every_site(subject)
    expected = by_bridge(subject).activations_at(rows, sites)
    assert all(close(a, b, 1e-10) for a, b in zip(subject.activations_at(rows, sites), expected, strict=True))


def test_interventions_and_their_gradients_are_the_bridges(subject, rows):
    generator = torch.Generator().manual_seed(2)
    later = [subject.site("resid_pre", subject.n_layers - 1), subject.site("resid_post", subject.n_layers - 1)]
    for site in every_site(subject):
        ours, theirs = subject.intervene(rows, site), by_bridge(subject).intervene(rows, site)
        new = torch.cat([theirs.activations.clone(), torch.randn(theirs.activations.shape, generator=generator)])
        new.requires_grad_()
        after = [one for one in later if one.layer > site.layer]
        results = []
        for intervention in (ours, theirs):
            hidden, seen = intervention.onwards(new, after)
            total = sum((part * torch.linspace(-1, 1, part.shape[-1])).sum() for part in (hidden, *seen))
            results.append([hidden, *seen, torch.autograd.grad(total, new)[0]])
        for a, b in zip(*results, strict=True):
            assert close(a, b, 3e-5), site


@pytest.mark.parametrize("context", [32, 17])
def test_going_on_with_the_own_activations_is_bit_equal(subject, rows, context):
    tokens = rows[:, :context]
    with torch.inference_mode():
        clean = subject.forward.hidden(tokens)
        for site in every_site(subject):
            intervention = subject.intervene(tokens, site)
            assert torch.equal(intervention.onwards(intervention.activations)[0], clean), site


def test_nothing_after_the_last_site_is_computed_nor_before_a_replacement(subject, rows):
    model = subject.forward.model
    attention = replace(model.blocks[1].attention, qkv=())  # an attention that cannot run
    damaged = replace(model.blocks[1], attention=attention)
    below = replace(model, blocks=(model.blocks[0], damaged, *model.blocks[2:]))
    sites = [subject.site("resid_pre", 1), subject.site("mlp_out", 0)]
    assert len(WrittenOut(below).activations_at(rows, sites)) == 2
    with pytest.raises(ValueError, match="zip"):
        WrittenOut(below).activations_at(rows, [subject.site("attn_z", 1)])
    for kind in ("attn_z", "mlp_post", "mlp_out", "resid_post"):
        stopped = subject.forward.stopped_at(rows, subject.site(kind, 1))
        hidden, _ = replace(stopped, model=below).onwards(stopped.activations)
        assert torch.equal(hidden, stopped.onwards(stopped.activations)[0]), kind


def test_long_rows_take_the_fused_kernel_and_agree(subject, rows, monkeypatch):
    sites = every_site(subject)
    short = subject.activations_at(rows, sites)
    monkeypatch.setattr(blocks, "_SHORT", 0)
    assert all(close(a, b, 1e-5) for a, b in zip(subject.activations_at(rows, sites), short, strict=True))


def test_bf16_activations_are_close_and_in_the_models_dtype(subject, rows):
    for site in every_site(subject):
        exact, rounded = (subject.activations(rows, site, precision) for precision in ("fp32", "bf16"))
        variance = (exact - exact.mean((0, 1))).square().sum()
        nmse = ((rounded - exact).square().sum() / variance).item()
        assert rounded.dtype is exact.dtype
        # Embeddings are not rounded; what comes after the first product is.
        assert nmse < 2e-3 and (nmse > 0 or (site.kind, site.layer) == ("resid_pre", 0)), (site, nmse)


def test_unknown_precision_is_refused(subject, rows):
    with pytest.raises(UserError, match="fp32, bf16"):
        subject.activations(rows, subject.site("resid_pre", 1), "fp16")
