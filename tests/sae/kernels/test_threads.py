"""Work shared among cores: the same results in the same order, errors passed on, PyTorch's threads as they were."""

import threading

import pytest
import torch

from saebook.sae.kernels import threads


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_each_keeps_the_order_and_uses_several_threads(two_threads):
    meeting = threading.Barrier(2, timeout=20)  # passed only if two items are worked on at the same time

    def work(item):
        meeting.wait()
        return item * 2, torch.get_num_threads(), threads.count()

    assert threads.each(work, range(4)) == [(0, 1, 1), (2, 1, 1), (4, 1, 1), (6, 1, 1)]
    assert torch.get_num_threads() == 2 and threads.count() == 2


def test_each_passes_an_error_on_and_gives_the_threads_back(two_threads):
    with pytest.raises(ZeroDivisionError):
        threads.each(lambda item: 1 // item, [1, 0])
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("rows", [1, 31, 64, 65, 1000])
def test_ranges_cover_every_row_once(two_threads, rows):
    seen = []
    threads.ranges(lambda first, last: seen.extend(range(first, last)), rows, 1e9)
    assert sorted(seen) == list(range(rows))


def test_ranges_pass_an_error_on(two_threads):
    def fails(first, last):
        if first:
            raise ValueError("second half")

    with pytest.raises(ValueError, match="second half"):
        threads.ranges(fails, 1000, 1e9)
