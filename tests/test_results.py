"""A result is plain JSON, and remembers what its training cost."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from saebook.claims import results
from saebook.common.errors import UserError
from saebook.evaluation.intervals import Interval


@dataclass
class Corpus:
    hash: str = "abc"


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "folder", lambda tier: tmp_path / tier)
    monkeypatch.setattr(results, "corpus", lambda source: Corpus())
    monkeypatch.setattr(results, "corpus_differences", lambda *_: [])
    monkeypatch.setattr(
        results.seal, "parts", lambda notebook, budget, corpus=None: {"library": "1", "parameters": str(budget.seeds)}
    )
    own = SimpleNamespace(tier="cpu", source="x", seeds=[0, 1])
    monkeypatch.setattr(results.tiers, "resolve", lambda notebook, tier: own)
    subject = SimpleNamespace(name="tiny", weights_hash="0f", device=torch.device("cpu"))

    def write(trained, seeds=(0, 1)):
        points = pd.DataFrame({"l0": [1.0, 2.0]})
        points.attrs["trained"] = trained
        budget = SimpleNamespace(tier="cpu", source="x", seeds=list(seeds))
        live = {"ratio": Interval(0.5, float("-inf"), float("nan"), 1), "order": [Interval(1, 0, 2, 3)]}
        return results.write("paper.note", budget, subject, points, live, {"ok": True})

    return write


def test_what_is_written_is_strict_json_and_reads_back(written, tmp_path):
    made = written(3)
    text = (tmp_path / "cpu" / "paper" / "note.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == made == results.read("paper.note", "cpu")
    assert made["live"]["ratio"] == {"mean": 0.5, "low": None, "high": None, "n": 1, "values": []}
    assert results.live(made, "ratio") == Interval(0.5, float("-inf"), float("inf"), 1)
    assert results.live(made, "order") == [Interval(1, 0, 2, 3)]
    assert results.read("paper.other", "cpu") is None
    assert "3 SAEs trained" in results.provenance_line(made)


def test_a_page_from_stored_runs_keeps_the_cost_of_training(written, monkeypatch):
    first = written(3)
    monkeypatch.setattr(results, "_BEGUN", results._BEGUN - 1000)
    assert written(0)["seconds"] == first["seconds"]
    assert written(2)["seconds"] > first["seconds"] + 900


def test_other_parameters_never_replace_the_tiers_own_result(written, tmp_path):
    own = written(3)
    other = written(1, seeds=(5, 6))
    assert results.read("paper.note", "cpu") == own != other
    (beside,) = (tmp_path / "cpu" / "paper").glob("note@*.json")
    assert json.loads(beside.read_text())["parameters"]["seeds"] == [5, 6]


def test_a_result_is_stale_as_soon_as_a_part_of_its_seal_moves(written, monkeypatch):
    made = written(3)
    assert results.stale(made) == []
    monkeypatch.setattr(results.seal, "parts", lambda *_: {"library": "2", "parameters": "[0, 1]"})
    assert results.stale(made) == ["library"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", "null"])
def test_a_damaged_result_is_named(written, tmp_path, text):
    written(3)
    (tmp_path / "cpu" / "paper" / "note.json").write_text(text)
    with pytest.raises(UserError, match="is damaged: restore it"):
        results.read("paper.note", "cpu")
