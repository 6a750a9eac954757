"""Folders of sparsify load as what the library computes, come back as they were, or are refused in one line."""

import json

import pytest
import torch
from formats.twins import D, K, M, assert_round_trip, assert_same, made, sparsify_file

from saebook.common.errors import UserError
from saebook.formats import sparsify
from saebook.formats.portable import Origin
from saebook.formats.stated import Stated


@pytest.mark.parametrize(("unit", "here"), [(True, "topk"), (False, "topk_free_norm")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_folders_compute_the_same_here(tmp_path, unit, here, dtype):
    computed = sparsify_file(tmp_path / "sae", unit, dtype)
    stack = sparsify.read(tmp_path / "sae")
    assert stack.architecture == here and stack.members[0].sparsity == K
    assert stack.W_enc.dtype == torch.float32  # of half precision, exactly
    assert_same(stack, computed)
    sae, _, _ = sparsify.parse(tmp_path / "sae", Stated())
    assert sae.dtype == dtype


def test_width_by_expansion_factor(tmp_path):
    sparsify_file(tmp_path / "sae", num_latents=0, expansion_factor=3)
    with pytest.raises(UserError, match=f"says that it has 36 latents, and the tensors have {M}"):
        sparsify.read(tmp_path / "sae")
    sparsify_file(tmp_path / "other", d_in=D + 1)
    with pytest.raises(UserError, match=f"says d_in = {D + 1}, and the tensors have {D}"):
        sparsify.read(tmp_path / "other")


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ({"activation": "groupmax"}, "has the activation 'groupmax': only topk can be read"),
        ({"transcode": True}, "is of a transcoder"),
        ({"skip_connection": True}, "has a skip connection"),
        ({"signed": True}, "lets latents be negative"),
        ({"activation": ...}, r"does not say its activation, topk or groupmax: state it \(--architecture\)"),
        ({"k": ...}, r"does not say k, how many latents are active in a token: state it \(--k\)"),
        ({"k": M + 1}, f"has k = {M + 1}, which is not from 1 to d_sae = {M}"),
        ({"k": "5"}, "has k = 5, which is no whole number"),
    ],
)
def test_other_functions_are_refused_in_one_line(tmp_path, cfg, message):
    sparsify_file(tmp_path / "sae", **cfg)
    with pytest.raises(UserError, match=message) as refused:
        sparsify.read(tmp_path / "sae")
    assert "\n" not in str(refused.value)


def test_what_the_folder_leaves_open_is_stated(tmp_path):
    computed = sparsify_file(tmp_path / "sae", activation=..., k=...)
    assert_same(sparsify.read(tmp_path / "sae", Stated(architecture="topk", k=K)), computed)
    with pytest.raises(UserError, match="--input-scale does not go with a file of sparsify"):
        sparsify.read(tmp_path / "sae", Stated(architecture="topk", k=K, input_scale=2.0))


def test_damaged_folders_are_refused(tmp_path):
    sparsify_file(tmp_path / "sae")
    (tmp_path / "sae" / "sae.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"sae\.safetensors cannot be read as tensors"):
        sparsify.read(tmp_path / "sae")
    (tmp_path / "sae" / "cfg.json").write_text("[]")
    with pytest.raises(UserError, match=r"cfg\.json holds no mapping"):
        sparsify.read(tmp_path / "sae")
    (tmp_path / "sae" / "cfg.json").unlink()
    with pytest.raises(UserError, match=r"cfg\.json cannot be read"):
        sparsify.read(tmp_path / "sae")


def test_the_hook_is_a_folder_of_a_run(tmp_path):
    sparsify_file(tmp_path / "layers.3")
    _, origin, _ = sparsify.parse(tmp_path / "layers.3", Stated())
    assert origin == Origin()  # a folder's name alone says nothing
    (tmp_path / "config.json").write_text(json.dumps({"model": "EleutherAI/pythia-70m"}))
    _, origin, _ = sparsify.parse(tmp_path / "layers.3", Stated())
    assert origin == Origin("EleutherAI/pythia-70m", "layers.3")


@pytest.mark.parametrize("kind", ["topk", "multi_topk", "topk_no_bias", "topk_free_norm"])
def test_own_stacks_round_trip(tmp_path, kind):
    stack = made(kind)
    sparsify.write(stack, tmp_path / "sae", 1, Origin("gpt2", "h.3"))
    again = sparsify.read(tmp_path / "sae")
    assert_round_trip(stack, again)
    assert torch.equal(again.W_enc[0], stack.W_enc[1]) and torch.equal(again.W_dec[0], stack.W_dec[1])
    assert sparsify.parse(tmp_path / "sae", Stated())[1] == Origin("gpt2", "h.3")


def test_what_the_library_cannot_compute_is_not_written(tmp_path):
    with pytest.raises(UserError, match="sparsify has no architecture that computes 'gated'"):
        sparsify.write(made("gated"), tmp_path / "sae")
    with pytest.raises(UserError, match="has no SAE that normalises each token"):
        sparsify.write(made("topk", per_token=True), tmp_path / "sae")
    assert not list(tmp_path.iterdir())
