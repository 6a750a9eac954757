"""One progress bar for everything that takes more than a few seconds.

Plain text, never a widget (widgets drag scripts from a network into the page). Inside a notebook the bar goes to the
terminal or log file that the runner names in SAEBOOK_PROGRESS, else to standard error, which the book strips; of several
notebooks at a time each has a line of its own, by the number in SAEBOOK_SLOT. Where standard error is a file or a pipe, as
under nohup, the bar is a line a minute.
"""

import contextlib
import functools
import os
import sys
import time
from typing import TextIO

from tqdm import tqdm

_LINE_EVERY = 60.0  # seconds


def bar(total: int, what: str, unit: str, initial: int = 0) -> tqdm:
    """A tqdm bar over `total` units of work named `what`; SAEBOOK_PROGRESS=off silences it."""
    terminal = os.environ.get("SAEBOOK_PROGRESS")
    off = terminal == "off"
    terminal = None if off else terminal
    made = functools.partial(
        tqdm, total=total, initial=initial, desc=what, unit=unit, unit_scale=True, leave=False, disable=off
    )
    file, in_notebook = sys.stderr, "ipykernel" in sys.modules
    if terminal:
        with contextlib.suppress(OSError):
            file = open(terminal, "a", buffering=1)  # noqa: SIM115 - lives as long as the process
    if not file.isatty() and (file is not sys.stderr or not in_notebook):
        return made(file=_Lines(file), mininterval=min(10.0, _LINE_EVERY), ncols=100, ascii=True)
    slot = int(os.environ.get("SAEBOOK_SLOT", "0")) or None
    return made(file=file, mininterval=2.0, dynamic_ncols=True, position=slot)


class _Lines:
    """A stream for tqdm in which the bar's state is a line, at most one every `_LINE_EVERY` seconds; short work has none."""

    def __init__(self, stream: TextIO):
        self.stream, self.due = stream, time.monotonic() + _LINE_EVERY

    def write(self, text: str) -> None:
        if (words := text.strip()) and time.monotonic() >= self.due:
            self.stream.write(words + "\n")
            self.due = time.monotonic() + _LINE_EVERY

    def flush(self) -> None:
        self.stream.flush()
