"""Places on axes, and the values that are labelled."""

import itertools
import math

import pytest

from saebook.book.site.figures.axes import Axis, around, tick_words


def test_places_are_linear_or_those_of_logarithms():
    assert [Axis(0, 4, False).share(x) for x in (-1, 0, 1, 4, 9)] == [0, 0, 0.25, 1, 1]
    assert [Axis(1, 100, True).share(x) for x in (-1, 0, 1, 10, 100)] == pytest.approx([0, 0, 0, 0.5, 1])


@pytest.mark.parametrize(("low", "high"), [(0.81, 0.985), (0, 1), (-0.2, 1.3), (830, 1010)])
def test_ticks_of_a_linear_axis_are_round_and_few(low, high):
    ticks = Axis(low, high, False).ticks()
    assert 3 <= len(ticks) <= 7 and all(low <= tick <= high for tick in ticks)
    step = ticks[1] - ticks[0]
    assert all(b - a == pytest.approx(step) for a, b in itertools.pairwise(ticks))
    assert f"{step:.0e}"[0] in "125" and float(f"{step:.0e}") == pytest.approx(step)


def test_ticks_of_a_logarithmic_axis():
    assert Axis(4, 220, True).ticks() == [5, 10, 20, 50, 100, 200]
    assert Axis(1, 1e6, True).ticks() == [1, 10, 100, 1000, 10000, 100000, 1000000]
    assert len(Axis(500, 1050, True).ticks()) >= 3  # a short one has no power of ten


def test_axis_holds_all_values_with_room_and_leaves_out_what_has_no_place():
    axis = around([1.0, 10.0, math.nan, math.inf, 0.0, -3.0], log=True)
    assert axis.low < 1 < 10 < axis.high and axis.low > 0.5
    assert around([2.0, 2.0], log=False).high > 2 and around([], log=True).ticks()


def test_tick_words_are_plain():
    assert [tick_words(one) for one in (0.05, 1.0, 200.0, 50000.0)] == ["0.05", "1", "200", "50k"]
