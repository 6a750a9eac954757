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

_LEAST = 32  # rows below which a second thread costs more than it does
_mine = local()


def count() -> int:
    """How many threads the caller may use for a loop: all that PyTorch has, or one in a thread of `each`."""
    return 1 if getattr(_mine, "inside", False) else torch.get_num_threads()


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

    with _resting() as threads:
        return list(_pool(os.getpid(), threads).map(alone, items))


def ranges(loop: Callable[[int, int], object], rows: int) -> None:
    """`loop(0, rows)`, cut into one range of rows a thread. `loop` must not depend on how."""
    parts = min(count(), rows // _LEAST)
    if parts < 2:
        loop(0, rows)
        return
    ends = [rows * part // parts for part in range(parts + 1)]
    first, *others = itertools.pairwise(ends)
    waiting = [_pool(os.getpid(), parts).submit(loop, *other) for other in others]
    loop(*first)
    for future in waiting:
        future.result()


@contextlib.contextmanager
def _resting() -> Iterator[int]:
    """PyTorch on one thread; gives how many it had."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """A pool of this very process: a fork inherits the object, and none of its threads."""
    return ThreadPoolExecutor(threads, thread_name_prefix=f"saebook-{process}")
