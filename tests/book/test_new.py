"""`saebook new` writes a chapter of two files that runs, passes nbval, and is in the book, its ledger and its budgets."""

import shutil
import subprocess
import sys

import nbformat
import pytest
import yaml

from saebook.book import budgets, new, status
from saebook.book.running import runner
from saebook.book.site import contents, staging
from saebook.claims import ledger
from saebook.common import paths, sidecar
from saebook.common.errors import UserError

ROOT = paths.root()
CLAIM = {
    "id": "gated.fig17.recovers", "where": "Figure 17", "claim": "SAEs recover most of the loss.", "kind": "direction",
    "live": "loss_recovered", "quantity": "loss recovered, mean over the sweep", "side": "above", "null_value": 0.0,
    "smallest_effect": 0.05, "source": "a test",
}  # fmt: skip


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the book's own files, with its data by link."""
    (tmp_path / "_config.yml").write_text((ROOT / "_config.yml").read_text())
    (tmp_path / "requirements.lock").write_text((ROOT / "requirements.lock").read_text())
    (tmp_path / "data").mkdir()
    for folder in ("papers", "subjects", "results", "choices.yml"):
        (tmp_path / "data" / folder).symlink_to(ROOT / "data" / folder)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*"))
    monkeypatch.setenv("SAEBOOK_HOME", str(tmp_path))
    monkeypatch.setenv("SAEBOOK_CACHE", str(ROOT / "data" / "cache"))
    return tmp_path


def files_of(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and "data/" not in str(p)}


def test_new_chapter_is_two_files_and_is_in_contents_budgets_and_ledger(copy):
    before = files_of(copy)
    written = new.new("gated/fig17_other_models")
    assert {p.relative_to(copy).as_posix() for p in written} == files_of(copy) - before
    assert len(written) == 2
    assert "gated/fig17_other_models" in sidecar.names()
    (part,) = [p for p in contents.contents(set(), sidecar.names())["parts"] if p["caption"].startswith("Gated")]
    assert "notebooks/gated/fig17_other_models" in [one["file"] for one in part["chapters"]]
    for tier in ("smoke", "cpu", "gpu", "paper"):
        made, like = (budgets.resolve(f"gated/{name}", tier) for name in ("fig17_other_models", "fig05_pareto"))
        assert made.plain() == like.plain()  # their types differ: the new one takes no SAE of the reader's own
    card = yaml.safe_load(written[1].read_text())
    written[1].write_text(yaml.safe_dump(card | {"claims": [CLAIM]}))
    (claim,) = ledger.judged_by("gated/fig17_other_models")
    assert claim.id == "gated.fig17.recovers"


def test_new_chapter_runs_at_smoke_tier_and_passes_nbval(copy):
    notebook, _ = new.new("gated/fig17_other_models")
    record, page = runner.run("gated/fig17_other_models", "smoke")
    assert record.status == "ok", record.error
    assert any("image/png" in o.get("data", {}) for c in nbformat.read(page, 4).cells for o in c.get("outputs", []))
    (copy / "book").symlink_to(ROOT / "book")
    staged = staging.stage("smoke", [status.state("gated/fig17_other_models", "smoke")])
    page = (staged / "notebooks" / "gated" / "fig17_other_models.ipynb").read_text()
    assert "result-box" in page and "saebook run gated/fig17_other_models" in page
    assert "notebooks/gated/fig17_other_models" in (staged / "_toc.yml").read_text()
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--nbval-lax",
        "--nbval-current-env",
        str(notebook),
    ]
    checked = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout[-2000:]


def test_new_chapter_keeps_the_rules_of_notebooks(copy):
    notebook, _ = new.new("gated/fig17_other_models")
    cells = nbformat.read(notebook, 4).cells
    code = [c for c in cells if c.cell_type == "code"]
    assert 8 <= len(code) <= 12 and len({c.id for c in cells}) == len(cells)
    assert 'page = chapter.open("gated/fig17_other_models", globals())' in [c.source for c in code]
    (figure,) = [c for c in code if "mystnb" in c.metadata]
    assert figure.metadata.mystnb.figure.name == "fig-gated-fig17-other-models" and figure.metadata.mystnb.image.alt


@pytest.mark.parametrize(
    ("name", "like", "words"),
    [
        ("gated.fig17", None, "not a chapter's name"),
        ("../outside/evil", None, "not a chapter's name"),
        ("other/fig17", None, "not a chapter's name"),
        ("gated/" + "x" * 5000, None, "not a chapter's name"),
        ("gated/fig05_pareto", None, "exists: choose another name"),
        ("gated/fig17", "gated/fig5_pareto", "did you mean gated/fig05_pareto"),
    ],
)
def test_bad_name_is_refused_and_nothing_is_written(copy, name, like, words):
    before = files_of(copy)
    with pytest.raises(UserError, match=words):
        new.new(name, like)
    assert files_of(copy) == before
