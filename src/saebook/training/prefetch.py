"""Batches made ahead of the step that wants them, by a thread of their own, and copied to a GPU while it computes.

On a CPU a batch is gathered in some ten microseconds and the processor is busy with the step before: there it does not pay.
"""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")
_PATIENCE = 0.05  # seconds until the thread looks again whether anyone still wants its work


def ahead(items: Generator[T], depth: int = 1) -> Iterator[T]:
    """`items` in their order, each made by a background thread while at most `depth` wait to be taken.

    What `items` raises is raised here. The thread ends with the last item, or when this generator is closed.
    """
    waiting: queue.Queue[tuple[str, T | BaseException | None]] = queue.Queue(depth)
    closed = threading.Event()

    def hand_over(kind: str, value: T | BaseException | None = None) -> None:
        while not closed.is_set():
            try:
                return waiting.put((kind, value), timeout=_PATIENCE)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                hand_over("item", item)
                if closed.is_set():
                    return
            hand_over("end")
        except BaseException as error:
            hand_over("error", error)
        finally:
            items.close()

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = waiting.get()
            if kind == "end":
                return
            if isinstance(value, BaseException) and kind == "error":
                raise value
            yield value  # pyright: ignore[reportReturnType] - an item, by its kind
    finally:
        closed.set()
        thread.join()


def onto(device: torch.device, gathers: Iterator[tuple[np.ndarray, np.ndarray]], scale: float) -> Iterator[Tensor]:
    """`source[rows] * scale` on a CUDA `device` for each `(source, rows)`, [n, D] and [B], all of one B and D.

    A thread gathers each into one of two pinned buffers, and a stream of its own copies it while the step before computes.
    """
    copying = torch.cuda.Stream(device)

    def copies() -> Generator[tuple[Tensor, torch.cuda.Event]]:
        pinned: dict[int, Tensor] = {}
        copied: dict[int, torch.cuda.Event] = {}
        for number, (source, rows) in enumerate(gathers):
            turn = number % 2
            if turn in copied:
                copied[turn].synchronize()  # until the last copy from this buffer is done
            else:
                pinned[turn] = torch.empty(len(rows), source.shape[1], pin_memory=True)
            np.take(source, rows, axis=0, out=pinned[turn].numpy(), mode="clip")
            with torch.cuda.device(device), torch.cuda.stream(copying):
                batch = pinned[turn].to(device, non_blocking=True).mul_(scale)
                copied[turn] = torch.cuda.Event()
                copied[turn].record(copying)
            yield batch, copied[turn]

    for batch, done in ahead(copies()):
        computing = torch.cuda.current_stream(device)
        computing.wait_event(done)
        batch.record_stream(computing)
        yield batch
