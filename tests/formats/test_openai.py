"""Files of OpenAI's code load as what it computes, come back as they were, or are refused in one line."""

import pytest
import torch
from formats.twins import D, K, M, assert_round_trip, assert_same, made, matrices, openai_file

from saebook.common.errors import UserError
from saebook.formats import openai
from saebook.formats.stated import Stated

NORMS = matrices()["W_dec"].norm(dim=1)


def test_topk_files_normalise_each_token(tmp_path):
    computed = openai_file(tmp_path / "sae.pt")
    stack = openai.read(tmp_path / "sae.pt")
    assert stack.architecture == "topk" and stack.per_token and stack.members[0].sparsity == K
    assert_same(stack, computed)


def test_rows_one_step_off_norm_one_are_used_as_they_are(tmp_path):
    W_dec = matrices(unit=True)["W_dec"] * 1.003
    openai_file(tmp_path / "sae.pt", **{"decoder.weight": W_dec.T})
    stack = openai.read(tmp_path / "sae.pt")
    assert stack.architecture == "topk" and torch.equal(stack.W_dec[0], W_dec)
    openai_file(tmp_path / "sae.pt", unit=False)
    assert openai.read(tmp_path / "sae.pt").architecture == "topk_free_norm"


def test_relu_files_do_not(tmp_path):
    computed = openai_file(tmp_path / "sae.pt", "ReLU", unit=False)
    stack = openai.read(tmp_path / "sae.pt")
    assert stack.architecture == "relu" and not stack.per_token
    assert_same(stack, computed, NORMS)


def test_a_tied_decoder_is_the_encoder_transposed(tmp_path):
    t = matrices()
    openai_file(tmp_path / "sae.pt", "ReLU", **{"decoder.weight": ..., "decoder.linear.weight": t["W_enc"].T})
    stack = openai.read(tmp_path / "sae.pt")
    rows = t["W_enc"].T / t["W_enc"].T.norm(dim=1, keepdim=True)
    assert torch.allclose(stack.W_dec[0], rows, atol=1e-6)


@pytest.mark.parametrize(
    ("activation", "content", "message"),
    [
        ("Identity", {}, "has the activation 'Identity': only ReLU and TopK can be read"),
        ("TopK", {"activation": ...}, r"does not say its activation, ReLU or TopK: state it \(--architecture\)"),
        ("TopK", {"activation_state_dict": {"postact_fn": "ReLU"}}, r"does not say k.*\(--k\)"),
        ("TopK", {"activation_state_dict": {"k": 5, "postact_fn": "Identity"}}, "applies 'Identity' to the k largest"),
        ("TopK", {"activation_state_dict": 5}, "`activation_state_dict` that is no mapping"),
        ("TopK", {"activation_state_dict": {"k": M + 1}}, "has k = 41, which is not from 1"),
        ("TopK", {"pre_bias": ...}, "lacks pre_bias"),
        ("TopK", {"encoder.weight": torch.zeros(3)}, r"W_enc of shape \(3,\), which is no matrix"),
        ("TopK", {"latent_bias": torch.zeros(M + 1)}, r"b_enc of shape \(41,\), not \(40,\)"),
    ],
)
def test_other_functions_and_damaged_files_are_refused_in_one_line(tmp_path, activation, content, message):
    openai_file(tmp_path / "sae.pt", activation, **content)
    with pytest.raises(UserError, match=message) as refused:
        openai.read(tmp_path / "sae.pt")
    assert "\n" not in str(refused.value)


def test_what_the_file_leaves_open_is_stated(tmp_path):
    computed = openai_file(tmp_path / "sae.pt", activation=..., activation_state_dict=...)
    assert_same(openai.read(tmp_path / "sae.pt", Stated(architecture="TopK", k=K)), computed)
    openai_file(tmp_path / "other.pt")
    with pytest.raises(UserError, match="says architecture = TopK, and you say ReLU"):
        openai.read(tmp_path / "other.pt", Stated(architecture="ReLU"))


@pytest.mark.parametrize(("kind", "per_token"), [("topk", True), ("multi_topk", True), ("relu", False)])
def test_own_stacks_round_trip(tmp_path, kind, per_token):
    stack = made(kind, per_token=per_token)
    openai.write(stack, tmp_path / "sae.pt", 1)
    again = openai.read(tmp_path / "sae.pt")
    assert_round_trip(stack, again)
    assert torch.equal(again.W_enc[0], stack.W_enc[1]) and torch.equal(again.W_dec[0], stack.W_dec[1])


@pytest.mark.parametrize(("kind", "per_token"), [("topk", True), ("relu", False)])
def test_a_written_file_has_every_entry_of_a_new_model_and_no_other(tmp_path, kind, per_token):
    """Its state dictionary is loaded strictly: the statistics that it keeps of a run must be there, one for each latent."""
    openai.write(made(kind, per_token=per_token), tmp_path / "sae.pt")
    content = torch.load(tmp_path / "sae.pt", weights_only=True)
    shapes = {name: tuple(value.shape) for name, value in content.items() if isinstance(value, torch.Tensor)}
    assert shapes == {
        "pre_bias": (D,), "latent_bias": (M,), "encoder.weight": (M, D), "decoder.weight": (D, M),
        "stats_last_nonzero": (M,), "latents_activation_frequency": (M,), "latents_mean_square": (M,),
    }  # fmt: skip
    options = {"k": 3, "postact_fn": "ReLU"} if per_token else {}
    assert (content["activation"], content["activation_state_dict"]) == ("TopK" if per_token else "ReLU", options)


def test_a_relu_without_centring_is_written_as_one_with(tmp_path):
    stack = made("normalised_relu")
    openai.write(stack, tmp_path / "sae.pt", 1)
    assert_round_trip(stack, openai.read(tmp_path / "sae.pt"))


def test_a_normalisation_that_the_name_would_contradict_is_not_written(tmp_path):
    with pytest.raises(UserError, match="reads the activation TopK as one that does, and this SAE does not normalise"):
        openai.write(made("topk"), tmp_path / "sae.pt")
    with pytest.raises(UserError, match="reads the activation ReLU as one that does not, and this SAE normalises"):
        openai.write(made("relu", per_token=True), tmp_path / "sae.pt")
    with pytest.raises(UserError, match="has no architecture that computes 'gated'"):
        openai.write(made("gated"), tmp_path / "sae.pt")
    assert not list(tmp_path.iterdir())
