"""Fingerprints change with what is computed, and with nothing else."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from saebook.common import fingerprint
from saebook.sae import registry
from saebook.training import sweep

HOME = Path(fingerprint.__file__).parents[1]
MODULES = {name: registry.get(name).__module__ for name in registry.names()}
GATED = {"gated", "gated_unfrozen", "gated_no_r_mag", "gated_untied"}
AUXK = {"topk_aux_attached", "topk_aux_bias", "topk_aux_decoder", "topk_aux_plain", "topk_aux_share"}
TOPK = AUXK | {"topk", "batch_topk", "multi_topk", "topk_free_norm", "topk_no_bias", "topk_scaled"}
EVERY = set(MODULES)


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(HOME, tmp_path / "saebook", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "saebook"


def sources(home: Path) -> dict[str, str]:
    """The part of a run's key that is about source, for each architecture, from a copy of the library at `home`."""
    fingerprint.of.cache_clear()
    return {name: fingerprint.of(sweep._TRAINING, module, home=home) for name, module in MODULES.items()}


def retrained(home: Path, file: str, change: Callable[[ast.Module], object]) -> set[str]:
    """The architectures whose runs would be trained again after a `change` to the syntax tree of `file`."""
    before, path = sources(home), home / file
    tree = ast.parse(path.read_text("utf-8"))
    change(tree)
    path.write_text(ast.unparse(tree), "utf-8")  # without comments, and laid out anew
    after = sources(home)
    return {name for name in before if before[name] != after[name]}


def change_arithmetic(tree: ast.Module) -> None:
    """Turn the first sum into a difference, or the like; where there is none, the first condition; else add a line."""
    swapped = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and type(node.op) in swapped:
            node.op = swapped[type(node.op)]()
            return
    for node in ast.walk(tree):
        if isinstance(node, ast.If):
            node.test = ast.UnaryOp(ast.Not(), node.test)
            return
    tree.body.append(ast.Expr(ast.Constant(1)))


def change_docstrings(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body[0] = ast.Expr(ast.Constant("Other words."))


def test_copy_has_the_fingerprints_of_the_library(copy):
    assert sources(copy) == {name: sweep.source(name) for name in MODULES}


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("sae/gated.py", GATED),
        ("sae/gated_variants.py", GATED - {"gated"}),
        ("sae/relu.py", {"relu", "prolu_relu", "prolu_ste"}),
        ("sae/topk.py", TOPK),
        ("sae/multi_topk.py", {"multi_topk"}),
        ("sae/batch_topk.py", {"batch_topk"}),
        ("sae/jump_relu.py", {"jump_relu", "batch_topk"}),
        ("sae/auxk_variants.py", AUXK),
        ("sae/prolu.py", {"prolu_relu", "prolu_ste"}),
        ("sae/normalised_relu.py", {"normalised_relu"}),
        ("sae/base.py", EVERY),
        ("training/loop.py", EVERY),
        ("training/config.py", EVERY),
        ("training/buffers.py", EVERY),
        ("training/run.py", EVERY),
        ("evaluation/metrics.py", EVERY),
        ("subject/model.py", EVERY),
        ("text/tokens.py", EVERY),
        # Nothing below makes the numbers of a run without an objective.
        ("training/objectives.py", set()),
        ("training/sweep.py", set()),
        ("training/store.py", set()),
        ("formats/saelens.py", set()),
        ("evaluation/pareto.py", set()),
        ("evaluation/ito.py", set()),
        ("common/progress.py", set()),
        ("papers/e2e/plans.py", set()),
        ("plotting/style.py", set()),
    ],
)
def test_changed_arithmetic_changes_exactly_the_keys_that_depend_on_it(copy, file, expected):
    assert retrained(copy, file, change_arithmetic) == expected


@pytest.mark.parametrize(
    "file", ["sae/gated.py", "sae/base.py", "training/loop.py", "training/run.py", "evaluation/metrics.py"]
)
def test_comments_docstrings_and_layout_change_no_key(copy, file):
    assert retrained(copy, file, change_docstrings) == set()


def test_objectives_are_in_the_keys_of_the_runs_that_have_one(copy):
    """A change to them retrains no local SAE, and every end-to-end one."""
    before = fingerprint.of(sweep._TRAINING, sweep.END_TO_END, home=copy)
    assert sweep.source("relu", end_to_end=True) != sweep.source("relu")
    path = copy / "training" / "objectives.py"
    path.write_text(path.read_text("utf-8") + "\nSCALE = 2\n", "utf-8")
    fingerprint.of.cache_clear()
    assert fingerprint.of(sweep._TRAINING, sweep.END_TO_END, home=copy) != before


