"""Files of SAELens, of all its conventions, load as what it computes, or are refused in one line; ours come back as ours."""

import json

import pytest
import torch
from formats.twins import D, K, M, assert_round_trip, assert_same, made, matrices, saelens_file
from safetensors.torch import load_file, save_file

from saebook.common.errors import UserError
from saebook.formats import foreign_saelens, saelens
from saebook.formats.portable import Origin
from saebook.formats.stated import Stated
from saebook.sae import registry

NORMS = matrices()["W_dec"].norm(dim=1)
BY_NORM, NOT_BY_NORM = {"rescale_acts_by_decoder_norm": True}, {"rescale_acts_by_decoder_norm": False}


@pytest.mark.parametrize("normalised", ["none", "layer_norm"])
@pytest.mark.parametrize("b_dec_from_input", [True, False])
@pytest.mark.parametrize(
    ("architecture", "cfg", "here", "times"),
    [
        ("standard", {}, ("normalised_relu", "relu"), NORMS),
        ("gated", {}, ("gated", "gated"), NORMS),
        ("jumprelu", {}, ("jump_relu", "jump_relu"), NORMS),
        ("topk", {"k": K} | BY_NORM, ("topk", "topk"), 1.0),
        ("topk", {"k": K} | NOT_BY_NORM, ("topk_free_norm", "topk_free_norm"), 1.0),
    ],
)
def test_every_convention_computes_the_same_here(
    tmp_path, jump_relu, normalised, b_dec_from_input, architecture, cfg, here, times
):
    computed = saelens_file(tmp_path / "sae", architecture, b_dec_from_input, normalised, **cfg)
    stack = foreign_saelens.read(tmp_path / "sae")
    assert stack.architecture == here[b_dec_from_input] and stack.per_token == (normalised == "layer_norm")
    assert_same(stack, computed, times)


def test_the_former_reader_took_topk_that_is_chosen_by_norm_for_another(tmp_path):
    """What `formats.saelens` refuses is read here, and differs from the same file read without its convention."""
    computed = saelens_file(tmp_path / "sae", "topk", k=K, **BY_NORM)
    with pytest.raises(UserError, match="rescale_acts_by_decoder_norm must be false"):
        saelens.load(tmp_path / "sae")
    cfg = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    (tmp_path / "sae" / "cfg.json").write_text(json.dumps(cfg | NOT_BY_NORM))
    with pytest.raises(AssertionError):
        assert_same(foreign_saelens.read(tmp_path / "sae"), computed)


@pytest.mark.parametrize(("architecture", "cfg"), [("standard", {}), ("gated", {}), ("topk", {"k": K} | BY_NORM)])
def test_a_scale_of_the_input_is_stated_and_folded(tmp_path, architecture, cfg):
    scale, normalised = 0.25, "expected_average_only_in"
    computed = saelens_file(tmp_path / "sae", architecture, normalised=normalised, scale=scale, **cfg)
    with pytest.raises(UserError, match=r"does not say the scale of 'expected_average_only_in'.*\(--input-scale\)"):
        foreign_saelens.read(tmp_path / "sae")
    stack = foreign_saelens.read(tmp_path / "sae", Stated(input_scale=scale))
    # Latents are of activations as they are, so that decoder rows have norm one.
    assert_same(stack, computed, (1.0 if architecture == "topk" else NORMS) / scale)


def test_a_jumprelu_that_is_scaled_keeps_its_thresholds(tmp_path, jump_relu):
    normalised = "expected_average_only_in"
    computed = saelens_file(tmp_path / "sae", "jumprelu", normalised=normalised, scale=3.0)
    assert_same(foreign_saelens.read(tmp_path / "sae", Stated(input_scale=3.0)), computed, NORMS / 3.0)


def test_a_jumprelu_is_refused_while_there_is_no_architecture_for_it(tmp_path, no_jump_relu):
    saelens_file(tmp_path / "sae", "jumprelu")
    with pytest.raises(UserError, match="of the architecture 'jump_relu', which this version of saebook does not have"):
        foreign_saelens.read(tmp_path / "sae")


