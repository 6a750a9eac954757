"""The loop over notebooks: fresh ones are not run, a failure does not stop the others, an interruption can go on later."""

import errno
from dataclasses import asdict
from types import SimpleNamespace

import nbformat
import pytest

from saebook.book import build, status
from saebook.book.running.runner import RunRecord
from saebook.book.status import State
from saebook.common.errors import UserError


@pytest.fixture
def notebooks(monkeypatch, tmp_path):
    """Three notebooks whose runs are pretended; `ends` says how the next run of each ends, `ran` lists the runs."""
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
        file = build.runner.latest(name, tier)
        file.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(page, file.with_suffix(".aside"))
        file.with_suffix(".aside").replace(file)
        return SimpleNamespace(poll=lambda: 0, returncode=int(end == "failed"))

    def standing(name, tier):
        if name not in kept:
            return State(name, tier, status.NEVER, "", None)
        word = status.FRESH if kept[name].status == "ok" else status.FAILED
        return State(name, tier, word, f"failed: {kept[name].error}", 1.0, tmp_path / name, kept[name])

    monkeypatch.setenv("SAEBOOK_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(build.sidecar, "names", lambda: names)
    monkeypatch.setattr(build.sidecar, "names_at", lambda tier: names)
    monkeypatch.setattr(build.parallel, "jobs", lambda expected, tier: [build.parallel.Job(n) for n in expected])
    monkeypatch.setattr(build.runner, "latest", lambda name, tier: tmp_path / f"{name}.ipynb")
    monkeypatch.setattr(build.runner, "request", lambda name, tier: None)
    monkeypatch.setattr(build, "_check_registers", lambda tier: None)
    monkeypatch.setattr(build, "_child", child)
    monkeypatch.setattr(build.status, "state", standing)
    monkeypatch.setattr(build.staging, "stage", lambda tier, states: tmp_path)
    monkeypatch.setattr(build.rendering, "render", lambda staging: [])
    return ends, ran


def test_second_build_runs_nothing_and_says_so(notebooks, capsys):
    _, ran = notebooks
    assert build.build("cpu") == 0 and len(ran) == 3
    capsys.readouterr()
    assert build.build("cpu") == 0 and len(ran) == 3
    assert capsys.readouterr().out.count("fresh, nothing to run") == 3


def test_one_failure_is_reported_and_does_not_stop_the_others(notebooks, capsys):
    ends, ran = notebooks
    ends["gated/b"] = "failed"
    assert build.build("cpu") == 1 and ran == ["gated/a", "gated/b", "gated/c"]
    assert "gated/b failed: ValueError: no" in capsys.readouterr().err
    ends.clear()
    assert build.build("cpu") == 0 and ran[3:] == ["gated/b"]


def test_interrupted_build_goes_on_where_it_stopped(notebooks):
    ends, ran = notebooks
    ends["gated/b"] = "interrupted"
    with pytest.raises(KeyboardInterrupt):
        build.build("cpu", at_once=1)
    ends.clear()
    assert build.build("cpu") == 0 and ran == ["gated/a", "gated/b", "gated/b", "gated/c"]


@pytest.mark.parametrize(
    ("end", "words"), [("refused", "^give it more text$"), ("dead", "gated/b ended without a record")]
)
def test_notebook_that_leaves_no_record_ends_the_build_in_one_line(notebooks, monkeypatch, end, words):
    ends, _ = notebooks
    monkeypatch.setattr(build.status, "state", lambda name, tier: State(name, tier, status.NEVER, "", None))
    assert build.build("cpu", ["gated/b"]) == 0  # the page of this run is not taken for the next one's
    ends["gated/b"] = end
    with pytest.raises(UserError, match=words):
        build.build("cpu", ["gated/b"])


def test_tier_without_notebooks_is_refused(notebooks, monkeypatch):
    monkeypatch.setattr(build.sidecar, "names_at", lambda tier: [])
    with pytest.raises(UserError, match="no notebook has a budget"):
        build.build("cpu")


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "SAEBOOK_BUILD"), (errno.EACCES, "/some/file")],
)
def test_disk_that_cannot_be_written_ends_the_build_in_one_line(notebooks, monkeypatch, number, words):
    def refuse(tier, states):
        raise OSError(number, "no", "/some/file")

    monkeypatch.setattr(build.staging, "stage", refuse)
    with pytest.raises(UserError, match=words) as caught:
        build.build("cpu")
    assert "\n" not in str(caught.value)


def test_registers_are_read_before_anything_runs(notebooks, monkeypatch):
    _, ran = notebooks

    def damaged(tier):
        raise UserError("data/choices.yml is not valid YAML")

    monkeypatch.setattr(build, "_check_registers", damaged)
    with pytest.raises(UserError, match="not valid YAML"):
        build.build("cpu")
    assert ran == []


def test_notebook_that_cannot_be_read_does_not_stop_the_others(notebooks, monkeypatch, capsys):
    _, ran = notebooks

    def request(name, tier):
        if name == "gated/b":
            raise UserError("b.ipynb is not a readable notebook: restore it from git")

    monkeypatch.setattr(build.runner, "request", request)
    assert build.build("cpu") == 1 and ran == ["gated/a", "gated/c"]
    assert capsys.readouterr().err == "saebook: gated/b: b.ipynb is not a readable notebook: restore it from git\n"
