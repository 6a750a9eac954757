"""The numbers of the course page come from budgets, records and files."""

import pytest

from saebook.book import budgets
from saebook.book.brought import course
from saebook.common.errors import UserError
from saebook.text import prose


def test_time_is_the_share_of_the_recorded_run_that_the_seeds_are(monkeypatch):
    kept = {
        "seconds": 600.0, "trained_runs": 80, "device": "a processor", "parameters": {"seeds": [0, 1, 2, 3, 4], "subject": "s"},
    }  # fmt: skip
    monkeypatch.setattr(course.results, "read", lambda name, tier: kept)
    assert "trained 80 SAEs with 5 seeds in 10 minutes (a processor)" in course.time()
    assert "The 3 seeds of this page are about 6 of them." in course.time()
    monkeypatch.setattr(course.results, "read", lambda name, tier: None)
    assert "has not been measured yet (`saebook run gated/fig05_pareto --tier cpu`)" in course.time()


def test_defaults_are_those_of_the_sidecar():
    budget = budgets.resolve(course.CHAPTER, "cpu").plain()
    assert (
        budget["subject"] in course.defaults() and f"`{budget['site']}`, layer {budget['layer']}" in course.defaults()
    )
    assert (
        "`smoke` and `cpu` read" in course.defaults()
        and "`blocks.1.mlp.hook_post`, whose `d_in` is 512" in course.defaults()
    )


def test_defaults_of_tiers_that_differ_are_told_apart(monkeypatch):
    whole = budgets.resolve

    def resolve(name, tier):
        return whole(name, tier, **({"site": "attn_z", "layer": 2} if tier == "smoke" else {}))

    monkeypatch.setattr(course.budgets, "resolve", resolve)
    first, second = course.defaults().splitlines()
    assert "the tier `smoke` reads" in first and "`blocks.2.attn.hook_z`, whose `d_in` is 128" in first
    assert "the tier `cpu` reads" in second and "mlp_post" in second


def test_text_that_is_asked_for_holds_out_the_rows_that_the_tier_measures(monkeypatch):
    """As many bytes as the page says, counted in tokens, leave as many rows as the budget has, within its rounding."""
    monkeypatch.setattr(course, "_bytes_per_token", lambda: 4.0)
    budget, said = budgets.resolve(course.CHAPTER, "cpu").plain(), course.text()
    megabytes = float(said.partition(" MB in all")[0].rpartition("about ")[2])
    held_out_rows = megabytes * 1e6 / 4.0 * prose.HELD_OUT_PERCENT / 100 / 128
    assert len(course.held_out.places(round(held_out_rows))) == pytest.approx(budget["eval_rows"], rel=0.03)
    assert f"{budget['tokens']:,} tokens" in said and f"with a chance of {prose.HELD_OUT_PERCENT}%" in said


def test_measured_tokens_are_rows_without_their_first_positions():
    budget = budgets.resolve(course.CHAPTER, "cpu").plain()
    assert f"{budget['eval_rows'] * (128 - budget['skip']):,} tokens at the `cpu` tier" in course.measured()
    assert "position 0 of every row" in course.measured()


def test_length_of_a_token_is_plausible_and_a_damaged_record_is_named(tmp_path, monkeypatch):
    assert 3.5 < course._bytes_per_token() < 5
    monkeypatch.setattr(course.paths, "data", lambda: tmp_path)
    with pytest.raises(UserError, match=r"EVIDENCE\.json is damaged"):
        course._bytes_per_token()
