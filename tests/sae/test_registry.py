"""The registry finds architectures by their files."""

import ast
import sys
from pathlib import Path

import pytest
import torch

from saebook.common.errors import UserError
from saebook.sae import registry
from saebook.sae.base import Member, SAEStack
from saebook.training.config import TrainConfig
from saebook.training.loop import TrainState


def test_names_are_those_of_the_architectures_in_the_folder():
    assert {"relu", "gated", "topk", "prolu_relu", "prolu_ste", "normalised_relu", "gated_untied"} <= set(
        registry.names()
    )
    assert registry.names() == sorted(registry.names())
    for name in registry.names():
        assert registry.get(name).architecture == name and registry.label(name)
        assert registry.colour(name).startswith("#") and len(registry.colour(name)) == 7


def test_unknown_architecture_lists_the_known_ones():
    for ask in (registry.get, registry.label, registry.colour):
        with pytest.raises(UserError, match=r"'sigmoid' is not known: use one of batch_topk, gated, .*topk"):
            ask("sigmoid")
    with pytest.raises(UserError, match="'sigmoid' is not known"):
        registry.build("sigmoid", 12, 40, (Member(0, 1.0),))


def test_two_architectures_of_one_name_are_refused():
    class Other(SAEStack):
        pass

    with pytest.raises(ValueError, match="two architectures are called 'gated'"):
        registry.register("gated", label="", colour="")(Other)


def test_new_file_is_a_new_architecture(tmp_path, monkeypatch):
    """One file in the folder, with `encode` and `loss` alone, is listed, built, and trained by autograd."""
    package = Path(registry.__file__).parent
    (tmp_path / "soft.py").write_text(
        "import torch\n"
        "from saebook.sae.base import SAEStack, Weight\n"
        "from saebook.sae.losses import Losses\n"
        "from saebook.sae.registry import register\n\n\n"
        "@register('soft', label='Soft', colour='#123456')\n"
        "class Soft(SAEStack):\n"
        "    per_latent = ('b_enc',)\n"
        "    inner_biases = ('b_enc',)\n"
        "    b_enc: Weight\n\n"
        "    def encode(self, x):\n"
        "        pre = torch.baddbmm(self.b_enc[:, None], x - self.b_dec[:, None], self.W_enc)\n"
        "        return torch.nn.functional.softplus(pre) * (pre > 0)\n\n"
        "    def loss(self, x, dead=None):\n"
        "        f = self.encode(x)\n"
        "        error = (self.decode(f) - x).square().sum(-1).mean(-1)\n"
        "        return Losses.of({'reconstruction': error, 'sparsity': 0.01 * f.sum(-1).mean(-1)}, f > 0)\n"
    )
    monkeypatch.setattr(sys.modules["saebook.sae"], "__path__", [str(package), str(tmp_path)])
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    registry._import_all.cache_clear()
    try:
        assert "soft" in registry.names() and registry.label("soft") == "Soft"
        stack = registry.build("soft", 6, 24, (Member(0, 0.01), Member(1, 0.01)))
        assert not stack.has_own_gradients()
        x = torch.randn(256, 6, generator=torch.Generator().manual_seed(0))
        state = TrainState(stack, TrainConfig(lr=1e-2, tokens=256 * 40, batch=256, resample_at=()))
        before = stack.loss(x).terms["reconstruction"].detach().clone()
        for step in range(40):
            state.step(x, step)
        assert (stack.loss(x).terms["reconstruction"] < 0.5 * before).all()
        assert torch.allclose(stack.W_dec.norm(dim=-1), torch.ones(2, 24))
    finally:
        registry._import_all.cache_clear()
        sys.modules.pop("saebook.sae.soft", None)


def test_no_import_leads_from_the_registry_to_an_architecture():
    tree = ast.parse(Path(registry.__file__).read_text("utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name and name.startswith("saebook.sae")} == {"saebook.sae.base"}
