"""The seal ages what depends on a change, and nothing else."""

import json
import shutil
from types import SimpleNamespace

import nbformat
import pytest

from saebook.book import budgets, runner, status
from saebook.book.runner import RunRecord
from saebook.claims import provenance, results
from saebook.common import paths

NAMES = ("gated.fig05_pareto", "checks.planted")


def sealed():
    return {name: provenance.parts(name, budgets.resolve(name, "cpu")) for name in NAMES}


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of everything that a seal reads, which a test may change."""
    root = paths.root()
    for name in ("_config.yml", "requirements.lock"):
        shutil.copy(root / name, tmp_path)
    shutil.copytree(root / "notebooks", tmp_path / "notebooks")
    for name in ("papers", "subjects"):
        shutil.copytree(root / "data" / name, tmp_path / "data" / name)
    shutil.copy(root / "data" / "claims.yml", tmp_path / "data")
    shutil.copytree(root / "src" / "saebook", tmp_path / "saebook", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("SAEBOOK_HOME", str(tmp_path))
    monkeypatch.setattr(provenance, "_home", lambda: tmp_path / "saebook")
    return tmp_path


def edited(file, add):
    file.write_text(file.read_text() + add)


@pytest.mark.parametrize(
    ("file", "ages"),
    [
        ("saebook/training/loop.py", {"gated.fig05_pareto": ["library"]}),  # the ruler trains nothing
        ("saebook/evaluation/metrics.py", {"gated.fig05_pareto": ["library"], "checks.planted": ["library"]}),
        ("saebook/papers/checks/planted.py", {"checks.planted": ["library"]}),
        ("saebook/cli.py", {}),  # no number comes from it
        ("requirements.lock", {"gated.fig05_pareto": ["lock"], "checks.planted": ["lock"]}),
        ("data/papers/gated_tables_1_to_8.csv", {"gated.fig05_pareto": ["papers"]}),
        ("data/subjects/prose-4l128/config.json", {"gated.fig05_pareto": ["subject"], "checks.planted": ["subject"]}),
    ],
)
def test_one_change_ages_what_depends_on_it(copy, file, ages):
    before = sealed()
    edited(copy / file, "\n")
    now = sealed()
    assert {name: moved for name in NAMES if (moved := provenance.changed(before[name], now[name]))} == ages


def test_a_changed_notebook_ages_itself_alone_and_its_prose_only_the_page(copy):
    before = sealed()
    file = copy / "notebooks" / "gated" / "fig05_pareto.ipynb"
    book = nbformat.read(file, 4)
    book.cells[0].source += " More."
    nbformat.write(book, file)
    now = sealed()["gated.fig05_pareto"]
    assert provenance.changed(before["gated.fig05_pareto"], now) == []
    assert provenance.changed(before["gated.fig05_pareto"], now, page=True) == ["prose"]
    book.cells[-1].source += "\n# more"
    nbformat.write(book, file)
    after = sealed()
    assert provenance.changed(before["gated.fig05_pareto"], after["gated.fig05_pareto"]) == ["notebook"]
    assert provenance.changed(before["checks.planted"], after["checks.planted"], page=True) == []


def test_other_parameters_and_another_corpus_are_seen():
    budget = budgets.resolve("gated.fig05_pareto", "cpu")
    own = provenance.parts("gated.fig05_pareto", budget)
    asked = budgets.resolve("gated.fig05_pareto", "cpu", layer=2)
    assert provenance.changed(own, provenance.parts("gated.fig05_pareto", asked)) == ["parameters"]
    assert provenance.changed(own, provenance.parts("gated.fig05_pareto", budget, "0123")) == ["corpus"]
    assert set(provenance.changed(None, own)) == set(own) - set(provenance.PAGE_ONLY)


def test_imports_are_followed_wherever_they_stand(copy):
    (copy / "saebook" / "one.py").write_text("def f():\n    from saebook import two\n")
    (copy / "saebook" / "two.py").write_text("import saebook.evaluation.pareto\n")
    found = {f.relative_to(copy / "saebook").as_posix() for f in provenance.modules(["from saebook import one"])}
    assert {"one.py", "two.py", "analysis/pareto.py", "analysis/__init__.py", "stats.py"} <= found
    assert "train.py" not in found


# How a notebook stands ------------------------------------------------------------------------------------------------


@pytest.fixture
def built(copy):
    """Write an executed copy of a notebook that ended in a given way, sealed as it stands now."""

    def write(name="gated/fig05_pareto", tier="smoke", ended="ok", error=None):
        file = runner.executed(name, tier)
        file.parent.mkdir(parents=True, exist_ok=True)
        book = nbformat.read(runner.source(name), 4)
        record = RunRecord(name, tier, ended, error, 12.0, 0, {})
        book.metadata["replication"] = vars(record) | {"seal": status.page_seal(name, tier)}
        nbformat.write(book, file)

    return write


def word(name, tier="smoke"):
    return status.state(name, tier).word


def test_fresh_stale_failed_and_never_run(built, copy):
    assert word("gated/fig05_pareto") == status.NEVER and not status.state("gated/fig05_pareto", "smoke").page
    built()
    built("checks/planted")
    assert word("gated/fig05_pareto") == word("checks/planted") == status.FRESH
    assert word("gated/fig05_pareto", "cpu") == status.NEVER
    edited(copy / "saebook" / "train.py", "\n# one function changed\n")
    stale = status.state("gated/fig05_pareto", "smoke")
    assert (stale.word, stale.why) == (status.STALE, "changed since: library")
    assert word("checks/planted") == status.FRESH
    built(ended="killed", error="the kernel died")
    failed = status.state("gated/fig05_pareto", "smoke")
    assert (failed.word, failed.why) == (status.FAILED, "killed: the kernel died")


def test_the_ledgers_rows_age_a_page(built, copy):
    built()
    file = copy / "data" / "claims.yml"
    file.write_text(file.read_text().replace("band: [0.35, 0.65]", "band: [0.4, 0.6]"))
    assert status.state("gated/fig05_pareto", "smoke").why == "changed since: claims"


def test_a_recorded_result_speaks_where_this_copy_has_no_page(copy):
    budget = budgets.resolve("gated.fig05_pareto", "cpu")
    kept = {
        "notebook": "gated.fig05_pareto", "tier": "cpu", "parameters": vars(budget), "findings": {}, "live": {},
        "date": "2030-01-02", "device": "a machine", "seconds": 5.0, "seal": provenance.parts("gated.fig05_pareto", budget),
    }  # fmt: skip
    file = results.folder("cpu") / "gated" / "fig05_pareto.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(kept))
    found = status.state("gated/fig05_pareto", "cpu")
    assert (found.word, found.page) == (status.FRESH, False) and "2030-01-02 on a machine" in found.why
    edited(copy / "requirements.lock", "\n")
    assert status.state("gated/fig05_pareto", "cpu").why.startswith("changed since: lock; recorded")


def test_a_notebook_without_a_budget_is_no_error(copy, monkeypatch):
    monkeypatch.setattr(budgets, "load", lambda tier: {})
    assert status.state("gated/fig05_pareto", "gpu").why == "tier gpu has no budget for it"


def test_a_budget_without_a_subject_has_a_seal_too(copy):
    parts = provenance.parts("checks.planted", SimpleNamespace(tier="cpu", seeds=[0]))
    assert parts["subject"] == parts["corpus"] == ""
