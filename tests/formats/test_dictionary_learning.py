"""Files of dictionary_learning load as what the library computes, come back as they were, or are refused in one line."""

import json

import pytest
import torch
from formats.twins import D, K, M, assert_round_trip, assert_same, dictionary_file, made, matrices

from saebook.common.errors import UserError
from saebook.formats import dictionary_learning
from saebook.formats.portable import Origin
from saebook.formats.stated import Stated
from saebook.sae import registry

NORMS = matrices()["W_dec"].norm(dim=1)
RETURNS_NORMS = {"GatedAutoEncoder", "JumpReluAutoEncoder"}  # so that its latents are ours already


@pytest.mark.parametrize(
    ("dict_class", "here"),
    [
        ("AutoEncoder", "relu"),
        ("AutoEncoderNew", "normalised_relu"),
        ("GatedAutoEncoder", "gated"),
        ("JumpReluAutoEncoder", "jump_relu"),
        ("BatchTopKSAE", "jump_relu"),  # its rows' norms make one threshold many
        ("MatryoshkaBatchTopKSAE", "jump_relu"),
    ],
)
def test_classes_compute_the_same_here_on_unit_rows(tmp_path, jump_relu, dict_class, here):
    computed = dictionary_file(tmp_path / "sae", dict_class)
    stack = dictionary_learning.read(tmp_path / "sae")
    assert stack.architecture == here
    assert torch.allclose(stack.W_dec[0].norm(dim=1), torch.ones(M), atol=1e-6)
    assert_same(stack, computed, 1.0 if dict_class in RETURNS_NORMS else NORMS)


def test_topk_whose_rows_have_norms_of_their_own_keeps_them(tmp_path):
    computed = dictionary_file(tmp_path / "sae", "AutoEncoderTopK")
    stack = dictionary_learning.read(tmp_path / "sae")
    assert stack.architecture == "topk_free_norm" and stack.members[0].sparsity == K
    assert_same(stack, computed)


def test_topk_of_unit_rows_is_topk(tmp_path):
    computed = dictionary_file(tmp_path / "sae", "AutoEncoderTopK", unit=True)
    stack = dictionary_learning.read(tmp_path / "sae")
    assert stack.architecture == "topk"
    assert_same(stack, computed)


@pytest.mark.skipif("batch_topk" not in registry.names(), reason="the architecture batch_topk is not there")
def test_batch_topk_of_unit_rows_is_batch_topk(tmp_path):
    computed = dictionary_file(tmp_path / "sae", "BatchTopKSAE", unit=True)
    stack = dictionary_learning.read(tmp_path / "sae")
    assert stack.architecture == "batch_topk"
    assert_same(stack, computed)


def test_without_the_architecture_a_threshold_is_refused(tmp_path, no_jump_relu):
    for dict_class in ("JumpReluAutoEncoder", "BatchTopKSAE"):
        dictionary_file(tmp_path / dict_class, dict_class, unit=True)
        with pytest.raises(UserError, match="which this version of saebook does not have"):
            dictionary_learning.read(tmp_path / dict_class)


def test_a_file_alone_tells_its_class_by_its_tensors_unless_two_have_the_same(tmp_path):
    computed = dictionary_file(tmp_path / "gated", "GatedAutoEncoder", config=False)
    assert_same(dictionary_learning.read(tmp_path / "gated" / "ae.pt"), computed)
    computed = dictionary_file(tmp_path / "topk", "AutoEncoderTopK", config=False, unit=True)
    with pytest.raises(UserError, match=r"does not say which class it is, AutoEncoderTopK or BatchTopKSAE: state it"):
        dictionary_learning.read(tmp_path / "topk")
    assert_same(dictionary_learning.read(tmp_path / "topk", Stated(architecture="AutoEncoderTopK")), computed)


def test_k_is_in_the_file_or_stated_and_must_agree(tmp_path):
    computed = dictionary_file(tmp_path / "old", "AutoEncoderTopK", config=False, unit=True, k=..., threshold=...)
    stated = Stated(architecture="AutoEncoderTopK")
    with pytest.raises(UserError, match=r"does not say k, how many latents are active in a token: state it \(--k\)"):
        dictionary_learning.read(tmp_path / "old", stated)
    assert_same(dictionary_learning.read(tmp_path / "old", Stated("AutoEncoderTopK", k=K)), computed)
    dictionary_file(tmp_path / "new", "AutoEncoderTopK", unit=True)
    with pytest.raises(UserError, match=f"says k = {K}, and you say 7"):
        dictionary_learning.read(tmp_path / "new", Stated(k=7))
    dictionary_file(tmp_path / "two", "AutoEncoderTopK", unit=True, k=torch.tensor(7))
    with pytest.raises(UserError, match=f"says k = {K}, and ae.pt says 7"):
        dictionary_learning.read(tmp_path / "two")


