"""A result is plain JSON, and remembers what its training cost."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from saebook import results
from saebook.stats import Interval


@dataclass
class Corpus:
    hash: str = "abc"


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "folder", lambda tier: tmp_path / tier)
    monkeypatch.setattr(results, "corpus", lambda source: Corpus())
    monkeypatch.setattr(results, "corpus_differences", lambda *_: [])
    subject = SimpleNamespace(name="tiny", weights_hash="0f", device=torch.device("cpu"))

    def write(trained, seeds=(0, 1)):
        points = pd.DataFrame({"l0": [1.0, 2.0]})
        points.attrs["trained"] = trained
        budget = SimpleNamespace(tier="cpu", source="x", seeds=list(seeds))
        findings = {"ratio": Interval(0.5, float("-inf"), float("nan"), 1), "ok": True}
        return results.write("paper.note", budget, subject, points, findings)

    return write


def test_what_is_written_is_strict_json_and_reads_back(written, tmp_path):
    made = written(3)
    text = (tmp_path / "cpu" / "paper" / "note.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == made == results.read("paper.note", "cpu")
    assert made["findings"]["ratio"] == {"mean": 0.5, "low": None, "high": None, "n": 1}
    assert results.read("paper.other", "cpu") is None
    assert "3 SAEs trained" in results.provenance(made)


def test_a_page_from_stored_runs_keeps_the_cost_of_training(written, monkeypatch):
    first = written(3)
    monkeypatch.setattr(results, "_BEGUN", results._BEGUN - 1000)
    assert written(0)["seconds"] == first["seconds"]
    assert written(2)["seconds"] > first["seconds"] + 900
    assert written(0, seeds=(5, 6))["trained_runs"] == 0
