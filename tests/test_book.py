"""The book around the notebooks: honest about failures, whole, and offline."""

from dataclasses import asdict
from types import SimpleNamespace

import nbformat
import pytest

from saebook.book import build, status
from saebook.book.runner import RunRecord
from saebook.book.status import State
from saebook.common.errors import UserError


def test_a_page_that_reaches_for_the_network_is_named(tmp_path):
    (tmp_path / "good.html").write_text(
        '<a href="https://arxiv.org">paper</a><script src="a.js"></script><link rel="canonical" href="https://x.org">'
    )
    assert build.reaching_out(tmp_path) == []
    (tmp_path / "bad.html").write_text(
        '<script src="https://cdn.example/x.js"></script><img src="//img.example/a.png"><link rel="stylesheet" href="http://f.example/f.css">'
    )
    assert len(build.reaching_out(tmp_path)) == 3


def test_missing_pages_are_named(tmp_path, monkeypatch):
    staging, html = tmp_path / "staging", tmp_path / "html"
    for file in ("book/index.md", "notebooks/gated/a.ipynb"):
        (staging / file).parent.mkdir(parents=True, exist_ok=True)
        (staging / file).write_text("")
    monkeypatch.setattr(build, "html", lambda: html)
    (html / "book").mkdir(parents=True)
    (html / "index.html").write_text("x")
    (html / "book" / "index.html").write_text("x")
    assert build.missing(staging) == ["no page notebooks/gated/a.html"]


def state(word, tier="cpu", record=None, why="", page=True):
    return State("gated/fig05_pareto", tier, word, why, 3.0, page, record)


KILLED = RunRecord("gated/fig05_pareto", "cpu", "killed", "the kernel died", 3.0, 4, {})


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        (state(status.NEVER, page=False), "has not been run"),
        (state(status.FAILED, record=KILLED), "did not finish (killed)"),
        (state(status.STALE, why="changed since: library"), "stale (changed since: library)"),
        (state(status.FRESH, tier="smoke"), "No conclusion"),
    ],
)
def test_a_page_says_how_its_notebook_stands(standing, words):
    assert words in build._notice(standing)


def test_a_finished_page_carries_no_notice():
    assert build._notice(state(status.FRESH)) == ""


# The loop over notebooks: what is fresh is not run, what fails does not stop the rest, an interruption goes on later -----


@pytest.fixture
def notebooks(monkeypatch, tmp_path):
    """Three notebooks whose runs are pretended; `kept` says how each stands, `ends` how its next run ends."""
    names = ["gated/a", "gated/b", "gated/c"]
    kept, ends, ran = {}, {}, []

    def child(starter, name, tier, environment, output):
        ran.append(name)
        end = ends.get(name, "ok")
        if end in ("interrupted", "refused", "dead"):
            output.write("noise\nsaebook: give it more text\n")
            return SimpleNamespace(poll=lambda: 0, returncode={"interrupted": 130, "refused": 2, "dead": -9}[end])
        error = "ValueError: no" if end == "failed" else None
        kept[name] = RunRecord(name, tier, end, error, 1.0, 0, {})
        page = nbformat.v4.new_notebook(metadata={"replication": asdict(kept[name])})
        file = build.runner.executed(name, tier)
        file.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(page, file.with_suffix(".aside"))
        file.with_suffix(".aside").replace(file)
        return SimpleNamespace(poll=lambda: 0, returncode=int(end == "failed"))

    def standing(name, tier):
        if name not in kept:
            return State(name, tier, status.NEVER, "", None, False)
        ok = kept[name].status == "ok"
        return State(
            name, tier, status.FRESH if ok else status.FAILED, f"failed: {kept[name].error}", 1.0, True, kept[name]
        )

    monkeypatch.setattr(build.tiers, "load", lambda tier: {name.replace("/", "."): {} for name in names})
    monkeypatch.setattr(build.runner, "names", lambda: names)
    monkeypatch.setattr(build.runner, "executed", lambda name, tier: tmp_path / f"{name}.ipynb")
    monkeypatch.setattr(build, "_child", child)
    monkeypatch.setattr(build.status, "state", standing)
    monkeypatch.setattr(build, "stage", lambda tier, states: tmp_path)
    monkeypatch.setattr(build, "render", lambda staging: [])
    return ends, ran


def test_a_second_build_runs_nothing_and_says_so(notebooks, capsys):
    _, ran = notebooks
    assert build.build("cpu") == 0 and len(ran) == 3
    capsys.readouterr()
    assert build.build("cpu") == 0 and len(ran) == 3
    assert capsys.readouterr().out.count("fresh, nothing to run") == 3


def test_one_failure_does_not_stop_the_others_and_is_told(notebooks, capsys):
    ends, ran = notebooks
    ends["gated/b"] = "failed"
    assert build.build("cpu") == 1 and ran == ["gated/a", "gated/b", "gated/c"]
    assert "gated/b failed: ValueError: no" in capsys.readouterr().err
    ends.clear()
    assert build.build("cpu") == 0 and ran[3:] == ["gated/b"]


def test_an_interrupted_build_goes_on_where_it_stopped(notebooks):
    ends, ran = notebooks
    ends["gated/b"] = "interrupted"
    with pytest.raises(KeyboardInterrupt):
        build.build("cpu", at_once=1)
    ends.clear()
    assert build.build("cpu") == 0 and ran == ["gated/a", "gated/b", "gated/b", "gated/c"]


@pytest.mark.parametrize(
    ("end", "words"), [("refused", "^give it more text$"), ("dead", "gated/b ended without a record")]
)
def test_a_notebook_that_leaves_no_record_ends_the_build_in_one_line(notebooks, monkeypatch, end, words):
    ends, _ = notebooks
    monkeypatch.setattr(build.status, "state", lambda name, tier: State(name, tier, status.NEVER, "", None, False))
    monkeypatch.setattr(build.runner, "source", lambda name: build.runner.home() / f"{name}.ipynb")
    assert build.build("cpu", ["gated/b"]) == 0  # the page of this run is not taken for the next one's
    ends["gated/b"] = end
    with pytest.raises(UserError, match=words):
        build.build("cpu", ["gated/b"])


def test_a_tier_without_notebooks_is_refused(notebooks, monkeypatch):
    monkeypatch.setattr(build.tiers, "load", lambda tier: {})
    with pytest.raises(UserError, match="no notebook to run"):
        build.build("cpu")


def test_a_figure_that_was_never_drawn_keeps_no_label():
    page = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("figure", metadata={"mystnb": {"figure": {"name": "f"}}})]
    )
    build._without_holes(page)
    assert "mystnb" not in page.cells[0].metadata
