"""SAELens' layout: our files come back as they were, theirs load exactly or are refused, and SAELens opens ours.

The last needs the extra `interop`, which holds TransformerLens at 3.x.
"""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode

from saebook.common.errors import UserError
from saebook.formats import saelens
from saebook.sae.base import Member, SAEStack
from saebook.sae.registry import build, get, names

D, M = 12, 40
EXPORTED = [name for name in names() if get(name).saelens_name]


def made(kind, **options):
    stack = build(kind, D, M, (Member(1, 3), Member(2, 5)), **options)
    generator = torch.Generator().manual_seed(0)
    for parameter in stack.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    stack.constrain_weights()
    return stack


def data(n=64):
    return 1 + 2 * torch.randn(n, D, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("kind", names())
def test_own_files_round_trip(kind, per_token):
    stack, x = made(kind, per_token=per_token), data()
    stack.init_bias(x)
    cfg, tensors = saelens.pack(stack, 1)
    assert cfg["metadata"]["sae_lens_version"] >= "6" and cfg["metadata"]["architecture"] == kind
    assert all(t.is_contiguous() for t in tensors.values())
    assert tensors["W_enc"].shape == (D, M) and tensors["W_dec"].shape == (M, D)
    assert cfg["normalize_activations"] == ("layer_norm" if per_token else "none")
    again, alone = saelens.from_saelens(json.loads(json.dumps(cfg)), tensors), stack.member(1)
    assert type(again) is type(stack) and again.per_token == per_token
    assert torch.allclose(again.encode(x)[0], alone.encode(x)[0], atol=0)
    assert again.members == alone.members and again.options() == alone.options()
    # TopK's constant comes along too; a decoder that is normalised as it is used is written at unit norm.
    dead = (torch.arange(again.d_sae) >= 20)[None]
    assert torch.allclose(again.loss(x, dead).total, alone.loss(x, dead).total, rtol=1e-6)
    if kind != "topk_free_norm":
        assert torch.allclose(tensors["W_dec"].norm(dim=1), torch.ones(M), atol=1e-5)


class Draws(TorchDispatchMode):
    """Counts the random operations that make numbers; on the device "meta" they make none."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.count += torch.Tag.nondeterministic_seeded in func.tags and not out.is_meta
        return out


@pytest.mark.parametrize("kind", names())
def test_loading_draws_nothing_and_fills_every_tensor(kind, monkeypatch):
    stack, reserve = made(kind, transposed=False), torch.empty_strided
    cfg, tensors = saelens.pack(stack, 1)
    # Memory that a tensor of the file does not overwrite would show.
    monkeypatch.setattr(torch, "empty_strided", lambda *shape, **options: reserve(*shape, **options).fill_(torch.nan))
    with Draws() as draws:
        again = saelens.from_saelens(cfg, tensors)
    assert draws.count == 0
    own, alone = dict(again.state_dict()), stack.member(1).state_dict()
    assert {n: t.stride() for n, t in own.items()} == {n: t.stride() for n, t in alone.items()}
    assert all(p.requires_grad for p in again.parameters())
    cfg_again, tensors_again = saelens.pack(again, 0)
    assert cfg_again == cfg
    torch.testing.assert_close(tensors_again, tensors, rtol=1e-6 if kind == "normalised_relu" else 0, atol=0)
    with Draws() as draws:
        made(kind)
    assert draws.count > 0


def test_own_files_that_contradict_themselves_are_refused():
    cfg, tensors = saelens.pack(made("gated"), 0)
    for change, message in (
        ({"architecture": "other"}, r"contradicts its metadata \('gated'\)"),
        ({"normalize_activations": "layer_norm"}, "contradicts its metadata .per_token"),
        ({"apply_b_dec_to_input": False}, "contradicts its metadata .apply_b_dec"),
        ({"metadata": cfg["metadata"] | {"architecture": "sigmoid"}}, "'sigmoid' is not known"),
        ({"metadata": cfg["metadata"] | {"options": {"colour": 1}}}, "does not take its options"),
    ):
        with pytest.raises(UserError, match=message):
            saelens.from_saelens(cfg | change, tensors)
    with pytest.raises(UserError, match="of the architecture 'gated', not 'relu'"):
        saelens.from_saelens(cfg, tensors, "relu")
    with pytest.raises(UserError, match="W_dec has shape"):
        saelens.from_saelens(cfg, tensors | {"W_dec": tensors["W_dec"].T.contiguous()})
    with pytest.raises(UserError, match="tensors r_mag are missing"):
        saelens.from_saelens(cfg, {name: t for name, t in tensors.items() if name != "r_mag"})
    with pytest.raises(UserError, match="tensors scaling are missing or not known"):
        saelens.from_saelens(cfg, tensors | {"scaling": tensors["b_mag"]})


def test_export_needs_an_architecture_that_saelens_has():
    with pytest.raises(UserError, match="SAELens has no architecture that computes 'gated_untied'"):
        saelens.to_saelens(made("gated_untied"), 0)
    assert saelens.to_saelens(made("gated"), 0)[0] == saelens.pack(made("gated"), 0)[0]
    assert SAEStack.saelens_name == ""


# Files written by SAELens itself: what it computes, in plain terms -------------------------------------------------------


def foreign(architecture, b_dec_from_input=True, normalised="none", unit=True, **cfg):
    """A file as SAELens 6 writes it, and the function that it computes: x [B, D] -> latents [B, M], reconstructions [B, D]."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    tensors = {"W_enc": draw(D, M), "W_dec": draw(M, D), "b_dec": draw(D)}
    if unit:
        tensors["W_dec"] = torch.nn.functional.normalize(tensors["W_dec"], dim=1)
    names = {"gated": ("b_gate", "b_mag", "r_mag"), "jumprelu": ("b_enc", "threshold")}.get(architecture, ("b_enc",))
    tensors |= {name: 0.3 * draw(M) for name in names}
    cfg = {
        "architecture": architecture, "d_in": D, "d_sae": M, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": b_dec_from_input, "normalize_activations": normalised, "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.54.12", "model_name": "gpt2", "hook_name": "blocks.8.hook_resid_pre"}, **cfg,
    }  # fmt: skip

    def computed(x):
        mean, spread = torch.zeros(len(x), 1), torch.ones(len(x), 1)
        if normalised == "layer_norm":
            mean, spread = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
            x = (x - mean) / (spread + 1e-5)
        t = tensors
        h = (x - t["b_dec"] * b_dec_from_input) @ t["W_enc"]
        if architecture == "gated":
            f = (h + t["b_gate"] > 0) * (h * t["r_mag"].exp() + t["b_mag"]).relu()
        elif architecture == "topk":
            top = (h + t["b_enc"]).topk(cfg["k"])
            f = torch.zeros_like(h).scatter(1, top.indices, top.values.relu())
        elif architecture == "jumprelu":
            f = (h + t["b_enc"]).relu() * (h + t["b_enc"] > t["threshold"])
        else:
            f = (h + t["b_enc"]).relu()
        return f, (f @ t["W_dec"] + t["b_dec"]) * spread + mean

    return cfg, tensors, computed


def assert_computes(stack, computed):
    x = data()
    z, mean, spread = stack.prepare(x)
    latents, reconstructions = computed(x)
    assert torch.allclose(stack.encode(z)[0], latents, atol=1e-5)
    assert torch.allclose(stack.reconstruct(z)[0] * spread + mean, reconstructions, atol=2e-4)
    assert 0 < (latents > 0).float().mean() < 0.9


@pytest.mark.parametrize(
    ("architecture", "options", "expected"),
    [
        ("standard", {}, "relu"),
        ("standard", {"unit": False}, "relu"),
        ("standard", {"normalised": "layer_norm"}, "relu"),
        ("standard", {"b_dec_from_input": False}, "normalised_relu"),
        ("gated", {}, "gated"),
        ("topk", {"k": 5, "rescale_acts_by_decoder_norm": False}, "topk"),
        ("topk", {"k": 5, "rescale_acts_by_decoder_norm": False, "normalised": "layer_norm"}, "topk"),
    ],
)
def test_files_by_saelens_compute_the_same_here(architecture, options, expected):
    cfg, tensors, computed = foreign(architecture, **options)
    stack = saelens.from_saelens(cfg, tensors)
    assert stack.architecture == expected and stack.per_token == (options.get("normalised") == "layer_norm")
    assert_computes(stack, computed)
    assert saelens.from_saelens(cfg, tensors, expected).architecture == expected
    if expected == "topk":
        assert stack.variance == D  # a file of SAELens has none: that of a new stack


def test_jumprelu_without_a_shift_is_prolu():
    cfg, tensors, computed = foreign("jumprelu")
    tensors["b_enc"].zero_()
    assert_computes(saelens.from_saelens(cfg, tensors), computed)
    assert saelens.from_saelens(cfg, tensors, "prolu_ste").architecture == "prolu_ste"


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        ("jumprelu", {}, "b_enc is not zero"),
        ("standard", {"b_dec_from_input": False, "unit": False}, "fold the norms into W_enc and b_enc"),
        ("gated", {"b_dec_from_input": False}, "does not subtract b_dec from its input; use SAELens"),
        ("topk", {"k": 5}, "rescale_acts_by_decoder_norm must be false; fold"),
        ("topk", {"k": 5, "rescale_acts_by_decoder_norm": True}, "rescale_acts_by_decoder_norm must be false"),
        ("standard", {"normalised": "expected_average_only_in"}, "fold that scale into the weights"),
        ("standard", {"normalize_activations": None}, "fold that scale into the weights"),
        ("standard", {"apply_b_dec_to_input": None}, "set apply_b_dec_to_input to true or false"),
        ("standard", {"metadata": {}}, "older than SAELens 6"),
        ("standard", {"metadata": {"sae_lens_version": "5.9.1"}}, "older than SAELens 6"),
        ("standard", {"reshape_activations": "other"}, "reshape_activations must be"),
        ("matching_pursuit", {}, "computes a 'matching_pursuit' SAE"),
    ],
)
def test_conventions_that_no_architecture_has_are_refused_in_one_line(architecture, options, message):
    cfg, tensors, _ = foreign(architecture, **options)
    with pytest.raises(UserError, match=message) as refused:
        saelens.from_saelens(cfg, tensors)
    assert "\n" not in str(refused.value)