@pytest.mark.parametrize(
    ("former", "here"),
    [
        ({"activation_fn_str": "relu"}, "relu"),
        ({}, "relu"),
        ({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}}, "topk"),
    ],
)
def test_files_before_version_6(tmp_path, former, here):
    """They call a TopK SAE "standard", with another activation function, and have their model beside the conventions."""
    old = {
        "metadata": ...,
        "model_name": "gpt2",
        "hook_point": "blocks.2.hook_resid_pre",
        "normalize_activations": False,
    }
    if here == "topk":
        computed = saelens_file(tmp_path / "twin", "topk", unit=True, k=K, **NOT_BY_NORM)
    else:
        computed = saelens_file(tmp_path / "twin", "standard", unit=True)
    saelens_file(tmp_path / "sae", "standard", unit=True, **old, **former)
    stack = foreign_saelens.read(tmp_path / "sae")
    assert stack.architecture == here
    assert_same(stack, computed)
    assert foreign_saelens.parse(tmp_path / "sae", Stated())[1] == Origin("gpt2", "blocks.2.hook_resid_pre")


@pytest.mark.parametrize(
    ("architecture", "cfg", "message"),
    [
        ("matching_pursuit", {}, "is of the architecture 'matching_pursuit': only standard, gated, topk, jumprelu"),
        (
            "standard",
            {"apply_b_dec_to_input": ...},
            r"does not say whether b_dec is subtracted.*--apply-b-dec-to-input",
        ),
        ("standard", {"apply_b_dec_to_input": 1}, "apply_b_dec_to_input = 1, which is neither true nor false"),
        ("standard", {"normalize_activations": ...}, r"does not say whether activations are normalised.*\(--normal"),
        ("standard", {"normalize_activations": "constant_norm_rescale"}, "normalises activations by 'constant_norm_"),
        ("standard", {"reshape_activations": "other"}, "reshapes activations by 'other'"),
        ("standard", {"metadata": {}, "activation_fn_str": "tanh-relu"}, "has the activation function 'tanh-relu'"),
        ("standard", {"metadata": {}, "finetuning_scaling_factor": True}, "has finetuning_scaling_factor"),
        ("standard", {"metadata": 5}, "`metadata` that is no mapping"),
        ("standard", {"normalize_activations": ["none"]}, "which is no single value"),
        ("standard", {"architecture": {}}, "which is no single value"),
        (
            "standard",
            {"metadata": {}, "activation_fn_str": "topk", "activation_fn_kwargs": [5]},
            "`activation_fn_kwargs` that is no mapping",
        ),
        ("standard", {"architecture": ...}, r"does not say which of standard, gated.*\(--architecture\)"),
        ("standard", {"d_in": D + 1}, f"says d_in = {D + 1}, and the tensors have {D}"),
        ("gated", {"architecture": "standard"}, "has tensors that no standard SAE has: b_gate, b_mag, r_mag"),
        ("standard", {"architecture": "jumprelu"}, "lacks threshold"),
        ("topk", BY_NORM, r"does not say k"),
        ("topk", {"k": K}, "does not say whether the norms of decoder rows, which are not one"),
        ("topk", {"k": K, "rescale_acts_by_decoder_norm": "yes"}, "= yes, which is neither true nor false"),
        ("topk", {"k": 0} | BY_NORM, "has k = 0, which is not from 1"),
    ],
)
def test_what_is_open_or_unknown_is_refused_in_one_line(tmp_path, architecture, cfg, message):
    saelens_file(tmp_path / "sae", architecture, **cfg)
    with pytest.raises(UserError, match=message) as refused:
        foreign_saelens.read(tmp_path / "sae")
    assert "\n" not in str(refused.value)


def test_what_the_file_leaves_open_is_stated_and_must_not_contradict_it(tmp_path):
    computed = saelens_file(tmp_path / "sae", "standard", b_dec_from_input=False, apply_b_dec_to_input=...)
    stack = foreign_saelens.read(tmp_path / "sae", Stated(apply_b_dec_to_input=False))
    assert_same(stack, computed, NORMS)
    with pytest.raises(UserError, match="says normalize_activations = none, and you say layer_norm"):
        stated = Stated(apply_b_dec_to_input=False, normalize_activations="layer_norm")
        foreign_saelens.read(tmp_path / "sae", stated)
    with pytest.raises(UserError, match="does not say that activations were scaled"):
        foreign_saelens.read(tmp_path / "sae", Stated(apply_b_dec_to_input=False, input_scale=2.0))


def test_without_norms_it_makes_no_difference_whether_they_count(tmp_path):
    computed = saelens_file(tmp_path / "sae", "topk", unit=True, k=K)
    assert_same(foreign_saelens.read(tmp_path / "sae"), computed)


