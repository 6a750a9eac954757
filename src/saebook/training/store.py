"""The store of trained SAEs: one folder per run, named by its configuration, whole or absent.

A run is SAELens' own layout (``cfg.json`` and ``sae_weights.safetensors``), so that SAELens, SAEBench and their
friends open it; what is ours lies under ``metadata``.
"""

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from saebook.common import paths
from saebook.common.errors import UserError

_CFG, _WEIGHTS = "cfg.json", "sae_weights.safetensors"


def key_of(config: dict) -> str:
    """A name for a configuration: 16 hex digits of the hash of its canonical JSON."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training run under way, kept whole in one file."""

    file: Path

    def load(self) -> dict | None:
        """The state kept last, or None. A damaged file is reported and passed over: the run begins again."""
        if not self.file.is_file():
            return None
        try:
            return torch.load(self.file, weights_only=True)
        except Exception as error:  # torch raises half a dozen kinds for a cut-off file
            print(f"saebook: checkpoint {self.file} is damaged ({type(error).__name__}); starting again")
            return None

    def save(self, state: dict) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        aside = self.file.with_suffix(f".{uuid.uuid4().hex[:8]}.aside")
        with _room_on_disk(aside):
            torch.save(state, aside)
            aside.replace(self.file)

    def clear(self) -> None:
        self.file.unlink(missing_ok=True)


class Store:
    """Runs below one folder (default: `paths.runs()`)."""

    def __init__(self, root: Path | None = None):
        self.root = root or paths.runs()

    def has(self, key: str) -> bool:
        return (self.root / key / _CFG).is_file()

    def save(self, key: str, cfg: dict, tensors: dict[str, Tensor]) -> None:
        """Put a run in the store. It appears whole, by one rename, or not at all; a run already there is kept."""
        aside = self.root / f".{key}.{uuid.uuid4().hex[:8]}.aside"
        with _room_on_disk(aside):
            aside.mkdir(parents=True)
            save_file({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, aside / _WEIGHTS)
            (aside / _CFG).write_text(json.dumps(cfg, indent=1, allow_nan=False) + "\n", "utf-8")
            for name in (_WEIGHTS, _CFG):
                with open(aside / name, "rb") as written:
                    os.fsync(written.fileno())
            try:
                aside.rename(self.root / key)
            except OSError:
                if not self.has(key):
                    raise
                shutil.rmtree(aside)

    def load(self, key: str) -> tuple[dict, dict[str, Tensor]]:
        """`(cfg, tensors)` of a run. Raises `UserError` when it is absent or damaged."""
        folder = self.root / key
        if not self.has(key):
            raise UserError(f"no run {key} in {self.root}: train it first")
        try:
            return json.loads((folder / _CFG).read_text("utf-8")), load_file(folder / _WEIGHTS)
        except (OSError, ValueError, SafetensorError) as error:
            raise UserError(
                f"run {folder} is damaged ({type(error).__name__}): delete that folder, it will be trained again"
            ) from None

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold `key`, so that a second process waits and then finds the runs there."""
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / f".{key}.lock"):
            yield

    def checkpoint(self, key: str) -> Checkpoint:
        return Checkpoint(self.root / "checkpoints" / f"{key}.pt")


@contextlib.contextmanager
def _room_on_disk(aside: Path) -> Iterator[None]:
    """Whatever goes wrong while `aside` is written, it is removed; a full disk is said in one line."""
    try:
        yield
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True) if aside.is_dir() else aside.unlink(missing_ok=True)
        full = getattr(error, "errno", None) == 28 or "No space left" in str(error)
        if full:
            raise UserError(
                f"the disk that holds {aside.parent} is full: free some space and run the command again"
            ) from None
        raise
