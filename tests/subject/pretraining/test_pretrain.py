"""Pretraining: bit-equal resumption, rounded weights, and runs that are refused or leave nothing behind."""

import json

import pytest
import torch
from transformers import AutoTokenizer, GPT2LMHeadModel

from saebook.common.errors import UserError
from saebook.subject.pretraining import pretrain
from saebook.subject.pretraining.subject_recipe import Recipe
from saebook.text.tokens import tokens


@pytest.fixture
def recipe(tmp_path, monkeypatch, text_folder):
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "cache"))
    return Recipe(
        source=f"folder:{text_folder}", vocabulary=300, context=16, d_model=16, layers=1, heads=2, tokens=8 * 16 * 12,
        rows_per_step=8, warmup_steps=2,
    )  # fmt: skip


def test_resumed_run_is_bit_equal(recipe, tmp_path, monkeypatch):
    from safetensors.torch import load_file

    record = pretrain.pretrain(recipe, tmp_path / "whole", checkpoint_every=4)
    plain, calls = pretrain.next_token_loss, []

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 7 + 4 + 1:  # in the eighth step, after one evaluation of 4 passes
            raise KeyboardInterrupt
        return plain(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pretrain, "next_token_loss", stops)
        pretrain.pretrain(recipe, tmp_path / "cut", checkpoint_every=4)
    assert (tmp_path / "cut" / "checkpoint.pt").is_file()
    again = pretrain.pretrain(recipe, tmp_path / "cut", checkpoint_every=4)
    whole, cut = (load_file(tmp_path / n / "model.safetensors") for n in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert again["curve"] == record["curve"] and again["held_out_loss"] == record["held_out_loss"]
    kept = json.loads((tmp_path / "cut" / "RECIPE.json").read_text())
    assert kept["recipe"]["d_model"] == 16 and not (tmp_path / "cut" / "checkpoint.pt").exists()
    with pytest.raises(UserError, match="already holds"):
        pretrain.pretrain(recipe, tmp_path / "cut")


def test_weights_are_rounded_when_written_and_measured_as_written(recipe, tmp_path):
    from safetensors.torch import load_file

    plain = pretrain.pretrain(recipe, tmp_path / "plain")
    rounded = pretrain.pretrain(recipe.model_copy(update={"stored": "bfloat16"}), tmp_path / "rounded")
    whole, half = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "rounded"))
    assert {one.dtype for one in whole.values()} == {torch.float32} and {one.dtype for one in half.values()} == {
        torch.bfloat16
    }
    assert all(torch.equal(one.bfloat16(), half[name]) for name, one in whole.items())
    assert plain["curve"] == rounded["curve"]
    assert plain["held_out_loss"] != rounded["held_out_loss"] == pytest.approx(plain["held_out_loss"], abs=0.01)
    again = GPT2LMHeadModel.from_pretrained(tmp_path / "rounded", dtype=torch.float32)
    rows = tokens(recipe.source, AutoTokenizer.from_pretrained(tmp_path / "rounded"), "validation", recipe.context)
    assert pretrain.evaluate(again, torch.from_numpy(rows.astype("int64"))) == pytest.approx(rounded["held_out_loss"])


@pytest.mark.parametrize("name", ["../evil", "/absolute", "", "a/b", ".hidden", "x" * 100, "two words"])
def test_name_that_leaves_the_subjects_folder_is_refused(name):
    with pytest.raises(UserError, match="cannot name a subject"):
        pretrain.embedded_folder(name)


@pytest.mark.parametrize("device", ["banana", "cuda:99"])
def test_absent_device_leaves_no_folder(recipe, tmp_path, device):
    with pytest.raises(UserError, match="not available on this machine"):
        pretrain.pretrain(recipe, tmp_path / "new", device)
    assert not (tmp_path / "new").exists()


def test_too_little_text_leaves_no_folder(recipe, tmp_path):
    big = recipe.model_copy(update={"rows_per_step": 4096, "tokens": 4096 * 16})
    with pytest.raises(UserError, match="fewer than the 4096 of a step"):
        pretrain.pretrain(big, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="fewer than"):
        pretrain.pretrain(big, tmp_path / "mine")
    assert (tmp_path / "mine").is_dir()


def test_interrupt_before_the_first_checkpoint_leaves_no_folder(recipe, tmp_path, monkeypatch):
    def stops(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(pretrain, "next_token_loss", stops)
    with pytest.raises(KeyboardInterrupt):
        pretrain.pretrain(recipe, tmp_path / "new")
    assert not (tmp_path / "new").exists()
