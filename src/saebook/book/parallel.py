"""Several notebooks at a time, each in a process of its own with its share of the processors.

Matrices of a laptop's SAEs keep no second thread busy: two notebooks with one thread each were measured to do 1.3 times the
work of one with two. A notebook that takes its runs from another one's sweep waits for that one.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from saebook.book import budgets

_MOST = 4  # the longest chain of notebooks is a quarter of the whole: more lanes would wait for it
_MEMORY = 3 * 2**30  # bytes a lane may need: twice what the hungriest notebook of the cpu tier took
_PATIENCE = 10.0  # seconds that an interrupted notebook has to end by itself


@dataclass(frozen=True)
class Piece:
    """A notebook (PAPER/NAME) to run, the one whose runs it shares (or None), and the seconds it is expected to take."""

    name: str
    after: str | None = None
    seconds: float = 0.0


def share(asked: int | None = None) -> tuple[int, int]:
    """How many notebooks run at a time on this machine, and how many threads each of them has. One at a time on a GPU."""
    threads = torch.get_num_threads()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fitting = 1 if torch.cuda.is_available() else min(_MOST, memory // _MEMORY)
    lanes = max(1, min(threads, asked or fitting))
    return lanes, threads // lanes


def pieces(tier: str, seconds: dict[str, float]) -> list[Piece]:
    """The notebooks of `seconds` (PAPER/NAME) as pieces, those first that are expected to take longest."""
    entries = budgets.load(tier)
    shares = {name: (entries[name.replace("/", ".")].get("like") or "").replace(".", "/") for name in seconds}
    found = [Piece(name, shares[name] if shares[name] in seconds else None, cost) for name, cost in seconds.items()]
    return sorted(found, key=lambda piece: -piece.seconds)


def run(
    todo: list[Piece], start: Callable[[str, int], subprocess.Popen], lanes: int, pause: float = 0.1
) -> Iterator[tuple[str, subprocess.Popen]]:
    """Start every piece in a free lane (`start(name, lane)`) once what it waits for has ended; yield each as it ends.

    When the caller stops listening, is interrupted or terminated, what still runs is interrupted too and waited for.
    """
    waiting, left, running = list(todo), {piece.name for piece in todo}, {}
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        while waiting or running:
            for lane in set(range(lanes)) - running.keys():
                piece = _next(waiting, left)
                if piece:
                    waiting.remove(piece)
                    running[lane] = piece.name, start(piece.name, lane)
            for lane, (name, process) in list(running.items()):
                if process.poll() is not None:
                    del running[lane]
                    left.discard(name)
                    yield name, process
            time.sleep(pause)
    finally:
        _stop([process for _, process in running.values()])
        signal.signal(signal.SIGTERM, before)


def wall(todo: list[Piece], lanes: int) -> float:
    """Seconds from the first start to the last end, if every piece takes what is expected."""
    waiting, left, running, now = list(todo), {piece.name for piece in todo}, [], 0.0
    while waiting or running:
        while len(running) < lanes and (piece := _next(waiting, left)):
            waiting.remove(piece)
            running.append((now + piece.seconds, piece.name))
        now, name = min(running)
        running.remove((now, name))
        left.discard(name)
    return now


def _next(waiting: list[Piece], left: set[str]) -> Piece | None:
    return next((piece for piece in waiting if piece.after not in left), None)


def _stop(running: list[subprocess.Popen]) -> None:
    """End processes that a terminal has already told (Ctrl-C reaches the whole group), and those that nobody told."""
    for sent in (None, signal.SIGINT, signal.SIGKILL):
        until = time.monotonic() + _PATIENCE
        for process in running:
            if sent and process.poll() is None:
                process.send_signal(sent)
        while any(process.poll() is None for process in running) and time.monotonic() < until:
            time.sleep(0.05)
