"""An SAE is taken where it fits, under any library's name for the site, and refused in one line that says what to give."""

import json

import pytest
import torch
import yaml
from formats.twins import D, M, matrices, saelens_file

from saebook.book.brought import fitting
from saebook.book.brought.naming import Place
from saebook.common.errors import UserError
from saebook.formats import e2e_sae, openai, sparsify
from saebook.formats.portable import Origin
from saebook.sae import registry
from saebook.sae.base import Member

AT = "blocks.8.hook_resid_pre"


def opened(file, at=AT, d_in=D, subject="gpt2", **place):
    return fitting.opened(Place("mine", file, **place), file, at, d_in, subject)


@pytest.fixture
def relu():
    return registry.build("relu", D, M, (Member(0, 1.0),))


@pytest.fixture
def sae(tmp_path):
    """A folder by SAELens for block 8's input, with what a test changes in it."""

    def made(hook_name="blocks.8.hook_resid_pre", kind="standard", **cfg):
        folder = tmp_path / f"sae{len(list(tmp_path.iterdir()))}"
        metadata = {"sae_lens_version": "6.54.12", "model_name": "gpt2", "hook_name": hook_name}
        saelens_file(folder, kind, metadata=metadata, **cfg)
        return folder

    return made


def test_fitting_sae_keeps_what_it_was_made_for(sae):
    one = opened(sae())
    assert one.origin == Origin("gpt2", "blocks.8.hook_resid_pre") and (one.stack.d_in, one.stack.d_sae) == (D, M)


@pytest.mark.parametrize(
    ("hook_name", "at"),
    [
        ("blocks.7.hook_resid_post", AT),  # what a block leaves behind is what the next one reads
        ("transformer.h.7", AT),
        ("gpt_neox.layers.7", AT),
        ("layers.8", "blocks.8.hook_resid_post"),
        ("model.layers.3.mlp", "blocks.3.hook_mlp_out"),
        ("blocks.3.attn.hook_z", "blocks.3.attn.hook_z"),
    ],
)
def test_other_names_of_the_same_site_fit(sae, hook_name, at):
    assert opened(sae(hook_name), at).origin.hook_name == hook_name


@pytest.mark.parametrize(
    ("hook_name", "remedy"),
    [
        ("blocks.2.hook_resid_post", "give -p site resid_post -p layer 2"),
        ("blocks.8.hook_resid_post", "give -p site resid_post -p layer 8"),
        ("blocks.8.mlp.hook_post", "give -p site mlp_post -p layer 8"),
        ("h.8.mlp", "give -p site mlp_out -p layer 8"),
        ("blocks.8.hook_resid_mid", "no page looks there, only at resid_pre, resid_post"),
    ],
)
def test_sae_of_another_site_is_refused_with_what_to_give(sae, hook_name, remedy):
    with pytest.raises(UserError, match=f"mine was made for {hook_name}, and this run looks at {AT} of gpt2: {remedy}"):
        opened(sae(hook_name))


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ("gpt2", "its files name this very model and hook, so one of them is wrong"),
        ("openai-community/gpt2", "its files name this very model"),
        ("gpt2-medium", r"it was made for another model, gpt2: give that one \(-p subject\)"),
        ("/models/gpt2", r"it was made for another model: give that one \(-p subject\)"),
    ],
)
def test_sae_of_another_width_is_refused(sae, subject, words):
    with pytest.raises(
        UserError, match=f"mine takes activations of width {D}, and {AT} of {subject} has {2 * D}: {words}"
    ):
        opened(sae(), d_in=2 * D, subject=subject)
    assert opened(sae(), d_in=None, subject=subject)  # before the model is there, its width may be unknown


@pytest.mark.parametrize(
    ("said", "subject", "same"),
    [
        ("gpt2-small", "gpt2", True), ("openai-community/gpt2", "gpt2", True), ("pythia-70m", "EleutherAI/pythia-70m", True),
        ("gpt2", "gpt2-medium", False), ("gpt2", "/models/gpt2", None), ("gpt2", "./gpt2", None), (None, "gpt2", None),
    ],
)  # fmt: skip
def test_models_are_compared_by_name_and_folders_not_at_all(said, subject, same):
    assert fitting.same_model(said, subject) is same
    doubt = fitting.doubt("mine", Origin(said, AT), subject)
    assert bool(doubt) == (same is False) and (not doubt or f"model {said}, and is measured in {subject}" in doubt)


