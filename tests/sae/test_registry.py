"""The registry finds architectures by their files."""

import ast
import sys
from pathlib import Path

import pytest

from saebook.common.errors import UserError
from saebook.sae import registry
from saebook.sae.base import Member, SAEStack


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
        with pytest.raises(UserError, match=r"'sigmoid' is not known: use one of gated, .*topk"):
            ask("sigmoid")
    with pytest.raises(UserError, match="'sigmoid' is not known"):
        registry.build("sigmoid", 12, 40, (Member(0, 1.0),))


def test_two_architectures_of_one_name_are_refused():
    class Other(SAEStack):
        pass

    with pytest.raises(ValueError, match="two architectures are called 'gated'"):
        registry.register("gated", label="", colour="")(Other)


def test_new_file_is_a_new_architecture(tmp_path, monkeypatch):
    """One file in the folder, and nothing else: it is found, built, and trains by autograd."""
    package = Path(registry.__file__).parent
    (tmp_path / "shifted.py").write_text(
        "from saebook.sae.registry import register\n"
        "from saebook.sae.relu import ReLU\n\n\n"
        "@register('shifted', label='Shifted', colour='#123456')\n"
        "class Shifted(ReLU):\n"
        "    def loss(self, x, dead=None):\n"
        "        return super().loss(x + 1, dead)\n"
    )
    monkeypatch.setattr(sys.modules["saebook.sae"], "__path__", [str(package), str(tmp_path)])
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    registry._import_all.cache_clear()
    try:
        assert "shifted" in registry.names() and registry.label("shifted") == "Shifted"
        assert not registry.get("shifted").has_own_gradients()
    finally:
        registry._import_all.cache_clear()
        sys.modules.pop("saebook.sae.shifted", None)


def test_no_import_leads_from_the_registry_to_an_architecture():
    tree = ast.parse(Path(registry.__file__).read_text("utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name and name.startswith("saebook.sae")} == {"saebook.sae.base"}
