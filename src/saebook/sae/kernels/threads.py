"""Work shared among the processor's cores: members of a stack first, ranges of one loop where there are fewer members.

PyTorch's own threads rest while ours run, so that as many cores are busy as `torch.get_num_threads()` says.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import local
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAKING = 50_000  # nanoseconds until another thread has begun
_mine = local()


def count() -> int:
    """How many threads the caller may use for a loop: as many as PyTorch has outside `resting`, or one in a thread of `each`."""
    return 1 if getattr(_mine, "inside", False) else getattr(_mine, "threads", None) or torch.get_num_threads()


def each(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`[work(item) for item in items]`, several at a time. Products inside run on one thread each."""
    if min(count(), len(items)) < 2:
        return [work(item) for item in items]

    def alone(item: Item) -> Result:
        _mine.inside = True
        try:
            return work(item)
        finally:
            _mine.inside = False

    with resting() as threads:
        return list(_pool(os.getpid(), threads).map(alone, items))


def ranges(loop: Callable[[int, int], object], rows: int, work: float) -> None:
    """`loop(0, rows)`, cut into one range of rows a thread where that saves time. `loop` must not depend on how.

    `work` is about how many nanoseconds it takes on one thread. The caller's own range is longer, for it begins at once.
    """
    parts = min(count(), rows)
    if parts < 2 or work < 3 * _WAKING:
        loop(0, rows)
        return
    later = (1 - _WAKING / work) / parts  # the share of each of the others
    ends = [round(rows * (1 - later * part)) for part in reversed(range(parts))]
    first, *others = itertools.pairwise([0, *ends])
    waiting = [_pool(os.getpid(), parts).submit(loop, *other) for other in others]
    loop(*first)
    for future in waiting:
        future.result()


@contextlib.contextmanager
def resting() -> Iterator[int]:
    """PyTorch on one thread, the others left to `each` and `ranges`; gives how many there are.

    A thread of PyTorch's that has ended its part of an operation waits for the next by spinning, for milliseconds, on the
    core that ours would take.
    """
    threads = count()
    if is_resting() or threads < 2:
        yield threads
        return
    _mine.threads = threads
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)
        _mine.threads = None


def is_resting() -> bool:
    """Whether PyTorch's products run on the caller's thread alone, so that `ranges` may share one."""
    return getattr(_mine, "threads", None) is not None


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """A pool of this very process: a fork inherits the object, and none of its threads."""
    return ThreadPoolExecutor(threads, thread_name_prefix=f"saebook-{process}")
