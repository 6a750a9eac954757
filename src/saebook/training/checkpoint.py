"""The state of a training run, kept so that a killed run goes on."""

from dataclasses import dataclass
from pathlib import Path

import torch

from saebook.common.files import write_whole


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
        with write_whole(self.file) as aside:
            torch.save(state, aside)

    def clear(self) -> None:
        """Remove the file, if there is one."""
        self.file.unlink(missing_ok=True)
