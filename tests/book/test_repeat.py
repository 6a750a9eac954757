"""A chapter runs again with one thing changed, and its claims are compared with those of the tier's own run."""

import json

import pytest

from saebook.book import budgets, repeat, status
from saebook.book.running import runner
from saebook.book.running.runner import RunRecord
from saebook.book.site.claim_tables import HEADLINES
from saebook.claims import ledger, provenance, results
from saebook.claims.reruns import kinds
from saebook.claims.reruns.kinds import RANDOM, TWICE
from saebook.cli import command_line as cli
from saebook.common.errors import UserError

FIGURE, PUBLISHED, CHECK = "gated/fig05_pareto", "gated/fig01_published_pareto", "checks/train_one_sae"
MIXED = "gated/fig12_sites"  # some of its claims compare losses and some do not
LATER = "e2e/fig01_pareto"  # its claims are judged from the overnight tier on


def stands(rerun):
    return status.state(FIGURE, "cpu").reruns[rerun.words]


def put(place, budget, value, name=FIGURE):
    kept = {"mean": value, "low": value - 0.01, "high": value + 0.01, "n": 3}
    content = {
        "parameters": budget.plain(), "live": {claim.live: kept for claim in ledger.judged_by(name)}, "findings": {},
        "date": "2030-01-02", "hashes": provenance.parts(name, budget),
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
        put(results.file(results.apart(name, provenance.parts(name, budget)), tier, "live"), budget, 0.5, name)
        return RunRecord(name, tier, "ok", None, 1.0, 0, given), copy / "page.ipynb"

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(repeat, "least_cost", lambda name, budget: 2.0)
    return asked


@pytest.fixture
def fails(copy, monkeypatch):
    """A runner whose every run ends in a given way."""

    def fails(ended, error):
        record = RunRecord(FIGURE, "cpu", ended, error, 1.0, 2, {})
        monkeypatch.setattr(runner, "run", lambda *_: (record, copy / "page.ipynb"))

    monkeypatch.setattr(repeat, "least_cost", lambda name, budget: 2.0)
    return fails


def test_twice_the_tokens_are_run_and_compared(ran):
    tokens = budgets.resolve(FIGURE, "cpu").plain()["tokens"]
    outcome = repeat.repeat(TWICE, FIGURE, "cpu")
    assert ran == [{"tokens": 2 * tokens}]
    assert outcome.ok and outcome.lines == (f"run `saebook run {FIGURE} --tier cpu` too, to compare with",)
    put(results.file(FIGURE, "cpu"), budgets.resolve(FIGURE, "cpu"), 0.5)
    assert "gated.fig05.half_the_features: converged: yes" in repeat.repeat(TWICE, FIGURE, "cpu").lines
    put(results.file(FIGURE, "cpu", "live"), budgets.resolve(FIGURE, "cpu"), 1.5)
    words = "gated.fig05.half_the_features: converged: no (does not replicate -> replicates)"
    assert words in repeat.repeat(TWICE, FIGURE, "cpu").lines


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
        repeat.repeat(TWICE, name, "cpu")
    assert not ran and status.state(name, "cpu").reruns["twice the tokens"] == "not applicable"


def test_status_says_where_it_is_missing_and_the_command_runs_those(ran, capsys):
    assert FIGURE in repeat.wanted(TWICE, "cpu") and PUBLISHED not in repeat.wanted(TWICE, "cpu")
    assert stands(TWICE) == kinds.MISSING
    assert status.state(FIGURE, "smoke").reruns == {}
    cli.main(["status", "--tier", "cpu"])
    assert "twice the tokens: never run" in capsys.readouterr().out
    assert cli.main(["converge", FIGURE, "--tier", "cpu"]) == 0
    assert capsys.readouterr().out.startswith(f"{FIGURE}: run `saebook run")
    assert FIGURE not in repeat.wanted(TWICE, "cpu") and stands(TWICE) == kinds.FRESH


def test_damaged_recorded_run_is_missing_and_says_why(copy):
    place = TWICE.file(FIGURE, "cpu")
    place.parent.mkdir(parents=True)
    place.write_text("{")
    assert stands(TWICE).startswith("never run (result ") and stands(RANDOM) == kinds.MISSING


def test_failed_run_ends_in_status_1(fails, capsys):
    fails("failed", "ValueError: no")
    assert cli.main(["converge", FIGURE]) == 1
    assert "failed: ValueError: no (see " in capsys.readouterr().out
    assert stands(TWICE) == kinds.MISSING  # a longer run that fails says nothing about the claim


def test_control_is_run_and_set_beside_the_trained_subject(ran):
    outcome = repeat.repeat(RANDOM, FIGURE, "cpu")
    assert ran == [{"subject": "prose-4l128:random"}]
    assert outcome.ok and outcome.lines == (f"run `saebook run {FIGURE} --tier cpu` too, to compare with",)
    put(results.file(FIGURE, "cpu"), budgets.resolve(FIGURE, "cpu"), 0.9)
    (line,) = [one for one in repeat.repeat(RANDOM, FIGURE, "cpu").lines if "half_the_features" in one]
    assert "0.90" in line.split(";")[0] and line.split("; ")[0].endswith("partly")
    assert line.split("; ")[1].startswith("on random weights: 0.50") and line.endswith(", replicates")


def test_cost_of_ablation_is_kept_and_decides_which_claims_are_defined(ran, monkeypatch):
    put(results.file(MIXED, "cpu"), budgets.resolve(MIXED, "cpu"), 0.5, MIXED)
    monkeypatch.setattr(repeat, "least_cost", lambda name, budget: -0.004)
    lines = repeat.repeat(RANDOM, MIXED, "cpu").lines
    undefined = [line for line in lines if "undefined there (ablation changes the loss by only -0.004 nats" in line]
    assert len(ran) == 1 and 0 < len(undefined) < len(lines)
    assert RANDOM.live(MIXED, budgets.resolve(MIXED, "cpu"))["zero_ablation_cost"] == -0.004


def test_nothing_is_trained_where_every_claim_compares_losses_that_cannot_be(ran, monkeypatch):
    monkeypatch.setattr(repeat, "least_cost", lambda name, budget: -0.004)
    outcome = repeat.repeat(RANDOM, FIGURE, "cpu")
    assert not ran and outcome.ok and "undefined: ablation changes the loss by only -0.004 nats" in outcome.lines[0]
    assert stands(RANDOM).startswith("fresh, undefined: ablation") and FIGURE not in repeat.wanted(RANDOM, "cpu")


@pytest.mark.parametrize(
    ("name", "words"), [(PUBLISHED, "rests on no trained language model"), (LATER, "judges no claim")]
)
def test_control_is_refused_where_it_does_not_apply(ran, name, words):
    with pytest.raises(UserError, match=words + ".*a run on random weights is not applicable"):
        repeat.repeat(RANDOM, name, "cpu")
    assert not ran and status.state(name, "cpu").reruns["random weights"] == "not applicable"


def test_control_without_names_runs_the_headlines_that_lack_it(ran, capsys):
    headlines = {claim.notebook for claim in ledger.load() if any(claim.id in ids for ids in HEADLINES.values())}
    before = repeat.wanted(RANDOM, "cpu")
    assert FIGURE in before and set(before) <= headlines and "gated/fig06_shrinkage" not in before
    assert cli.main(["control", FIGURE, "--tier", "cpu"]) == 0
    assert capsys.readouterr().out.startswith(f"{FIGURE}: run `saebook run")
    assert repeat.wanted(RANDOM, "cpu") == [name for name in before if name != FIGURE]
    assert stands(RANDOM) == kinds.FRESH and stands(TWICE) == kinds.MISSING
    cli.main(["status", "--tier", "cpu"])
    (line,) = [one for one in capsys.readouterr().out.splitlines() if one.startswith(FIGURE)]
    assert line.endswith("twice the tokens: never run; random weights: fresh")


def test_page_without_numbers_is_recorded_as_undefined_and_not_tried_again(fails, copy, capsys):
    fails("failed", "ValueError: the curves\n do not meet")
    assert cli.main(["control", FIGURE, "--tier", "cpu"]) == 0
    assert "undefined: ValueError: the curves" in capsys.readouterr().out
    assert stands(RANDOM) == "fresh, undefined: ValueError: the curves do not meet"
    assert FIGURE not in repeat.wanted(RANDOM, "cpu")
    lock = copy / "requirements.lock"
    lock.write_text(lock.read_text() + "\n")
    assert stands(RANDOM).startswith("stale (changed since: lock), undefined: ")
    assert FIGURE in repeat.wanted(RANDOM, "cpu")


@pytest.mark.parametrize(
    ("ended", "error"),
    [
        ("failed", "MemoryError"),
        ("failed", "NameError: x"),
        ("failed", "the disk is full"),
        ("killed", "ValueError: x"),
    ],
)
def test_what_the_machine_or_the_code_does_wrong_is_no_property_of_a_control(fails, ended, error):
    fails(ended, error)
    assert not repeat.repeat(RANDOM, FIGURE, "cpu").ok and stands(RANDOM) == kinds.MISSING


def test_least_cost_is_that_of_the_cheapest_site(monkeypatch):
    costs = {"prose-4l128": [0.9, 0.3], "prose-4l128:random": [0.9, -0.1]}
    monkeypatch.setattr(
        "saebook.evaluation.denominator.zero_ablation_cost", lambda subject, site, *_: costs[subject][site]
    )
    monkeypatch.setattr("saebook.book.chapter.Chapter.sites", [0, 1])
    monkeypatch.setattr("saebook.book.chapter.Chapter.validation_rows", lambda page: None)
    monkeypatch.setattr("saebook.book.chapter.Subject.load", lambda name: name)
    own = budgets.resolve(FIGURE, "smoke")
    assert [repeat.least_cost(FIGURE, one) for one in (own, RANDOM.budget(FIGURE, own))] == [0.3, -0.1]
