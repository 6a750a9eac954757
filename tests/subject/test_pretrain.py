"""The subject's trainer: its shortcut is exact, its schedule is what the recipe says, a kill changes nothing."""

import json

import pytest
import torch

from saebook.common.errors import UserError
from saebook.subject import pretrain
from saebook.subject.pretrain import Recipe, tied_cross_entropy


def test_the_tied_head_equals_plain_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(1100, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(50, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 50, (1100,), generator=generator)
    plain = torch.nn.functional.cross_entropy(hidden @ weight.T, targets)
    expected = torch.autograd.grad(3 * plain, (hidden, weight))
    found = tied_cross_entropy(hidden, weight, targets)
    assert found.item() == pytest.approx(plain.item(), rel=1e-12)
    for a, b in zip(torch.autograd.grad(3 * found, (hidden, weight)), expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-14)


def test_a_longer_run_begins_as_a_shorter_one():
    short, long = Recipe(tokens=4_000_000), Recipe(tokens=8_000_000)
    same = round(0.6 * short.steps()) - 1
    assert [short.rate(s) for s in range(same)] == [long.rate(s) for s in range(same)]
    assert short.rate(0) == 0.01 and short.rate(same) == 1.0 and short.rate(short.steps() - 1) < 0.01


@pytest.fixture
def recipe(tmp_path, monkeypatch, text_folder):
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "cache"))
    return Recipe(
        source=f"folder:{text_folder}", vocabulary=300, context=16, d_model=16, layers=1, heads=2, tokens=8 * 16 * 12,
        rows_per_step=8, warmup_steps=2,
    )  # fmt: skip


def test_a_run_that_was_cut_off_ends_at_the_same_weights(recipe, tmp_path, monkeypatch):
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
