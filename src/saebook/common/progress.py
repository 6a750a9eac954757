"""One progress bar for everything that takes more than a few seconds.

Plain text, never a widget (widgets drag scripts from a network into the page). Inside a notebook the bar goes to the
terminal that the runner names in SAEBOOK_PROGRESS, else to standard error, which the book strips; of several notebooks
at a time each has a line of its own, by the number in SAEBOOK_SLOT.
"""

import os
import sys

from tqdm import tqdm


def bar(total: int, what: str, unit: str, initial: int = 0) -> tqdm:
    """A tqdm bar over `total` units of work named `what`; silent without a terminal or notebook."""
    terminal = os.environ.get("SAEBOOK_PROGRESS")
    off = terminal == "off"
    terminal = None if off else terminal
    try:
        file = open(terminal, "w") if terminal else sys.stderr  # noqa: SIM115 - lives as long as the process
    except OSError:
        file = sys.stderr
    shown = bool(terminal) or sys.stderr.isatty() or "ipykernel" in sys.modules
    return tqdm(
        total=total, initial=initial, desc=what, unit=unit, unit_scale=True, file=file, mininterval=2.0, leave=False,
        disable=off or not shown, dynamic_ncols=True, position=int(os.environ.get("SAEBOOK_SLOT", "0")) or None,
    )  # fmt: skip
