"""Fingerprints change with what is computed, and with nothing else."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from saebook.common import fingerprint
from saebook.sae import registry
from saebook.training import sweep

HOME = Path(fingerprint.__file__).parents[1]
MODULES = {name: registry.get(name).__module__ for name in registry.names()}
GATED = {"gated", "gated_unfrozen", "gated_no_r_mag", "gated_untied"}
EVERY = set(MODULES)


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(HOME, tmp_path / "saebook", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "saebook"


def sources(home: Path) -> dict[str, str]:
    """The part of a run's key that is about source, for each architecture, from a copy of the library at `home`."""
    fingerprint.of.cache_clear()
    return {name: fingerprint.of(sweep._TRAINING, module, home=home) for name, module in MODULES.items()}


def changed(home: Path, file: str, old: str, new: str) -> set[str]:
    """The architectures whose runs would be trained again after a change of `file`."""
    before, path = sources(home), home / file
    text = path.read_text("utf-8")
    assert text.count(old) >= 1, f"{file} has no line {old!r}"
    path.write_text(text.replace(old, new, 1), "utf-8")
    after = sources(home)
    return {name for name in before if before[name] != after[name]}


def test_copy_has_the_fingerprints_of_the_library(copy):
    assert sources(copy) == {name: sweep.source(name) for name in MODULES}


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("sae/gated.py", "error[:batch] -= xc", "error[:batch] -= 2 * xc", GATED),
        ("sae/topk.py", "values.relu()", "values.abs()", {"topk"}),
        ("sae/relu.py", ".relu_()", ".abs_()", {"relu", "prolu_relu", "prolu_ste"}),
        ("sae/normalised_relu.py", "2.0 / x.numel()", "3.0 / x.numel()", {"normalised_relu"}),
        ("sae/base.py", "0.2 * norm", "0.3 * norm", EVERY),
        ("training/loop.py", "latents, 0.0)", "latents, 0.5)", EVERY),
        ("training/config.py", "* (1 + math.cos", "* (2 + math.cos", EVERY),
        ("training/run.py", "if not state.stack.per_token", "if state.stack.per_token", EVERY),
        ("evaluation/metrics.py", "return 1.0 - (spliced", "return 2.0 - (spliced", EVERY),
        ("subject/model.py", "_CHUNK = 1024", "_CHUNK = 1025", EVERY),
    ],
)
def test_changed_arithmetic_changes_exactly_the_keys_that_depend_on_it(copy, file, old, new, expected):
    assert changed(copy, file, old, new) == expected


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("sae/gated.py", "    def encode", "    # a comment\n    def encode"),
        ("sae/gated.py", '"""Gated SAEs', '"""Other words'),
        ("training/loop.py", '"""One step on a batch', '"""Another docstring'),
        ("evaluation/metrics.py", "\n\n\n", "\n\n\n\n\n"),
        ("training/sweep.py", "SweepResult(table, len(missing))", "SweepResult(table.copy(), len(missing))"),
        ("training/store.py", "_ABANDONED = 3600.0", "_ABANDONED = 7200.0"),
        ("formats/saelens.py", "SAELENS_VERSION = ", "OTHER = 1\nSAELENS_VERSION = "),
        ("evaluation/pareto.py", "points: int = 20", "points: int = 21"),
        ("common/progress.py", "mininterval=2.0", "mininterval=3.0"),
        ("papers/e2e/plans.py", "\n\n\n", "\n\nMORE = 1\n\n"),
    ],
)
def test_comments_docstrings_and_what_makes_no_numbers_change_no_key(copy, file, old, new):
    assert changed(copy, file, old, new) == set()


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
