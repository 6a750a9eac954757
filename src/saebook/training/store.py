"""The store of trained SAEs: one folder per run, named by its key, whole or absent.

A run is SAELens' own layout (``cfg.json`` and ``sae_weights.safetensors``), so that SAELens, SAEBench and their
friends open it; what is ours lies under ``metadata``. A key covers the source that made the run (`training.sweep`). When
that source changes or moves, old runs are no longer asked for and new ones are trained. No command renames keys; folders of old runs
may be deleted.
"""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from saebook.common import paths
from saebook.common.errors import UserError
from saebook.common.files import write_whole
from saebook.formats import saelens
from saebook.sae.base import SAEStack
from saebook.training.checkpoint import Checkpoint

_CFG, _WEIGHTS = "cfg.json", "sae_weights.safetensors"
_ABANDONED = 3600.0  # seconds after which a half-written folder belongs to no running process


def key_of(config: dict) -> str:
    """A name for a configuration: 16 hex digits of the hash of its canonical JSON."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


class Store:
    """Runs below one folder (default: `paths.runs()`)."""

    def __init__(self, root: Path | None = None):
        self.root = root or paths.runs()

    def has(self, key: str) -> bool:
        """Whether the run is there: both of its files are."""
        return all((self.root / key / name).is_file() for name in (_CFG, _WEIGHTS))

    def save(self, key: str, cfg: dict, tensors: dict[str, Tensor]) -> None:
        """Put a run in the store. It appears whole, by one rename, or not at all.

        A run already there is kept; a half-made folder in its place is replaced. Raises `UserError` when the disk is full.
        """
        with write_whole(self.root / key, self._put) as aside:
            aside.mkdir()
            save_file({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, aside / _WEIGHTS)
            (aside / _CFG).write_text(json.dumps(cfg, indent=1, allow_nan=False) + "\n", "utf-8")

    def save_sae(self, key: str, stack: SAEStack, i: int = 0, metadata: dict | None = None) -> None:
        """`save` member i of a stack, with further `metadata` (JSON)."""
        cfg, tensors = saelens.pack(stack, i)
        cfg["metadata"] |= metadata or {}
        self.save(key, cfg, tensors)

    def _put(self, aside: Path, folder: Path) -> None:
        try:
            aside.rename(folder)
        except OSError:
            if self.has(folder.name):
                return
            # What is in the way is not a run but a folder that lost a file.
            left = aside.with_name(f"{aside.stem}.left.aside")
            folder.rename(left)
            aside.rename(folder)
            shutil.rmtree(left, ignore_errors=True)

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

    def load_sae(self, key: str) -> SAEStack:
        """The SAE of a run, a stack of one on the CPU; its architecture is read from the run itself.

        Raises `UserError` when the run is absent or damaged.
        """
        return saelens.from_saelens(*self.load(key))

    def metadata(self, key: str) -> dict:
        """The record of a run: subject, text, training, metrics, history. Raises as `load`."""
        return self.load(key)[0]["metadata"]

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold `key`, so that a second process waits and then finds the runs there.

        Leftovers of killed processes go: locks that nobody holds, and what was half written more than an hour ago.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        self._clean()
        file = self.root / f".{key}.lock"
        with FileLock(file):
            try:
                yield
            finally:  # whoever waits on this file sees that it is gone and makes a new one
                file.unlink(missing_ok=True)

    def _clean(self) -> None:
        for left in (*self.root.glob(".*"), *(self.root / "checkpoints").glob("*.aside")):
            with contextlib.suppress(OSError, Timeout):
                if time.time() - left.stat().st_mtime < _ABANDONED:
                    continue
                if left.suffix == ".lock":
                    with FileLock(left, timeout=0):
                        left.unlink()
                elif left.suffix == ".aside":
                    shutil.rmtree(left) if left.is_dir() else left.unlink()

    def checkpoint(self, key: str) -> Checkpoint:
        """The checkpoint of the runs trained together under `key`."""
        return Checkpoint(self.root / "checkpoints" / f"{key}.pt")


def load_sae(key: str, root: Path | None = None) -> SAEStack:
    """The SAE of the run `key`, a stack of one, from the store at `root` (default: `paths.runs()`).

    Raises `UserError` when the run is absent or damaged.
    """
    return Store(root).load_sae(key)