@pytest.mark.parametrize(
    ("dict_class", "content", "message"),
    [
        ("AutoEncoder", {"bias": ...}, "has the tensors of no class that is known"),
        ("AutoEncoder", {"bias": torch.zeros(M)}, rf"has b_dec of shape \({M},\), not \({D},\)"),
        ("AutoEncoder", {"bias": torch.full((D,), torch.nan)}, "values in b_dec that are not finite"),
        ("AutoEncoder", {"bias": torch.zeros(D, dtype=torch.int)}, "b_dec of type torch.int32"),
        ("AutoEncoder", {"optimizer": {}}, "is the backup of an unfinished run"),
        ("BatchTopKSAE", {"threshold": torch.tensor(-1.0)}, "is a BatchTopK SAE without a threshold"),
        ("AutoEncoderTopK", {"k": torch.tensor(K + 0.5)}, "k = 5.5, which is no whole number"),
        ("AutoEncoderTopK", {"k": torch.tensor(0)}, "says k = 5, and ae.pt says 0"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, dict_class, content, message):
    dictionary_file(tmp_path / "sae", dict_class, **content)
    with pytest.raises(UserError, match=message) as refused:
        dictionary_learning.read(tmp_path / "sae")
    assert "\n" not in str(refused.value)


def test_a_class_that_the_tensors_are_not_of_is_refused(tmp_path):
    dictionary_file(tmp_path / "sae", "AutoEncoder")
    (tmp_path / "sae" / "config.json").write_text(json.dumps({"trainer": {"dict_class": "AutoEncoderNew"}}))
    with pytest.raises(
        UserError, match="says it is of the class AutoEncoderNew, and its tensors are those of AutoEncoder"
    ):
        dictionary_learning.read(tmp_path / "sae")


def test_a_file_that_would_run_code_is_refused(tmp_path):
    (tmp_path / "sae").mkdir()
    torch.save({"bias": print}, tmp_path / "sae" / "ae.pt")
    with pytest.raises(UserError, match=r"ae\.pt cannot be read as tensors"):
        dictionary_learning.read(tmp_path / "sae")


@pytest.mark.parametrize(
    "kind", ["relu", "normalised_relu", "gated", "topk", "multi_topk", "topk_no_bias", "prolu_ste"]
)
def test_own_stacks_round_trip(tmp_path, jump_relu, kind):
    stack = made(kind)
    dictionary_learning.write(stack, tmp_path / "sae", 1, Origin("gpt2", "blocks.3"))
    again = dictionary_learning.read(tmp_path / "sae")
    assert_round_trip(stack, again)
    _, origin, _ = dictionary_learning.parse(tmp_path / "sae", Stated())
    assert origin == Origin("gpt2", "blocks.3")
    if kind == "relu":  # nothing had to be converted, so nothing was rounded
        assert torch.equal(again.W_dec[0], stack.W_dec[1]) and torch.equal(again.b_enc[0], stack.b_enc[1])


@pytest.mark.skipif("batch_topk" not in registry.names(), reason="the architecture batch_topk is not there")
@pytest.mark.parametrize("kind", ["jump_relu", "batch_topk"])
def test_stacks_with_thresholds_round_trip(tmp_path, kind):
    stack = made(kind)
    dictionary_learning.write(stack, tmp_path / "sae", 1)
    again = dictionary_learning.read(tmp_path / "sae")
    assert again.architecture == kind
    assert_round_trip(stack, again)


def test_what_the_library_cannot_compute_is_not_written(tmp_path):
    with pytest.raises(UserError, match="has no SAE that normalises each token"):
        dictionary_learning.write(made("topk", per_token=True), tmp_path / "sae")
    with pytest.raises(UserError, match="no other library has an architecture that computes 'gated_untied'"):
        dictionary_learning.write(made("gated_untied"), tmp_path / "sae")
    with pytest.raises(UserError, match="there is no member 2 in a stack of 2"):
        dictionary_learning.write(made("topk"), tmp_path / "sae", 2)
    assert not list(tmp_path.iterdir())