def test_new_architecture_changes_no_key(copy):
    before = sources(copy)
    (copy / "sae" / "new.py").write_text((copy / "sae" / "relu.py").read_text().replace('"relu"', '"new"'))
    assert sources(copy) == before


def test_moved_module_changes_the_fingerprint(copy):
    """A key covers the path within the package too: a store from before a move is trained again."""
    (copy / "sae" / "one.py").write_text("x = 1\n")
    (copy / "sae" / "two.py").write_text("x = 1\n")
    assert fingerprint.of("saebook.sae.one", home=copy) != fingerprint.of("saebook.sae.two", home=copy)


def test_closure_follows_imports_and_leaves_out_type_checking_only(copy):
    (copy / "a.py").write_text(
        "from typing import TYPE_CHECKING\n\nfrom saebook.sae import relu\n\n"
        "if TYPE_CHECKING:\n    from saebook.sae.topk import TopK\nelse:\n    import saebook.sae.prolu\n\n\n"
        "def f():\n    from saebook.common.errors import UserError\n"
    )
    names = set(fingerprint.closure(["saebook.a"], copy))
    assert {"saebook.a", "saebook.sae", "saebook.sae.relu", "saebook.sae.prolu", "saebook.common.errors"} <= names
    assert "saebook.sae.topk" not in names and "saebook" not in names and "saebook.sae.gated" not in names
    without = set(fingerprint.closure(["saebook.a"], copy, fingerprint.WITHOUT))
    assert without == {name for name in names if not name.startswith("saebook.common")}
    with pytest.raises(ModuleNotFoundError, match=r"saebook\.nowhere"):
        fingerprint.closure(["saebook.nowhere"], copy)


def test_only_common_is_left_out_of_a_run():
    """Nothing in `common` makes numbers: it draws nothing and touches no tensor."""
    for file in (HOME / "common").glob("*.py"):
        text = file.read_text("utf-8")
        assert not any(word in text for word in ("randn", "default_rng", "numpy", "Tensor")), file.name
    names = set(fingerprint.closure([sweep._TRAINING, MODULES["gated"]], without=fingerprint.WITHOUT))
    assert {
        "saebook.training.loop",
        "saebook.training.buffers",
        "saebook.evaluation.metrics",
        "saebook.sae.gated",
    } <= names
    assert not names & {
        "saebook.training.sweep",
        "saebook.training.store",
        "saebook.sae.topk",
        "saebook.formats.saelens",
    }


SAMPLE = '''
"""A docstring."""
import os  # a comment


class A(dict):
    """Another."""

    x: int = u"text"

    def f(self, *, y=None, **z):
        """And another."""
        return f"{y!r:>{10}} and " "more" if y else [0.1, 1e-9, b"\\xff", ..., "é"]


async def g() -> None:
    async with A() as a, A():
        match a:
            case {"k": None, **rest} if rest:
                pass
'''


def test_canonical_form_is_the_same_on_every_python():
    assert fingerprint.canonical(SAMPLE) == fingerprint.canonical(
        SAMPLE.replace("# a comment", "").replace("And", "or")
    )
    assert fingerprint.canonical(SAMPLE) != fingerprint.canonical(SAMPLE.replace("1e-9", "1e-8"))
    assert fingerprint.canonical("x = None") != fingerprint.canonical("x = 0") != fingerprint.canonical("x = False")
    assert fingerprint.canonical('f"a" "b"') == fingerprint.canonical('f"ab"')
    expected = fingerprint.hashlib.sha256(fingerprint.canonical(SAMPLE)).hexdigest()[:16]
    assert expected == "e4552b591366ca65"
    for python in ("python3.11", "python3.12", "python3.13", "python3.14"):
        if shutil.which(python) and Path(shutil.which(python)).resolve() != Path(sys.executable).resolve():
            script = (
                f"import sys; sys.path.insert(0, {str(HOME.parent)!r}); import importlib.util as u, hashlib\n"
                f"spec = u.spec_from_file_location('fingerprint', {str(HOME / 'common' / 'fingerprint.py')!r})\n"
                "made = u.module_from_spec(spec); spec.loader.exec_module(made)\n"
                "print(hashlib.sha256(made.canonical(sys.stdin.read())).hexdigest()[:16])"
            )
            other = subprocess.run([python, "-c", script], input=SAMPLE, capture_output=True, text=True)
            assert other.returncode or other.stdout.strip() == expected, python  # a shim may lead nowhere
