"""On a control a claim has a verdict, or a reason why there is none, and never a number that means nothing."""

import math

import pytest

from saebook.book import budgets
from saebook.claims import ledger
from saebook.claims.reruns import controls
from saebook.claims.reruns.controls import Word
from saebook.claims.reruns.kinds import RANDOM
from saebook.common import paths, sidecar

FIGURE, MSE = "gated/fig05_pareto", "topk/fig02_activations"
BY_ID = {claim.id: claim for claim in ledger.load()}
OF_LOSS, OF_ERROR = BY_ID["gated.fig05.half_the_features"], BY_ID["topk.fig02.beats_relu"]
LOSSES = ("loss recovered", "cross-entropy", "L0 ratio", "L0 gap")  # in a quantity: it compares losses


def kept(value=0.5, n=3):
    whole = math.isfinite(value)
    ends = {"mean": value, "low": value - 0.1, "high": value + 0.1} if whole else dict.fromkeys(("mean", "low", "high"))
    return ends | {"n": n}


def said(claim, value=None, own=None, **there):
    """What `claim` says where the control's result holds `value` and `there`."""
    parameters = {"subject": "prose-4l128"} if own is None else own
    live = {} if value is None else {claim.live: value}
    return controls.control(
        claim, {"notebook": claim.notebook, "parameters": parameters}, {"live": live} | there, lambda value: "partly"
    )


def test_verdict_and_interval_in_plain_words():
    assert str(said(OF_ERROR, kept())) == "on random weights: 0.50 (0.40 to 0.60), partly"
    assert str(said(OF_LOSS, kept(), zero_ablation_cost=0.3)) == "on random weights: 0.50 (0.40 to 0.60), partly"


def test_claim_without_a_control_is_not_measured():
    own = {"notebook": FIGURE, "parameters": {"subject": "prose-4l128"}}
    assert str(controls.control(OF_LOSS, own, None, lambda value: "partly")) == "on random weights: not measured"
    assert said(OF_ERROR).verdict == Word.NOT_MEASURED  # the control's result lacks the quantity


def test_losses_are_not_compared_where_ablation_costs_nothing():
    for cost in (-0.004, 0.0, controls.LEAST_COST - 1e-3):
        there = said(OF_LOSS, kept(), zero_ablation_cost=cost)
        assert (there.verdict, there.value) == (Word.UNDEFINED, None) and f"by only {cost:.3f} nats" in there.why
        assert said(OF_ERROR, kept(), zero_ablation_cost=cost).verdict == "partly"  # an error needs no loss
    assert said(OF_LOSS, kept(), zero_ablation_cost=controls.LEAST_COST).verdict == "partly"
    unknown = said(OF_LOSS, kept())
    assert (unknown.verdict, unknown.value) == (Word.NOT_MEASURED, None) and "`saebook control`" in unknown.why


@pytest.mark.parametrize("value", [kept(math.nan, 0), kept(math.nan, 2), [kept(), kept(math.nan, 0)], []])
def test_quantity_without_a_value_is_undefined(value):
    there = said(OF_ERROR, value)
    assert str(there) == "on random weights: undefined there (no seed gives a value)" and there.value is None


def test_page_that_could_compute_nothing_makes_every_claim_undefined():
    there = said(OF_ERROR, undefined="ValueError: no curve")
    assert (there.verdict, there.why) == (Word.UNDEFINED, "ValueError: no curve")


def test_it_does_not_apply_to_times_toys_and_controls():
    assert said(OF_ERROR.model_copy(update={"timing": True}), kept()).verdict == Word.NOT_APPLICABLE
    assert said(OF_ERROR, kept(), own={"subject": "prose-4l128:random"}).verdict == Word.NOT_APPLICABLE
    assert said(OF_ERROR, kept(), own={"tier": "cpu"}).verdict == Word.NOT_APPLICABLE
    toy = BY_ID["gated.fig04.jumprelu"]  # its chapter reads a subject, which decides nothing
    assert said(toy, kept()).verdict == Word.NOT_APPLICABLE


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        ("ValueError: no curve", True), ("ZeroDivisionError: float division by zero", True), ("AssertionError", True),
        ("the loss of gated is not finite at step 12: lower its lr", True), ("MemoryError", False),
        ("NameError: name 'x' is not defined", False), ("FileNotFoundError: a file", False),
        ("no room: ValueError", False), ("", False), (None, False),
    ],
)  # fmt: skip
def test_errors_that_mean_missing_numbers(error, lacks):
    assert controls.no_numbers(error) is lacks


def test_result_without_numbers_holds_what_makes_it_stale_and_one_line():
    budget = RANDOM.budget(FIGURE, budgets.resolve(FIGURE, "cpu"))
    made = controls.without_numbers(FIGURE, budget, "ValueError: two\nlines " + "x" * 400)
    assert made["undefined"].startswith("ValueError: two lines x") and len(made["undefined"]) == 300
    assert made["parameters"]["subject"] == "prose-4l128:random" and {"library", "subject"} <= set(made["hashes"])


@pytest.mark.parametrize("name", sidecar.names())
def test_claim_whose_quantity_compares_losses_is_marked(name):
    budget = budgets.resolve(name, sidecar.load(name).tiers()[0])
    for claim in ledger.judged_by(name) if RANDOM.change(name, budget.plain()) else []:
        assert claim.of_loss or not any(word in claim.quantity for word in LOSSES), f"{claim.id} needs `of_loss: true`"


def test_mark_is_no_part_of_what_makes_a_page_stale():
    assert "of_loss" not in OF_LOSS.model_dump_json() and OF_LOSS.of_loss and not OF_ERROR.of_loss


def test_page_names_the_smallest_cost():
    text = (paths.root() / "book" / "how-it-works.md").read_text("utf-8")
    assert f"less than {controls.LEAST_COST:g} nats a token" in text
