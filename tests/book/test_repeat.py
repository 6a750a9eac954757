"""A chapter runs again on twice the tokens, and its claims are compared with those of the tier's own run."""

import json

import pytest

from saebook import cli
from saebook.book import budgets, converge, status
from saebook.book.running import runner
from saebook.book.running.runner import RunRecord
from saebook.claims import ledger, provenance, results, twice
from saebook.common.errors import UserError

FIGURE, PUBLISHED, CHECK = "gated/fig05_pareto", "gated/fig01_published_pareto", "checks/train_one_sae"
LATER = "e2e/fig01_pareto"  # its claims are judged from the overnight tier on


def put(place, budget, value):
    kept = {"mean": value, "low": value - 0.01, "high": value + 0.01, "n": 3}
    content = {
        "parameters": budget.plain(), "live": {claim.live: kept for claim in ledger.judged_by(FIGURE)}, "findings": {},
        "date": "2030-01-02", "hashes": provenance.parts(FIGURE, budget),
    }  # fmt: skip
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(content))


@pytest.fixture
def ran(copy, monkeypatch):
    """A runner that writes the live result of what it is asked for. A list of the parameters that it was given."""
    asked = []

    def run(name, tier, given):
        asked.append(given)
        budget = budgets.resolve(name, tier, **given)
        put(results.file(results.apart(name, provenance.parts(name, budget)), tier, "live"), budget, 0.5)
        return RunRecord(name, tier, "ok", None, 1.0, 0, given), copy / "page.ipynb"

    monkeypatch.setattr(runner, "run", run)
    return asked


def test_twice_the_tokens_are_run_and_compared(ran):
    tokens = budgets.resolve(FIGURE, "cpu").plain()["tokens"]
    outcome = converge.converge(FIGURE, "cpu")
    assert ran == [{"tokens": 2 * tokens}]
    assert outcome.ok and outcome.lines == (f"run `saebook run {FIGURE} --tier cpu` too, to compare with",)
    put(results.file(FIGURE, "cpu"), budgets.resolve(FIGURE, "cpu"), 0.5)
    assert "gated.fig05.half_the_features: converged: yes" in converge.converge(FIGURE, "cpu").lines
    put(results.file(FIGURE, "cpu", "live"), budgets.resolve(FIGURE, "cpu"), 1.5)
    words = "gated.fig05.half_the_features: converged: no (does not replicate -> replicates)"
    assert words in converge.converge(FIGURE, "cpu").lines


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (PUBLISHED, "trains nothing"),
        (CHECK, "judges no claim by a run at tier cpu"),
        (LATER, "judges no claim by a run"),
    ],
)
def test_chapter_that_it_does_not_apply_to_is_refused(ran, name, words):
    with pytest.raises(UserError, match=words):
        converge.converge(name, "cpu")
    assert not ran and status.state(name, "cpu").twice == "not applicable"


def test_status_says_where_it_is_missing_and_the_command_runs_those(ran, capsys):
    assert FIGURE in converge.wanted("cpu") and PUBLISHED not in converge.wanted("cpu")
    assert status.state(FIGURE, "cpu").twice == twice.MISSING
    assert status.state(FIGURE, "smoke").twice == ""
    cli.main(["status", "--tier", "cpu"])
    assert "twice the tokens: never run" in capsys.readouterr().out
    assert cli.main(["converge", FIGURE, "--tier", "cpu"]) == 0
    assert capsys.readouterr().out.startswith(f"{FIGURE}: run `saebook run")
    assert FIGURE not in converge.wanted("cpu") and status.state(FIGURE, "cpu").twice == twice.FRESH


def test_damaged_recorded_run_is_missing_and_says_why(copy):
    place = twice.file(FIGURE, "cpu")
    place.parent.mkdir(parents=True)
    place.write_text("{")
    assert status.state(FIGURE, "cpu").twice.startswith("never run (result ")


def test_failed_run_ends_in_status_1(copy, monkeypatch, capsys):
    ended = RunRecord(FIGURE, "cpu", "failed", "ValueError: no", 1.0, 2, {})
    monkeypatch.setattr(runner, "run", lambda *_: (ended, copy / "page.ipynb"))
    assert cli.main(["converge", FIGURE]) == 1
    assert "failed: ValueError: no (see " in capsys.readouterr().out
