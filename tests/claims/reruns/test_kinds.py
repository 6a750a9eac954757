"""A rerun is matched with the run that it differs from in one thing alone, and goes stale like any result."""

import json

import pytest

from saebook.book import budgets
from saebook.claims import ledger, provenance, recording, results, standings
from saebook.claims.reruns import kinds
from saebook.claims.reruns.kinds import RANDOM, RERUNS, TWICE
from saebook.claims.standings import Converged
from saebook.common.errors import UserError

FIGURE, TOY, PUBLISHED = "gated/fig05_pareto", "gated/fig02_shrinkage_toy", "gated/fig01_published_pareto"
CLAIM = next(claim for claim in ledger.load() if claim.id == "gated.fig05.half_the_features")


def own(name=FIGURE):
    return budgets.resolve(name, "cpu")


def budget_of(rerun, name=FIGURE):
    budget = rerun.budget(name, own(name))
    assert budget is not None
    return budget


def longer_budget(name=FIGURE):
    return budget_of(TWICE, name)


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
    put(TWICE.file(FIGURE, "cpu"), longer_budget(), longer)


def test_only_the_length_is_doubled():
    before, after = own().plain(), longer_budget().plain()
    assert after == before | {"tokens": 2 * before["tokens"]}
    assert TWICE.change(TOY, own(TOY).plain()) == {"steps": 2 * own(TOY).plain()["steps"]}
    assert TWICE.budget(PUBLISHED, own(PUBLISHED)) is None and TWICE.live_file(PUBLISHED, own(PUBLISHED)) is None


def test_only_the_subject_is_exchanged_for_its_control():
    before, after = own().plain(), budget_of(RANDOM).plain()
    assert after == before | {"subject": "prose-4l128:random"}
    assert RANDOM.budget(FIGURE, budget_of(RANDOM)) is None  # a control has no control
    for name in (PUBLISHED, TOY, "gated/fig04_jumprelu"):  # no subject; a toy; a subject that decides nothing
        assert RANDOM.budget(name, own(name)) is None and RANDOM.live_file(name, own(name)) is None


def test_files_have_the_name_of_their_rerun(copy):
    assert [rerun.file(FIGURE, "cpu").name for rerun in RERUNS] == [
        "fig05_pareto.twice.json",
        "fig05_pareto.random.json",
    ]
    live = {rerun.live_file(FIGURE, own()) for rerun in RERUNS}
    assert len(live) == 2 and all(file.name.startswith("fig05_pareto@") for file in live)


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


def test_published_rows_are_what_they_are_however_long_their_chapter_trains(put):
    (claim,) = ledger.load("gated.tab01.self_consistent")
    budget = own(claim.notebook)
    assert TWICE.change(claim.notebook, budget.plain())
    put(
        results.file(claim.notebook, "cpu"), budget, live={claim.live: {"mean": 0.99, "low": 0.98, "high": 1.0, "n": 3}}
    )
    assert standings.standing(claim).converged is Converged.NOT_APPLICABLE


def test_run_of_another_length_or_with_other_seeds_is_not_compared(put):
    put_both(put)
    for others in ({"tokens": own().plain()["tokens"]}, {"seeds": [7, 8]}):
        put(TWICE.file(FIGURE, "cpu"), longer_budget(), parameters=longer_budget().plain() | others)
        assert standings.standing(CLAIM).converged is Converged.NOT_MEASURED


def test_damaged_result_is_one_line(put):
    put_both(put)
    TWICE.file(FIGURE, "cpu").write_text("{")
    with pytest.raises(UserError, match=r"fig05_pareto\.twice\.json is damaged"):
        standings.standing(CLAIM)


def test_it_is_stale_when_the_library_or_the_budget_changed(put, copy):
    put_both(put)
    assert TWICE.state(FIGURE, own()) == (kinds.FRESH, [])
    standing = standings.standing(CLAIM, standings.staleness(budgets.resolve))
    assert standing.stale == standing.longer.stale == ()
    plans = copy / "saebook" / "papers" / "gated" / "plans.py"
    plans.write_text(plans.read_text() + "\nprint()\n")
    standing = standings.standing(CLAIM, standings.staleness(budgets.resolve))
    assert standing.stale == standing.longer.stale == ("library",)
    assert TWICE.state(FIGURE, own()) == (kinds.STALE, ["library"])
    shorter = own().model_copy(update={"tokens": 4096})
    assert TWICE.state(FIGURE, shorter) == (kinds.STALE, ["parameters", "library"])


def test_own_run_stands_before_the_recorded_one(put):
    assert TWICE.state(FIGURE, own()) == (kinds.MISSING, [])
    put(TWICE.live_file(FIGURE, own()), longer_budget())
    assert TWICE.live(FIGURE, own())["parameters"] == longer_budget().plain()
    assert TWICE.state(FIGURE, own()) == (kinds.FRESH, [])


