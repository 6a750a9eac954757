"""Several notebooks at a time, each in a process of its own with its share of the processors.

The matrices of a laptop's SAEs do not keep a second thread busy: two notebooks with one thread each did 1.3 times the
work of one notebook with two. A notebook that takes its runs from another one's sweep waits for that one.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from saebook.common import sidecar

_MAX_SLOTS = 4  # the longest chain of notebooks is a quarter of the whole: more slots would wait for it
_MEMORY = 3 * 2**30  # bytes a notebook may need: twice what the hungriest of the cpu tier took
_PATIENCE = 10.0  # seconds that an interrupted notebook has to end by itself


@dataclass(frozen=True)
class Job:
    """A notebook (`paper/name`) to run, the one whose runs it shares (or None), and the seconds it should take."""

    name: str
    after: str | None = None
    seconds: float = 0.0


class Process(Protocol):
    """What `run` needs of a process: `subprocess.Popen` has it, and so has a fork of the warm server."""

    returncode: int | None

    def poll(self) -> int | None: ...
    def send_signal(self, sig: int, /) -> None: ...


P = TypeVar("P", bound=Process)


def share(asked: int | None = None) -> tuple[int, int]:
    """How many notebooks run at a time on this machine, and how many threads each of them has. One at a time on a GPU."""
    import torch

    threads = torch.get_num_threads()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fitting = 1 if torch.cuda.is_available() else min(_MAX_SLOTS, memory // _MEMORY)
    slots = max(1, min(threads, asked or fitting))
    return slots, threads // slots


def jobs(seconds: dict[str, float], tier: str) -> list[Job]:
    """The notebooks of `seconds` as jobs at `tier`, those first that should take longest."""
    sharing = {name: sidecar.load(name).like(tier) for name in seconds}
    unsorted = [Job(name, like if (like := sharing[name]) in seconds else None, cost) for name, cost in seconds.items()]
    return sorted(unsorted, key=lambda job: -job.seconds)


def run(
    todo: list[Job], start: Callable[[str, int], P], slots: int, pause: float = 0.1
) -> Generator[tuple[str, P], None, None]:
    """Start every job in a free slot (`start(name, slot)`) once the job that it waits for has ended; yield each as it ends.

    When the caller stops listening, is interrupted or terminated, the jobs still running are interrupted and waited for.
    """
    waiting, unfinished, running = list(todo), {job.name for job in todo}, {}
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        while waiting or running:
            for slot in set(range(slots)) - running.keys():
                job = _next(waiting, unfinished)
                if job:
                    waiting.remove(job)
                    running[slot] = job.name, start(job.name, slot)
            for slot, (name, process) in list(running.items()):
                if process.poll() is not None:
                    del running[slot]
                    unfinished.discard(name)
                    yield name, process
            time.sleep(pause)
    finally:
        _stop([process for _, process in running.values()])
        signal.signal(signal.SIGTERM, before)


def wall(todo: list[Job], slots: int) -> float:
    """Seconds from the first start to the last end, if every job takes as long as expected."""
    waiting, unfinished, running, now = list(todo), {job.name for job in todo}, [], 0.0
    while waiting or running:
        while len(running) < slots and (job := _next(waiting, unfinished)):
            waiting.remove(job)
            running.append((now + job.seconds, job.name))
        now, name = min(running)
        running.remove((now, name))
        unfinished.discard(name)
    return now


def _next(waiting: list[Job], unfinished: set[str]) -> Job | None:
    return next((job for job in waiting if job.after not in unfinished), None)


def _stop(running: list[Process]) -> None:
    """End processes that a terminal has already told (Ctrl-C reaches the whole group), and those that nobody told."""
    for number in (None, signal.SIGINT, signal.SIGKILL):
        until = time.monotonic() + _PATIENCE
        for process in running:
            if number and process.poll() is None:
                process.send_signal(number)
        while any(process.poll() is None for process in running) and time.monotonic() < until:
            time.sleep(0.05)
