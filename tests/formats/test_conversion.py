"""Formats are told apart, inspected and converted: from each to each that can hold it, whole or not at all."""

import itertools
import os

import pytest
import torch
from formats.twins import (
    D,
    K,
    M,
    assert_same,
    dictionary_file,
    e2e_file,
    made,
    openai_file,
    saelens_file,
    sparsify_file,
)

from saebook.cli import command_line as cli
from saebook.common.errors import UserError
from saebook.formats import conversion, dictionary_learning, foreign_saelens, options
from saebook.formats.stated import Stated

HOOK = "blocks.6.hook_resid_pre"
WRITERS = {
    "saelens": lambda path: saelens_file(path, "standard", unit=True),
    "dictionary_learning": lambda path: dictionary_file(path, "AutoEncoder", unit=True),
    "sparsify": lambda path: sparsify_file(path, unit=True),
    "openai": lambda path: openai_file(path.with_suffix(".pt"), "ReLU", unit=True),
    "e2e_sae": lambda path: e2e_file(path / "samples_4.pt", HOOK),
}


def theirs(name, tmp_path):
    """A file by the library `name`: its path, and what it computes."""
    computed = WRITERS[name](tmp_path / "theirs")
    return tmp_path / ("theirs.pt" if name == "openai" else "theirs"), computed


@pytest.mark.parametrize("name", list(conversion.FORMATS))
def test_formats_are_recognised_and_read(tmp_path, name):
    path, computed = theirs(name, tmp_path)
    assert conversion.recognise(path) == name
    assert_same(conversion.read(path), computed)
    assert conversion.inspect(path)["d_in"] == str(D)


@pytest.mark.parametrize(
    ("source", "to"), itertools.product(["saelens", "dictionary_learning", "openai", "e2e_sae"], conversion.FORMATS)
)
def test_a_relu_goes_from_each_format_to_each(tmp_path, source, to):
    path, computed = theirs(source, tmp_path)
    if to == "sparsify":
        with pytest.raises(UserError, match="sparsify has no architecture that computes"):
            conversion.convert(path, tmp_path / "out", to)
        assert not (tmp_path / "out").exists()
        return
    out = tmp_path / ("out.pt" if to == "openai" else "out")
    conversion.convert(path, out, to, stated=Stated(hook_name=HOOK))
    assert conversion.recognise(out) == to
    assert_same(conversion.read(out), computed)


def test_a_topk_goes_from_sparsify_to_others_and_back(tmp_path):
    path, computed = theirs("sparsify", tmp_path)
    for number, to in enumerate(("dictionary_learning", "saelens", "sparsify")):
        conversion.convert(path, tmp_path / str(number), to)
        path = tmp_path / str(number)
        assert_same(conversion.read(path), computed)


def test_what_it_was_made_for_goes_along(tmp_path):
    path, _ = theirs("saelens", tmp_path)
    for number, to in enumerate(("dictionary_learning", "e2e_sae", "saelens")):
        conversion.convert(path, tmp_path / str(number), to)
        path = tmp_path / str(number)
        lines = conversion.inspect(path)
        assert (lines["model"], lines["hook"]) == ("gpt2", "blocks.8.hook_resid_pre")


def test_own_stores_are_told_from_others_and_keep_their_name(tmp_path):
    foreign_saelens.write(made("multi_topk"), tmp_path / "own", 1)
    lines = conversion.inspect(tmp_path / "own")
    assert lines["format"] == "saelens, written by saebook" and lines["architecture"] == "multi_topk"
    conversion.convert(tmp_path / "own", tmp_path / "again", "saelens", stated=Stated(model_name="gpt2"))
    assert conversion.read(tmp_path / "again").architecture == "multi_topk"
    assert conversion.inspect(tmp_path / "again")["model"] == "gpt2"


def test_inspect_says_every_convention(tmp_path):
    saelens_file(tmp_path / "sae", "topk", False, "layer_norm", k=K, rescale_acts_by_decoder_norm=True)
    assert conversion.inspect(tmp_path / "sae") == {
        "format": "saelens", "architecture": "topk (here: topk)", "d_in": str(D), "d_sae": str(M), "dtype": "float32",
        "latents": f"the {K} largest of a token, each times the norm of its decoder row",
        "encoder": "sees x; b_dec is not subtracted",
        "activations": "each token's mean and spread are removed, and put back",
        "decoder rows": "norms from 0.2 to 3", "model": "gpt2", "hook": "blocks.8.hook_resid_pre",
    }  # fmt: skip
    sparsify_file(tmp_path / "half", dtype=torch.bfloat16)
    assert conversion.inspect(tmp_path / "half")["dtype"] == "bfloat16"