def test_file_that_does_not_say_its_site_is_refused_unless_its_release_does(tmp_path, relu):
    openai.write(relu, tmp_path / "6.pt")
    with pytest.raises(
        UserError, match=r"does not say which site.*`saebook convert .*--hook-name blocks\.8\.hook_resid_pre`"
    ):
        opened(tmp_path / "6.pt")
    assert opened(tmp_path / "6.pt", hook_name="blocks.8.hook_resid_pre").origin.hook_name == "blocks.8.hook_resid_pre"
    with pytest.raises(UserError, match=r"was made for blocks\.6\.hook_resid_pre"):
        opened(tmp_path / "6.pt", hook_name="blocks.6.hook_resid_pre")


def test_convention_that_is_left_open_comes_with_the_whole_command(sae):
    with pytest.raises(
        UserError, match=r"is subtracted from the input: state it by `saebook convert \S+ OUT --to saelens --apply-b-dec-to-input "
        r"yes` \(or no\), and give OUT instead$"
    ):  # fmt: skip
        opened(sae(apply_b_dec_to_input=...))


def test_everything_that_is_left_open_is_in_one_command(sae):
    with pytest.raises(UserError, match=r"--apply-b-dec-to-input yes --input-scale SCALE` \(or no\), and give OUT"):
        opened(sae(apply_b_dec_to_input=..., normalize_activations="expected_average_only_in"))
    with pytest.raises(
        UserError, match=r"--apply-b-dec-to-input yes --normalize-activations none` \(or no; or layer_norm\)"
    ):
        opened(sae(apply_b_dec_to_input=..., normalize_activations=...))
    with pytest.raises(UserError, match=rf"--apply-b-dec-to-input yes --hook-name {AT}`"):
        opened(sae(None, apply_b_dec_to_input=...))


def test_folder_without_weights_is_told_what_is_missing(sae):
    folder = sae()
    (folder / "sae_weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"has cfg\.json but no weights: sae_weights\.safetensors is missing beside it"):
        opened(folder)


def test_what_is_no_sae_is_refused(tmp_path):
    with pytest.raises(UserError, match="is in no format that is known"):
        opened(tmp_path)


def test_of_a_file_with_several_sites_the_chapters_is_taken(tmp_path, relu):
    e2e_sae.write(
        registry.build("normalised_relu", D, M, (Member(0, 1.0),)),
        tmp_path / "run",
        origin=Origin("gpt2", "blocks.8.hook_resid_pre"),
    )
    file = tmp_path / "run" / "samples_0.pt"
    tensors = torch.load(file, weights_only=True)
    others = {name.replace("blocks-8", "blocks-2"): tensor + 1 for name, tensor in tensors.items()}
    torch.save(tensors | others, file)
    assert opened(file).origin == Origin("gpt2", "blocks.8.hook_resid_pre")
    assert torch.equal(opened(file).stack.b_dec[0], tensors["blocks-8-hook_resid_pre.decoder.bias"])
    with pytest.raises(UserError, match=r"holds no SAE of blocks\.4\.hook_resid_pre, only of blocks\.8"):
        opened(file, "blocks.4.hook_resid_pre")


def test_published_file_of_the_e2e_authors_is_what_their_configuration_says(tmp_path):
    """Their upload has one SAE a file, rows of norm one, and the run's configuration beside it under the same name."""
    ours = matrices(unit=True)
    encoder, bias = ours["W_enc"].T.contiguous(), torch.linspace(-1, 1, M)
    file = tmp_path / "local_similar_ce_layer_8.pt"
    torch.save({"encoder.weight": encoder, "encoder.bias": bias, "decoder.weight": ours["W_dec"].T.contiguous(), "decoder.bias": ours["b_dec"]}, file)  # fmt: skip
    file.with_suffix(".yaml").write_text(yaml.safe_dump({"saes": {"sae_positions": ["blocks.8.hook_resid_pre"]}}))
    one = opened(file)
    x = torch.randn(16, D, generator=torch.Generator().manual_seed(0))
    expected = torch.relu(x @ encoder.T + bias) @ ours["W_dec"] + ours["b_dec"]
    assert one.stack.architecture == "normalised_relu" and torch.allclose(
        one.stack.reconstruct(x)[0], expected, atol=1e-4
    )
    assert one.origin.hook_name == "blocks.8.hook_resid_pre"


def test_sparsify_folder_is_named_by_its_module(tmp_path):
    sparsify.write(registry.build("topk", D, M, (Member(0, 4),)), tmp_path / "run" / "h.7", origin=Origin())
    (tmp_path / "run" / "config.json").write_text(json.dumps({"model": "gpt2"}))
    assert opened(tmp_path / "run" / "h.7").origin == Origin("gpt2", "h.7")


def test_half_precision_is_measured_in_single(sae, relu):
    assert opened(sae()).stack.W_enc.dtype == torch.float32