def test_it_is_recorded_beside_the_result(put):
    def record():
        return [(change.name, *change.lines) for change in recording.record("cpu", [FIGURE], budgets.resolve)]

    title = f"{FIGURE}, twice the tokens"
    assert recording.live_names("cpu", [FIGURE, PUBLISHED], budgets.resolve) == []
    put(TWICE.live_file(FIGURE, own()), longer_budget(), 1.5)
    assert recording.live_names("cpu", [FIGURE, PUBLISHED], budgets.resolve) == [FIGURE]
    assert record() == [(title, "recorded for the first time", "no result of the tier's own to compare with")]
    put(results.file(FIGURE, "cpu", "live"), own())
    first, second = record()
    assert first[:2] == (FIGURE, "recorded for the first time") and second == (title, "unchanged")
    put(TWICE.live_file(FIGURE, own()), longer_budget(), 0.5)
    assert "gated.fig05.half_the_features: converged: yes" in record()[1]
    put(TWICE.live_file(FIGURE, own()), longer_budget(), 1.5)
    words = "gated.fig05.half_the_features: converged: no (replicates -> does not replicate)"
    assert words in record()[1]
    names = sorted(file.name for file in (results.folder("cpu") / "gated").iterdir())
    assert names == ["fig05_pareto.csv", "fig05_pareto.json", "fig05_pareto.twice.json"]
    assert "rerun" not in json.loads(TWICE.file(FIGURE, "cpu").read_text())


def test_control_is_recorded_beside_the_result_and_read_back(put):
    put(results.file(FIGURE, "cpu"), own(), 0.5)
    put(RANDOM.live_file(FIGURE, own()), budget_of(RANDOM), 1.02, zero_ablation_cost=2.0)
    assert recording.live_names("cpu", [FIGURE, PUBLISHED], budgets.resolve) == [FIGURE]
    (change,) = recording.record("cpu", [FIGURE], budgets.resolve)
    assert change.name == f"{FIGURE}, random weights"
    words = (
        "gated.fig05.half_the_features: 0.500 (0.490 to 0.510), replicates; "
        "on random weights: 1.020 (1.010 to 1.030), does not replicate"
    )
    assert words in change.lines
    control = standings.standing(CLAIM, standings.staleness(budgets.resolve)).control
    assert (control.verdict, control.value.mean, control.stale) == ("does not replicate", 1.02, ())
    assert standings.standing(CLAIM).verdict == "replicates"  # a control changes no verdict
    again, unchanged = RANDOM.state(FIGURE, own()), recording.record("cpu", [FIGURE], budgets.resolve)
    assert again == (kinds.FRESH, []) and unchanged[0].lines == ("unchanged",)


def test_control_of_other_parameters_or_of_another_subject_is_not_compared(put):
    put(results.file(FIGURE, "cpu"), own())
    for others in ({"seeds": [7, 8]}, {"subject": "prose-4l128"}, {"tokens": 1024}):
        put(RANDOM.file(FIGURE, "cpu"), own(), parameters=budget_of(RANDOM).plain() | others, zero_ablation_cost=2.0)
        assert standings.standing(CLAIM).control.verdict == "not measured"


def test_control_goes_stale_by_itself(put):
    put(results.file(FIGURE, "cpu"), own())
    put(RANDOM.file(FIGURE, "cpu"), budget_of(RANDOM), zero_ablation_cost=2.0, hashes={"library": "of before"})
    standing = standings.standing(CLAIM, standings.staleness(budgets.resolve))
    assert standing.stale == () and "library" in standing.control.stale
    assert RANDOM.state(FIGURE, own())[0] == kinds.STALE


def test_control_without_numbers_is_recorded_with_its_reason(put):
    put(results.file(FIGURE, "cpu"), own())
    put(RANDOM.live_file(FIGURE, own()), budget_of(RANDOM), live={}, undefined="ValueError: no curve")
    (change,) = recording.record("cpu", [FIGURE], budgets.resolve)
    assert change.lines == ("recorded for the first time", "undefined: ValueError: no curve")
    assert RANDOM.undefined(FIGURE, own()) == "ValueError: no curve" and TWICE.undefined(FIGURE, own()) == ""
    assert str(standings.standing(CLAIM).control) == "on random weights: undefined there (ValueError: no curve)"


def test_live_run_without_a_judged_quantity_is_refused(put):
    put(TWICE.live_file(FIGURE, own()), longer_budget(), live={})
    with pytest.raises(UserError, match="twice the tokens lacks"):
        recording.record("cpu", [FIGURE], budgets.resolve)