def test_inspect_does_not_need_the_architecture(tmp_path, no_jump_relu):
    dictionary_file(tmp_path / "sae", "JumpReluAutoEncoder")
    lines = conversion.inspect(tmp_path / "sae")
    assert lines["architecture"] == "JumpReluAutoEncoder (here: jump_relu, not in this version)"
    assert lines["latents"].startswith("those above a threshold: 0.0")


def test_what_is_no_sae_is_said(tmp_path):
    for path, message in (
        (tmp_path / "nothing", "does not exist"),
        (tmp_path, "is in no format that is known"),
        (tmp_path / "a.txt", r"a\.txt cannot be read as tensors"),
        (tmp_path / "a.pt", r"a\.pt is in no format that is known"),
    ):
        (tmp_path / "a.txt").write_text("text")
        torch.save({"weight": torch.ones(2)}, tmp_path / "a.pt")
        with pytest.raises(UserError, match=message):
            conversion.recognise(path)
    with pytest.raises(UserError, match="format 'keras' is not known: use one of saelens, dictionary_learning"):
        conversion.convert(tmp_path, tmp_path / "out", "keras")


def test_nothing_is_overwritten_unless_asked_and_then_only_an_sae(tmp_path):
    path, computed = theirs("dictionary_learning", tmp_path)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("text")
    with pytest.raises(UserError, match="mine is there already: choose another name, or say --overwrite"):
        conversion.convert(path, mine, "saelens")
    with pytest.raises(UserError, match="is in no format that is known"):
        conversion.convert(path, mine, "saelens", overwrite=True)
    assert (mine / "thesis.tex").read_text() == "text"
    conversion.convert(path, tmp_path / "out", "openai")
    for to in (
        "saelens",
        "openai",
        "saelens",
        "saelens",
    ):  # a file by a folder, a folder by a file, and a folder by one
        conversion.convert(path, tmp_path / "out", to, overwrite=True)
        assert_same(conversion.read(tmp_path / "out"), computed)
    assert sorted(os.listdir(tmp_path)) == ["mine", "out", "theirs"]


def test_a_conversion_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path, computed = theirs("dictionary_learning", tmp_path)
    conversion.convert(path, tmp_path / "out", "saelens")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(foreign_saelens, "save_file", full)
    with pytest.raises(UserError, match="the disk that holds"):
        conversion.convert(path, tmp_path / "out", "saelens", overwrite=True)
    assert_same(conversion.read(tmp_path / "out"), computed)
    assert sorted(os.listdir(tmp_path)) == ["out", "theirs"]


def test_the_command_line_names_the_formats():
    assert tuple(conversion.FORMATS) == options.NAMES


def test_commands(tmp_path, capsys):
    dictionary_file(tmp_path / "sae", "AutoEncoderTopK", config=False, unit=True)
    assert cli.main(["inspect", str(tmp_path / "sae")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    arguments = [str(tmp_path / "sae"), "--architecture", "AutoEncoderTopK", "--model-name", "gpt2"]
    assert cli.main(["inspect", *arguments]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["format:", "dictionary_learning"] and said[-2].split() == ["model:", "gpt2"]
    assert cli.main(["convert", *arguments, str(tmp_path / "out"), "--to", "sparsify"]) == 0
    assert conversion.inspect(tmp_path / "out")["model"] == "gpt2"
    assert cli.main(["convert", *arguments, str(tmp_path / "out"), "--to", "sparsify"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert cli.main(["convert", *arguments, str(tmp_path / "out"), "--to", "saelens", "--overwrite"]) == 0
    first, second = (
        conversion.read(tmp_path / "out"),
        dictionary_learning.read(tmp_path / "sae", Stated("AutoEncoderTopK")),
    )
    assert torch.equal(first.W_enc, second.W_enc)


def test_a_convention_on_the_command_line(tmp_path, capsys):
    saelens_file(tmp_path / "sae", "standard", False, apply_b_dec_to_input=...)
    assert cli.main(["inspect", str(tmp_path / "sae"), "--apply-b-dec-to-input", "no"]) == 0
    assert "sees x; b_dec is not subtracted" in capsys.readouterr().out
