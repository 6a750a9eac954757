"""The public API: lazy, complete, documented."""

import ast
import inspect
import re
import subprocess
import sys
import tomllib

import pytest
import yaml

import saebook
from saebook.common import paths

ROOT = paths.root()
PUBLIC = [name for name in saebook.__all__ if name != "__version__"]
SHAPE = re.compile(r"\[\w+(-1)?(, ?\w+(-1)?)*\]")


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_saebook_imports_nothing_heavy():
    loaded = run("import saebook, sys; dir(saebook); print(*sys.modules)").split()
    assert "saebook" in loaded
    heavy = ("torch", "pandas", "numpy", "scipy", "transformers", "transformer_lens", "matplotlib", "pydantic", "yaml")
    assert not [name for name in loaded if name.split(".")[0] in heavy or name.startswith("saebook.")]


def test_every_name_resolves_and_is_listed_three_times_alike():
    tree = ast.parse((ROOT / "src" / "saebook" / "__init__.py").read_text())
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.asname or alias.name for node in typed.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assigned = {target.id for node in typed.body if isinstance(node, ast.Assign) for target in node.targets}
    assert imported | assigned == set(saebook._WHERE) == set(PUBLIC)
    for name in PUBLIC:
        assert getattr(saebook, name) is not None
    assert set(saebook.__all__) <= set(dir(saebook))


def test_type_checkers_see_the_same_objects():
    tree = ast.parse((ROOT / "src" / "saebook" / "__init__.py").read_text())
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    for node in typed.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert saebook._WHERE[alias.asname or alias.name] == f"{node.module}:{alias.name}"


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        saebook.trian  # noqa: B018
    assert not hasattr(saebook, "torch")


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_have_docstrings_with_shapes(name):
    value = getattr(saebook, name)
    documentation = inspect.getdoc(value) or ""
    assert len(documentation.split()) >= 5, f"{name} has no docstring"
    callables = [value]
    if inspect.isclass(value):
        callables = [f for n, f in vars(value).items() if inspect.isfunction(f) and not n.startswith("_")]
    for function in callables:
        arguments = inspect.get_annotations(inspect.unwrap(function))
        if "Tensor" in {getattr(kind, "__name__", "") for kind in arguments.values()}:
            text = inspect.getdoc(function) or ""
            assert SHAPE.search(text), f"{name}: {function.__qualname__} takes tensors and names no shape"


@pytest.mark.parametrize("name", PUBLIC)
def test_public_docstrings_are_valid_for_sphinx(name):
    value = getattr(saebook, name)
    functions = [f for n, f in vars(value).items() if not n.startswith("_")] if inspect.isclass(value) else []
    for documentation in filter(None, (inspect.getdoc(one) for one in (value, *filter(inspect.isroutine, functions)))):
        between = documentation.split("`")[::2]  # what stands outside of code: `Reference`s would be an error
        assert len(documentation.split("`")) % 2 == 1
        assert not any(text[:1].isalnum() for text in between[1:]), documentation


def test_api_page_documents_exactly_the_public_names():
    page = (ROOT / "book" / "api.md").read_text()
    documented = re.findall(r"auto(?:class|function|exception):: saebook\.(\w+)", page)
    assert sorted(documented) == sorted(PUBLIC)


def test_version_is_the_same_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert re.search(rf"^## \[{re.escape(version)}\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert re.fullmatch(r"\d+\.\d+\.\d+", saebook.__version__)