def test_damaged_folders_are_refused(tmp_path):
    saelens_file(tmp_path / "sae", "standard")
    file = tmp_path / "sae" / "sae_weights.safetensors"
    tensors = load_file(file)
    save_file(tensors | {"W_dec": tensors["W_dec"].T.contiguous()}, file)
    with pytest.raises(UserError, match=rf"has W_dec of shape \({D}, {M}\), not \({M}, {D}\)"):
        foreign_saelens.read(tmp_path / "sae")
    save_file(tensors | {"b_enc": tensors["b_enc"] / 0}, file)
    with pytest.raises(UserError, match="values in b_enc that are not finite numbers"):
        foreign_saelens.read(tmp_path / "sae")
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(UserError, match="cannot be read as tensors"):
        foreign_saelens.read(tmp_path / "sae")


@pytest.mark.parametrize("kind", [name for name in registry.names() if registry.get(name).saelens_name])
@pytest.mark.parametrize("per_token", [False, True])
def test_own_stacks_come_back_as_themselves(tmp_path, kind, per_token):
    stack = made(kind, per_token=per_token)
    foreign_saelens.write(stack, tmp_path / "sae", 1, Origin("gpt2", "blocks.3.hook_resid_pre"))
    again = foreign_saelens.read(tmp_path / "sae")
    assert again.architecture == kind and again.members == stack.members[1:]
    assert_round_trip(stack, again)
    assert foreign_saelens.origin_of(tmp_path / "sae", Stated()) == Origin("gpt2", "blocks.3.hook_resid_pre")


@pytest.mark.parametrize("kind", ["relu", "gated", "topk", "normalised_relu", "prolu_relu"])
def test_what_we_write_means_to_others_what_it_does_here(tmp_path, jump_relu, kind):
    """Read without our name for it, as another library reads it, a file of ours is the same SAE."""
    stack = made(kind, per_token=True)
    foreign_saelens.write(stack, tmp_path / "sae", 1)
    cfg = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    cfg["metadata"] = {"sae_lens_version": "6.54.12"}
    (tmp_path / "sae" / "cfg.json").write_text(json.dumps(cfg))
    assert_round_trip(stack, foreign_saelens.read(tmp_path / "sae"))


@pytest.mark.skipif("batch_topk" not in registry.names(), reason="the architecture batch_topk is not there")
def test_batch_topk_is_written_as_the_jumprelu_that_it_is(tmp_path):
    stack = made("batch_topk")
    foreign_saelens.write(stack, tmp_path / "sae", 1)
    again = foreign_saelens.read(tmp_path / "sae")
    assert again.architecture == "jump_relu"
    assert_round_trip(stack, again)


def test_own_files_that_were_changed_are_refused(tmp_path):
    foreign_saelens.write(made("topk"), tmp_path / "sae")
    with pytest.raises(UserError, match="--k does not go with a file of saebook"):
        foreign_saelens.read(tmp_path / "sae", Stated(k=3))
    cfg = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    (tmp_path / "sae" / "cfg.json").write_text(json.dumps(cfg | BY_NORM))
    with pytest.raises(UserError, match=r"contradicts its metadata \(rescale_acts_by_decoder_norm\)"):
        foreign_saelens.read(tmp_path / "sae")
    (tmp_path / "sae" / "cfg.json").write_text(json.dumps(cfg | {"metadata": cfg["metadata"] | {"seed": "many"}}))
    with pytest.raises(UserError, match="was written by saebook and is damaged"):
        foreign_saelens.read(tmp_path / "sae")
    (tmp_path / "sae" / "cfg.json").write_text(json.dumps(cfg))
    tensors = load_file(tmp_path / "sae" / "sae_weights.safetensors")
    tensors["b_enc"][0] = torch.nan
    save_file(tensors, tmp_path / "sae" / "sae_weights.safetensors")
    with pytest.raises(UserError, match="values in b_enc that are not finite numbers"):
        foreign_saelens.read(tmp_path / "sae")


def test_an_architecture_that_saelens_lacks_is_not_written(tmp_path):
    with pytest.raises(UserError, match="no other library has an architecture that computes 'gated_untied'"):
        foreign_saelens.write(made("gated_untied"), tmp_path / "sae")
    assert not list(tmp_path.iterdir())