def test_asking_for_another_architecture_than_the_file_describes_is_refused():
    cfg, tensors, _ = foreign("standard")
    with pytest.raises(UserError, match="no architecture of topk computes a 'standard' SAE"):
        saelens.from_saelens(cfg, tensors, "topk")


def test_folders_are_loaded_and_damaged_ones_named(tmp_path):
    cfg, tensors, computed = foreign("standard")
    (tmp_path / "cfg.json").write_text(json.dumps(cfg))
    with pytest.raises(UserError, match=r"sae_weights\.safetensors cannot be read"):
        saelens.load(tmp_path)
    save_file(tensors, tmp_path / "sae_weights.safetensors")
    assert_computes(saelens.load(tmp_path), computed)
    (tmp_path / "cfg.json").write_text("{")
    with pytest.raises(UserError, match=r"cfg\.json or"):
        saelens.load(tmp_path)


# SAELens itself ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EXPORTED)
@pytest.mark.parametrize("per_token", [False, True])
def test_saelens_opens_our_layout_and_agrees(kind, per_token, tmp_path):
    sae_lens = pytest.importorskip(
        "sae_lens", reason="SAELens is in the extra `interop`, which needs TransformerLens 3.x"
    )
    stack, x = made(kind, per_token=per_token), data()
    cfg, tensors = saelens.to_saelens(stack, 1)
    (tmp_path / "cfg.json").write_text(json.dumps(cfg))
    save_file({name: t.contiguous() for name, t in tensors.items()}, tmp_path / "sae_weights.safetensors")
    theirs = sae_lens.SAE.load_from_disk(str(tmp_path))
    latents = theirs.encode(x)
    z, mean, spread = stack.prepare(x)
    assert torch.allclose(latents, stack.encode(z)[1], atol=1e-4)
    assert torch.allclose(theirs.decode(latents), stack.reconstruct(z)[1] * spread + mean, atol=1e-4)
    assert 0 < (latents > 0).float().mean() < 0.9
