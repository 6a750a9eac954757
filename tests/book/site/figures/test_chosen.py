"""The result that a page shows: this copy's own where it can conclude something, else the recorded one."""

import pytest

from saebook.book.site.figures.chosen import chosen
from saebook.claims import results
from saebook.common.errors import UserError

NAME = "gated/fig05_pareto"


def where(tier):
    one = chosen(NAME, tier)
    return one and (one.where, one.tier)


def test_recorded_result_is_shown_until_this_copy_has_one_that_counts(home, put):
    assert where("smoke") == where("cpu") == where("gpu") == ("recorded", "cpu")
    put("smoke", 0.5)
    put("cpu", 0.5)
    assert where("smoke") == ("recorded", "cpu") and where("cpu") == ("live", "cpu")
    put("overnight", 0.5, "recorded")
    assert where("smoke") == where("gpu") == ("recorded", "overnight") and where("cpu") == ("live", "cpu")


def test_smoke_result_is_shown_where_nothing_is_recorded(home, put):
    results.file(NAME, "cpu").unlink()
    assert where("smoke") is None
    put("smoke", 0.5)
    assert where("smoke") == ("live", "smoke") and chosen(NAME, "smoke").words() == "this copy, smoke tier, 2030-01-02"


def test_points_may_be_missing_and_damaged_ones_are_told_in_one_line(home):
    one = chosen(NAME, "cpu")
    assert one.points() is None and one.words() == "recorded, cpu tier, 2030-01-02"
    one.file("csv").write_text("")
    with pytest.raises(UserError, match="restore it from git"):
        one.points()
