"""The state of a training run, kept so that a killed run goes on."""

import contextlib
import errno
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from saebook.common.errors import UserError


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training run under way, in one file that is always whole."""

    file: Path

    def load(self) -> dict | None:
        """The state kept last, or None. A damaged file is reported and passed over: the run begins again."""
        if not self.file.is_file():
            return None
        try:
            return torch.load(self.file, weights_only=True)
        except Exception as error:  # torch raises half a dozen types for a cut-off file
            print(f"saebook: checkpoint {self.file} is damaged ({type(error).__name__}); starting again")
            return None

    def save(self, state: dict) -> None:
        """Replace the state, by one rename. Raises `UserError` when the disk is full; the state before stays."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        aside = self.file.with_suffix(f".{uuid.uuid4().hex[:8]}.aside")
        with room_on_disk(aside):
            torch.save(state, aside)
            aside.replace(self.file)

    def clear(self) -> None:
        """Remove the file, if there is one."""
        self.file.unlink(missing_ok=True)


@contextlib.contextmanager
def room_on_disk(aside: Path) -> Iterator[None]:
    """Remove `aside`, a file or folder, whatever goes wrong while it is written; a full disk becomes a `UserError`."""
    try:
        yield
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True) if aside.is_dir() else aside.unlink(missing_ok=True)
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
            raise UserError(
                f"the disk that holds {aside.parent} is full: free some space and run the command again"
            ) from None
        raise
