"""`saebook profile`: every second of a sweep in one phase, and nothing left behind."""

import time

import pytest

from saebook.book import profile
from saebook.common.errors import UserError
from saebook.training import loop


def test_every_named_function_exists_where_it_is_called():
    for targets in profile.PHASES.values():
        for target in targets:
            assert profile.places(target), target
    with pytest.raises(AttributeError):
        profile.places("saebook.training.loop:no_such_function")


def test_phase_leaves_out_the_phases_that_it_calls():
    clock = profile.Clock()
    with clock.phase("evaluation"):
        time.sleep(0.02)
        with clock.phase("batches"):
            time.sleep(0.06)
    spent = clock.read()
    assert 0.02 <= spent["evaluation"] < 0.05 <= spent["batches"]


def test_functions_are_put_back_and_their_seconds_add_up():
    before = {name: vars(loop.TrainState)[name] for name in ("steps", "resample")}
    clock = profile.Clock()
    with pytest.raises(ZeroDivisionError), profile.timed(clock):
        assert vars(loop.TrainState)["steps"] is not before["steps"]
        raise ZeroDivisionError
    assert {name: vars(loop.TrainState)[name] for name in before} == before


def test_generator_is_counted_while_it_works_and_not_while_it_waits():
    def items():
        for number in range(3):
            time.sleep(0.02)
            yield number

    clock = profile.Clock()
    got = []
    for item in profile._wrapped(items, clock, "batches")():
        time.sleep(0.05)
        got.append(item)
    assert got == [0, 1, 2] and 0.06 <= clock.read()["batches"] < 0.12


@pytest.mark.parametrize(
    ("name", "phase"),
    [("gated/fig05_pareto", "SAE steps: Adam and constraints"), ("e2e/fig01_pareto", "end-to-end: KL, forward")],
)
def test_smoke_chapter_is_split_into_its_phases(name, phase):
    begun = time.perf_counter()
    spent = profile.profile(name, "smoke", {"tokens": 4096})
    whole = time.perf_counter() - begun
    for one in (phase, "subject: activations", "evaluation", "keys and store"):
        assert spent[one] > 0, one
    assert sum(spent.values()) == pytest.approx(whole, rel=0.2)
    lines = profile.table(spent)
    assert any(line.startswith("evaluation") for line in lines) and lines[-1].startswith("in all")


def test_chapter_that_trains_nothing_is_refused():
    with pytest.raises(UserError, match="trains nothing"):
        profile.profile("gated/fig02_shrinkage_toy", "smoke")
