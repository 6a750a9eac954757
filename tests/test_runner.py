"""The runner says how a run ended, whatever papermill writes about it."""

import os
import subprocess
import sys

import nbformat
import pytest

from saebook.book import budgets, runner
from saebook.common.errors import UserError

PARAMETERS = """
tier: str = "smoke"  # the budget = how long it takes
seeds: list[int] = []  # several
lr: float = 3e-4  # a rate
layer: int = -1  # which
names: list[str] = ["a"]
"""


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A repository of its own, with one notebook made of the given cells."""
    (tmp_path / "_config.yml").write_text("")
    monkeypatch.setenv("SAEBOOK_HOME", str(tmp_path))

    def make(*cells, kernel="python3"):
        notebook = nbformat.v4.new_notebook(
            metadata={"kernelspec": {"name": kernel, "display_name": "x", "language": "python"}}
        )
        first = nbformat.v4.new_code_cell(PARAMETERS.strip())
        first.metadata["tags"] = ["parameters"]
        notebook.cells = [first, *map(nbformat.v4.new_code_cell, cells)]
        file = tmp_path / "notebooks" / "paper" / "note.ipynb"
        file.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, file)
        return file

    return make


def test_parameters_are_read_with_types_defaults_and_help(book):
    found = {p.name: p for p in runner.parameters(book())}
    assert list(found) == ["tier", "seeds", "lr", "layer", "names"]
    assert (found["seeds"].kind, found["seeds"].default, found["seeds"].help) == ("list[int]", [], "several")
    assert found["tier"].help == "the budget = how long it takes"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"seeds": "0,1,2"}, {"seeds": [0, 1, 2]}),
        ({"seeds": "[4]"}, {"seeds": [4]}),
        ({"lr": "1e-3"}, {"lr": 1e-3}),
        ({"lr": 1}, {"lr": 1.0}),
        ({"layer": "2"}, {"layer": 2}),
        ({"names": "x, y"}, {"names": ["x", "y"]}),
        ({"tier": "007"}, {"tier": "007"}),
    ],
)
def test_values_take_their_parameters_type(book, given, expected):
    checked = runner.check(runner.parameters(book()), given)
    assert checked == expected
    assert [type(v) for v in checked.values()] == [type(v) for v in expected.values()]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"layr": "3"}, "unknown parameter 'layr': did you mean layer"),
        ({"seeds": "abc"}, "seeds takes"),
        ({"seeds": "0.5"}, "seeds takes"),
        ({"layer": "1e5"}, "layer takes int"),
        ({"layer": "True"}, "layer takes int"),
        ({"lr": "nan"}, "lr takes float"),
        ({"lr": "fast"}, "lr takes float"),
        ({"tier": 3}, "tier takes str"),
    ],
)
def test_values_that_do_not_fit_are_refused(book, given, words):
    with pytest.raises(UserError, match=words):
        runner.check(runner.parameters(book()), given)


def test_a_good_run_is_recorded(book):
    book("print(seeds, layer)")
    kept = runner.run("paper/note", given={"seeds": "1,2", "layer": "3"})
    assert (kept.status, kept.error, kept.unran) == ("ok", None, 0)
    file = runner.executed("paper/note", "smoke")
    assert runner.record(file) == kept
    assert kept.parameters == {"tier": "smoke", "seeds": [1, 2], "layer": 3}
    cells = nbformat.read(file, 4).cells
    assert cells[-1].outputs[0].text == "[1, 2] 3\n"
    (injected,) = (c for c in cells if "injected-parameters" in c.metadata.get("tags", []))
    assert "hide-input" in injected.metadata["tags"]


@pytest.mark.parametrize(
    ("cell", "status", "words"),
    [
        ("raise ValueError('no such thing\\nsecond line')", "failed", "ValueError: no such thing"),
        ("from saebook.common.errors import UserError\nraise UserError('give more text')", "failed", "give more text"),
        ("import sys\nsys.exit(3)", "failed", "SystemExit"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "killed", "kernel died"),
        ("import time\ntime.sleep(60)", "timeout", "longer than 4 s"),
    ],
)
def test_a_bad_run_says_how_it_ended(book, cell, status, words):
    book(cell, "print('never')")
    kept = runner.run("paper/note", timeout=4)
    assert kept.status == status
    assert words in kept.error
    assert "\n" not in kept.error
    assert kept.unran >= 1
    assert runner.record(runner.executed("paper/note", "smoke")) == kept


def test_a_missing_notebook_and_a_missing_cell(book, tmp_path):
    file = book()
    with pytest.raises(UserError, match=r"did you mean paper/note\?"):
        runner.source("paper/not")
    notebook = nbformat.read(file, 4)
    notebook.cells[0].metadata["tags"] = []
    nbformat.write(notebook, file)
    with pytest.raises(UserError, match="exactly one"):
        runner.parameters(file)


def test_refused_parameters_write_nothing(book, tmp_path):
    book("print(1)")
    before = sorted(p for p in tmp_path.rglob("*"))
    for wrong in (["-p", "layr", "3"], ["-p", "seeds", "abc"], ["--tier", "huge"], ["-f", "absent.yml"]):
        command = [sys.executable, "-m", "saebook.cli", "run", "paper/note", *wrong]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("saebook: ")
        assert len(done.stderr.strip().splitlines()) == 1
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_nbval_can_fail(tmp_path):
    good, bad = (nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c)]) for c in ("1 + 1", "1 / 0"))
    for name, notebook in (("good", good), ("bad", bad)):
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "x", "language": "python"}
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--nbval-lax",
        "--nbval-current-env",
        "--rootdir",
        str(tmp_path),
    ]
    outcome = {
        n: subprocess.run([*command, str(tmp_path / f"{n}.ipynb")], capture_output=True, check=False).returncode
        for n in ("good", "bad")
    }
    assert outcome == {"good": 0, "bad": 1}


def test_a_tier_without_a_budget_is_refused_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.delitem(budgets.load("cpu"), "gated.fig05_pareto")
    with pytest.raises(UserError, match=r"tier cpu has no budget for gated\.fig05_pareto: run it at smoke"):
        runner.run("gated/fig05_pareto", "cpu", out=tmp_path / "out.ipynb")
    assert not list(tmp_path.iterdir())
