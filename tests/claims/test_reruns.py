"""A run on twice the tokens is matched with the run that it differs from in length alone, and goes stale like any result."""

import json

import pytest

from saebook.book import budgets
from saebook.claims import ledger, provenance, recording, results, standings, twice
from saebook.claims.twice import Converged
from saebook.common.errors import UserError

FIGURE, TOY, PUBLISHED = "gated/fig05_pareto", "gated/fig02_shrinkage_toy", "gated/fig01_published_pareto"
CLAIM = next(claim for claim in ledger.load() if claim.id == "gated.fig05.half_the_features")


def own(name=FIGURE):
    return budgets.resolve(name, "cpu")


def longer_budget(name=FIGURE):
    budget = twice.doubled(name, own(name))
    assert budget is not None
    return budget


@pytest.fixture
def put(copy):
    """Write a result of the figure as a run would, every live quantity being `value` give or take 0.01."""

    def put(place, budget, value=0.5, **others):
        kept = {"mean": value, "low": value - 0.01, "high": value + 0.01, "n": 3}
        live = {claim.live: kept for claim in ledger.judged_by(FIGURE)}
        content = {
            "parameters": budget.plain(), "live": live, "findings": {}, "date": "2030-01-02", "device": "a machine",
            "hashes": provenance.parts(FIGURE, budget),
        } | others  # fmt: skip
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(content))
        place.with_suffix(".csv").write_text("l0\n1\n")

    return put


def put_both(put, value=0.5, longer=0.5):
    put(results.file(FIGURE, "cpu"), own(), value)
    put(twice.file(FIGURE, "cpu"), longer_budget(), longer)


def test_only_the_length_is_doubled():
    before, after = own().plain(), longer_budget().plain()
    assert after == before | {"tokens": 2 * before["tokens"]}
    assert twice.change(own(TOY).plain()) == {"steps": 2 * own(TOY).plain()["steps"]}
    assert twice.doubled(PUBLISHED, own(PUBLISHED)) is None and twice.live_file(PUBLISHED, own(PUBLISHED)) is None


def test_converged_is_yes_no_not_measured_or_not_applicable(put):
    def converged(claim=CLAIM):
        return standings.standing(claim).converged

    assert converged() is None
    put(results.file(FIGURE, "cpu"), own())
    assert converged() is Converged.NOT_MEASURED
    put_both(put)
    assert converged() is Converged.YES
    put_both(put, longer=1.5)
    assert converged() is Converged.NO and standings.standing(CLAIM).longer.verdict == "does not replicate"
    assert converged(CLAIM.model_copy(update={"tier": "paper"})) is None
    put(results.file(FIGURE, "cpu"), own(), timings={CLAIM.live: [0.49, 0.5, 0.51]})
    assert converged(CLAIM.model_copy(update={"timing": True})) is Converged.NOT_APPLICABLE
    put(results.file(FIGURE, "cpu"), own(), parameters={"tier": "cpu"})
    assert converged() is Converged.NOT_APPLICABLE


def test_run_of_another_length_or_with_other_seeds_is_not_compared(put):
    put_both(put)
    for others in ({"tokens": own().plain()["tokens"]}, {"seeds": [7, 8]}):
        put(twice.file(FIGURE, "cpu"), longer_budget(), parameters=longer_budget().plain() | others)
        assert standings.standing(CLAIM).converged is Converged.NOT_MEASURED


def test_damaged_result_is_one_line(put):
    put_both(put)
    twice.file(FIGURE, "cpu").write_text("{")
    with pytest.raises(UserError, match=r"fig05_pareto\.twice\.json is damaged"):
        standings.standing(CLAIM)


def test_it_is_stale_when_the_library_or_the_budget_changed(put, copy):
    put_both(put)
    assert twice.state(FIGURE, own()) == (twice.FRESH, [])
    standing = standings.standing(CLAIM, standings.staleness(budgets.resolve))
    assert standing.stale == standing.longer.stale == ()
    plans = copy / "saebook" / "papers" / "gated" / "plans.py"
    plans.write_text(plans.read_text() + "\nADDED = 1\n")
    standing = standings.standing(CLAIM, standings.staleness(budgets.resolve))
    assert standing.stale == standing.longer.stale == ("library",)
    assert twice.state(FIGURE, own()) == (twice.STALE, ["library"])
    shorter = own().model_copy(update={"tokens": 4096})
    assert twice.state(FIGURE, shorter) == (twice.STALE, ["parameters", "library"])


def test_own_run_stands_before_the_recorded_one(put):
    assert twice.state(FIGURE, own()) == (twice.MISSING, [])
    put(twice.live_file(FIGURE, own()), longer_budget())
    assert twice.live(FIGURE, own())["parameters"] == longer_budget().plain()
    assert twice.state(FIGURE, own()) == (twice.FRESH, [])


def test_it_is_recorded_beside_the_result(put):
    def record():
        return [(change.name, *change.lines) for change in recording.record("cpu", [FIGURE], budgets.resolve)]

    title = f"{FIGURE}, twice the tokens"
    assert recording.live_names("cpu", [FIGURE, PUBLISHED], budgets.resolve) == []
    put(twice.live_file(FIGURE, own()), longer_budget(), 1.5)
    assert recording.live_names("cpu", [FIGURE, PUBLISHED], budgets.resolve) == [FIGURE]
    assert record() == [(title, "recorded for the first time", "no result of the tier's own to compare with")]
    put(results.file(FIGURE, "cpu", "live"), own())
    first, second = record()
    assert first[:2] == (FIGURE, "recorded for the first time") and second == (title, "unchanged")
    put(twice.live_file(FIGURE, own()), longer_budget(), 0.5)
    assert "gated.fig05.half_the_features: converged: yes" in record()[1]
    put(twice.live_file(FIGURE, own()), longer_budget(), 1.5)
    words = "gated.fig05.half_the_features: converged: no (replicates -> does not replicate)"
    assert words in record()[1]
    names = sorted(file.name for file in (results.folder("cpu") / "gated").iterdir())
    assert names == ["fig05_pareto.csv", "fig05_pareto.json", "fig05_pareto.twice.json"]
    assert "twice" not in json.loads(twice.file(FIGURE, "cpu").read_text())


def test_live_run_without_a_judged_quantity_is_refused(put):
    put(twice.live_file(FIGURE, own()), longer_budget(), live={})
    with pytest.raises(UserError, match="twice the tokens lacks"):
        recording.record("cpu", [FIGURE], budgets.resolve)
