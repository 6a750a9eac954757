"""Batches made ahead of the step that wants them, by a thread of their own, and copied to a GPU while it computes.

On a CPU a batch is gathered in some ten microseconds and the processor is busy with the step before: there it does not pay.
"""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Protocol, TypeVar

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


class Copies(Protocol):
    """Copies to a device that go on while the caller computes."""

    def buffer(self, rows: int, width: int) -> Tensor:
        """Memory of the host [rows, width] to copy from."""
        ...

    def start(self, buffer: Tensor) -> tuple[Tensor, torch.Event]:
        """A copy of `buffer` on the device, and the event that it is complete."""
        ...

    def receive(self, batch: Tensor, complete: torch.Event) -> None:
        """Have whatever is computed from now on wait for a copy."""
        ...


class CudaCopies:
    """Copies to a CUDA device from pinned memory, on a stream of their own."""

    def __init__(self, device: torch.device):
        self.device, self.stream = device, torch.cuda.Stream(device)

    def buffer(self, rows: int, width: int) -> Tensor:
        return torch.empty(rows, width, pin_memory=True)

    def start(self, buffer: Tensor) -> tuple[Tensor, torch.Event]:
        with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
            batch, complete = buffer.to(self.device, non_blocking=True), torch.cuda.Event()
            complete.record(self.stream)
        return batch, complete

    def receive(self, batch: Tensor, complete: torch.Event) -> None:
        computing = torch.cuda.current_stream(self.device)
        computing.wait_event(complete)
        batch.record_stream(computing)  # its memory is not given to another copy before that stream is done with it


def copied(gathers: Iterator[tuple[np.ndarray, np.ndarray]], copies: Copies) -> Iterator[Tensor]:
    """`source[rows]` [B, D] on a device for each `(source, rows)`, [n, D] and [B], all of one B and D.

    A thread gathers into one of two buffers while the other is copied and the step before computes.
    """

    def started() -> Generator[tuple[Tensor, torch.Event]]:
        buffers: list[tuple[Tensor, torch.Event]] = []
        for number, (source, rows) in enumerate(gathers):
            if number < 2:
                buffer = copies.buffer(len(rows), source.shape[1])
            else:
                buffer, complete = buffers.pop(0)
                complete.synchronize()  # until the last copy from this buffer is done
            np.take(source, rows, axis=0, out=buffer.numpy(), mode="clip")
            batch, complete = copies.start(buffer)
            buffers.append((buffer, complete))
            yield batch, complete

    for batch, complete in ahead(started()):
        copies.receive(batch, complete)
        yield batch
