"""Batches made ahead by a thread: the same items, and nothing left running."""

import threading
import time

import numpy as np
import pytest
import torch

from saebook.training.prefetch import ahead, copied


def running() -> int:
    return sum(thread.name == "prefetch" for thread in threading.enumerate())


def test_items_come_in_order_and_the_thread_ends():
    assert list(ahead(number for number in range(50))) == list(range(50)) and running() == 0
    assert list(ahead(number for number in range(0))) == [] and running() == 0


def test_no_more_than_depth_items_wait():
    made = []

    def items():
        for number in range(20):
            made.append(number)
            yield number

    stream = ahead(items(), depth=2)
    assert next(stream) == 0
    deadline = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    assert made == [0, 1, 2, 3]  # one was taken, two wait, and one is in the thread's hand
    assert list(stream) == list(range(1, 20)) and running() == 0


def test_work_is_done_while_the_caller_is_busy():
    begun = threading.Event()

    def items():
        yield 0
        begun.set()
        yield 1

    stream = ahead(items())
    assert next(stream) == 0 and begun.wait(5)
    assert list(stream) == [1]


@pytest.mark.parametrize("error", [ValueError("bad text"), KeyboardInterrupt()])
def test_error_reaches_the_caller(error):
    def items():
        yield 0
        raise error

    stream = ahead(items())
    assert next(stream) == 0
    with pytest.raises(type(error)):
        next(stream)
    assert running() == 0


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_stopping_early_ends_the_thread_and_closes_the_items(stop):
    closed = threading.Event()

    def items():
        try:
            yield from range(10**9)
        finally:
            closed.set()

    stream = ahead(items())
    with pytest.raises(stop):
        for number in stream:
            if number == 3:
                raise stop
    stream.close()
    assert running() == 0 and closed.is_set()


class LateCopies:
    """Copies that are made only when the host waits for them, or at the end: a device may be as late. Made on the CPU."""

    def __init__(self):
        self.buffers, self.pending, self.received = 0, [], []

    def buffer(self, rows, width):
        self.buffers += 1
        return torch.full((rows, width), torch.nan)

    def start(self, buffer):
        batch = torch.full_like(buffer, torch.nan)
        complete = Late(lambda: batch.copy_(buffer))
        self.pending.append(complete)
        return batch, complete

    def receive(self, batch, complete):
        self.received.append(complete)


class Late:
    def __init__(self, copy):
        self.copy = copy

    def synchronize(self):
        self.copy()
        self.copy = lambda: None


def test_copies_are_the_gathered_rows_and_no_buffer_is_filled_before_its_copy_is_made():
    rng = np.random.default_rng(0)
    source = rng.standard_normal((500, 7)).astype(np.float32)
    rows = [rng.integers(0, 500, 16) for _ in range(40)]
    copies = LateCopies()
    batches = list(copied(((source, one) for one in rows), copies))
    for complete in copies.pending:
        complete.synchronize()
    assert copies.buffers == 2 and copies.received == copies.pending and running() == 0
    assert all(np.array_equal(batch.numpy(), source[one]) for batch, one in zip(batches, rows, strict=True))
