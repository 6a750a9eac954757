"""One set of pins, said in three places: requirements.lock, environment.yml, and the ranges of pyproject.toml."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from saebook.common import paths

ROOT = paths.root()
ASKED_FOR = ("torch", "transformer-lens", "jupyter", "jupyter-book", "papermill", "seaborn", "nbval")


def lines(content):
    return [line.strip() for line in content.splitlines() if line.strip() and not line.startswith("#")]


@pytest.fixture(scope="module")
def lock():
    return lines((ROOT / "requirements.lock").read_text())


@pytest.fixture(scope="module")
def pins(lock):
    return {canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in map(Requirement, lock)}


def test_lock_holds_plain_versions_only(lock):
    for line in lock:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line), f"{line} is no plain pin"


def test_conda_holds_the_same_pins(lock):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert pip == lock
    assert "python=3.11" in environment["dependencies"]


def test_packages_ranges_admit_the_pins(pins):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in project["dependencies"] + project["optional-dependencies"]["dev"]:
        wanted = Requirement(line)
        name = canonicalize_name(wanted.name)
        assert name in pins, f"{name} is not in requirements.lock"
        assert wanted.specifier.contains(pins[name], prereleases=True), f"{line} does not admit {pins[name]}"


def test_every_package_that_the_library_imports_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    trees = [ast.parse(file.read_text()) for file in (ROOT / "src").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    roots = {name.split(".")[0] for name in imported} - set(sys.stdlib_module_names) - {"saebook"}
    owners = packages_distributions()
    for root in sorted(roots - {"triton"}):  # a CUDA build of PyTorch brings the one that it needs
        assert declared & {canonicalize_name(name) for name in owners.get(root, [root])}, f"{root} is not declared"


def test_packages_for_users_are_installed(pins):
    assert set(ASKED_FOR) <= set(pins)
    assert pins["jupyter-book"].startswith("1.")


def test_corpus_packages_are_pinned(pins):
    from saebook.text import prose

    assert {canonicalize_name(name) for name in prose.PACKAGES} <= set(pins)
