"""A result is plain JSON, written whole; live results stay apart from recorded ones, and remember what training cost."""

import json
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from saebook.claims import results
from saebook.common import files
from saebook.common.errors import UserError
from saebook.common.limits import SubjectBudget
from saebook.evaluation.intervals import Interval

NAME = "gated/note"


class Budget(SubjectBudget):
    seeds: tuple[int, ...]


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "_config.yml").write_text("")
    monkeypatch.setenv("SAEBOOK_HOME", str(tmp_path))
    monkeypatch.setattr(results, "corpus_hash", lambda source: "abc")
    monkeypatch.setattr(results, "corpus_differences", lambda *_: [])
    monkeypatch.setattr(
        results.provenance, "parts", lambda name, budget, corpus=None: {"library": "1", "parameters": f"{budget.seeds}"}
    )
    return tmp_path


@pytest.fixture
def write(home):
    def write(trained, seeds=(0, 1), own=True, seconds=10.0, figure=None):
        budget = Budget(tier="cpu", subject="tiny", source="x", eval_rows=1, seeds=seeds)
        subject = SimpleNamespace(name="tiny", weights_hash="0f", device=torch.device("cpu"))
        live = {"ratio": Interval(0.5, float("-inf"), float("nan"), 1), "order": [Interval(1, 0, 2, 3)]}
        points = pd.DataFrame({"l0": [1.0, 2.0]})
        return results.write(
            NAME, budget, subject, points, live, {"ok": True}, figure, own=own, trained=trained, seconds=seconds
        )

    return write


def test_live_result_is_strict_json_and_reads_back(write, home):
    made = write(3)
    text = (home / "_build" / "results" / "cpu" / "gated" / "note.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == made == results.read(NAME, "cpu", "live")
    assert made["notebook"] == NAME and made["hashes"] == {"library": "1", "parameters": "(0, 1)"}
    assert made["live"]["ratio"] == {"mean": 0.5, "low": None, "high": None, "n": 1, "values": []}
    assert results.live(made, "ratio") == Interval(0.5, float("-inf"), float("inf"), 1)
    assert results.live(made, "order") == [Interval(1, 0, 2, 3)]
    assert results.read("gated/other", "cpu", "live") is None
    assert "3 SAEs trained" in results.provenance_line(made)


def test_run_does_not_touch_the_recorded_results(write, home):
    recorded = results.file(NAME, "cpu")
    recorded.parent.mkdir(parents=True)
    recorded.write_text("recorded")
    write(3)
    assert recorded.read_text() == "recorded" and len(list((home / "data").rglob("*.*"))) == 1


def test_page_from_stored_runs_keeps_the_cost_of_training(write):
    first = write(3, seconds=20.0)
    assert write(0, seconds=1.0)["seconds"] == first["seconds"] == 20.0
    assert write(2, seconds=30.0)["seconds"] == 30.0


def test_first_page_from_stored_runs_takes_the_recorded_cost(write):
    made = write(3, seconds=20.0)
    results.file(NAME, "cpu").parent.mkdir(parents=True)
    results.file(NAME, "cpu", "live").rename(results.file(NAME, "cpu"))
    assert write(0, seconds=1.0)["trained_runs"] == made["trained_runs"] == 3
    results.file(NAME, "cpu").write_text("{")
    results.file(NAME, "cpu", "live").unlink()
    assert write(0, seconds=1.0)["seconds"] == 1.0


def test_other_parameters_never_replace_the_tiers_own_result(write, home):
    own = write(3)
    other = write(1, seeds=(5, 6), own=False)
    assert results.read(NAME, "cpu", "live") == own != other
    (beside,) = results.folder("cpu", "live").glob("gated/note@*.json")
    assert json.loads(beside.read_text())["parameters"]["seeds"] == [5, 6]


def test_three_files_are_written_together_or_not_at_all(write, monkeypatch):
    figure = plt.figure()
    write(3, figure=figure)
    place = results.file(NAME, "cpu", "live")
    before = {end: place.with_suffix(end).read_bytes() for end in (".json", ".csv", ".png")}
    assert before[".png"].startswith(b"\x89PNG")
    monkeypatch.setattr(
        results, "as_json", lambda result: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OSError):
        write(1, seconds=99.0)
    monkeypatch.undo()
    assert {end: place.with_suffix(end).read_bytes() for end in before} == before
    assert sorted(file.suffix for file in place.parent.iterdir()) == [".csv", ".json", ".png"]


def test_files_written_together_leave_nothing_half_done(tmp_path, monkeypatch):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("old")

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_sync", full)
    with pytest.raises(UserError, match="is full"):
        results.together({one: b"new", two: b"new"})
    assert one.read_text() == "old" and [file.name for file in tmp_path.iterdir()] == ["one"]


def test_result_is_stale_as_soon_as_a_part_of_its_provenance_changes(write, monkeypatch):
    made = write(3)
    budget = Budget(tier="cpu", subject="tiny", eval_rows=1, seeds=(0, 1))
    assert results.stale(made, budget) == []
    monkeypatch.setattr(results.provenance, "parts", lambda *_: {"library": "2", "parameters": "(0, 1)"})
    assert results.stale(made, budget) == ["library"]
    del made["hashes"]
    assert results.stale(made | {"seal": {"library": "2"}}, budget) == ["library", "parameters"]


GOOD = {"findings": {}, "parameters": {}, "date": "2030-01-02", "device": "a machine"}


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", "{}", "null", "\x00", '{"findings": ', "[" * 5000,
        *(json.dumps(GOOD | bad) for bad in (
            {"date": "<script>"}, {"date": 3}, {"date": None}, {"device": ["x"]}, {"device": "a\nb"}, {"findings": []},
            {"live": {"a": 3}}, {"live": {"a": {"mean": "x", "low": 0, "high": 1, "n": 2}}}, {"seconds": "<b>"},
            {"subject": "x"}, {"hashes": {"library": 3}}, {"timings": {"a": ["x"]}},
        )),
    ],
)  # fmt: skip
def test_damaged_result_is_named_in_one_line(home, text):
    file = results.file(NAME, "cpu")
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.raises(UserError, match=r"is damaged.*: restore it from git") as refused:
        results.read(NAME, "cpu")
    assert str(refused.value).isprintable()


def test_result_in_another_encoding_is_damaged(home):
    file = results.file(NAME, "cpu", "live")
    file.parent.mkdir(parents=True)
    file.write_bytes(json.dumps(GOOD | {"device": "\xff"}, ensure_ascii=False).encode("latin-1"))
    with pytest.raises(UserError, match="is damaged: delete it"):
        results.read(NAME, "cpu", "live")
