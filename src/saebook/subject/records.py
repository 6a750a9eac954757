"""Arrays that can be computed again, kept on disk by key under one limit of size for all keys.

A key's folder holds one file of records: float32 arrays [rows, width], one after the other, each followed by a row with its
checksum. So a memory map of the file is one array from which rows of many records are gathered at once, and a record that
is cut off or damaged is noticed. Folders used longest ago are removed when a record would not fit; those in use never.
"""

import contextlib
import fcntl
import json
import os
import shutil
import sys
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock

from saebook.common.files import write_text

_DATA, _IN_USE = "records.f32", ".in_use"
_ITEM = 4  # bytes of a float32
_SPARE = 2**30  # bytes of the disk that are left to everything else


class Records:
    """The records of one key: record i holds `rows` rows of `width` numbers, and all together hold `total` rows.

    `folder` is the key's; the folder above it holds all keys, in at most `limit` bytes. `about` is written beside the
    records for a reader. While the object lives, no process removes the folder. Raises `OSError` if it cannot be made.
    """

    def __init__(self, folder: Path, rows: int, width: int, total: int, limit: int, about: dict | None = None):
        self.folder, self.rows, self.width, self.total, self.limit = folder, rows, width, total, limit
        self._held = _hold(folder)
        weakref.finalize(self, os.close, self._held)
        self._file = folder / _DATA
        self._file.touch()
        if about and not (folder / "about.json").is_file():
            write_text(folder / "about.json", json.dumps(about, indent=1) + "\n")
        self._sound: set[int] = set()
        self._map: np.ndarray | None = None

    def has(self, number: int) -> bool:
        """Whether record `number` is there, whole and undamaged. Each is read through once."""
        if number not in self._sound:
            first, size = self.first_row(number), self._size(number)
            whole = self.array()
            if len(whole) < first + size + 1:
                return False
            if whole[first + size].tobytes() != self._checksum(number, whole[first : first + size]):
                return False
            self._sound.add(number)
        return True

    def first_row(self, number: int) -> int:
        """The row of `array()` at which record `number` begins."""
        return number * (self.rows + 1)

    def array(self) -> np.ndarray:
        """All that the file holds now, memory-mapped [n, width]: records and the rows of their checksums."""
        count = self._file.stat().st_size // (self.width * _ITEM) if self._file.is_file() else 0
        if self._map is None or len(self._map) < count:
            shape = (count, self.width)
            self._map = np.memmap(self._file, np.float32, "r", shape=shape) if count else np.empty(shape, np.float32)
        return self._map

    def put(self, number: int, record: np.ndarray) -> bool:
        """Append or replace record `number` [n, width]; False where the limit or the disk leaves no room for it.

        A record after one that is missing is not taken: the file has no gaps.
        """
        assert record.dtype == np.float32 and record.shape == (self._size(number), self.width)
        record = np.ascontiguousarray(record)
        offset = self.first_row(number) * self.width * _ITEM
        try:
            with FileLock(self.folder.parent / ".lock"):
                before = self._file.stat().st_size
                after = offset + (len(record) + 1) * self.width * _ITEM
                if offset > before or not self._make_room(after - before):
                    return False
                if after <= before:
                    print(f"saebook: record {number} of {self.folder} is damaged; making it again", file=sys.stderr)
                self._write(offset, memoryview(record.data).cast("B"), before)
                self._write(offset + record.nbytes, memoryview(self._checksum(number, record)), before)
        except OSError as error:  # full or read-only: whoever asks computes it instead
            print(f"saebook: {self.folder} takes no more ({error.strerror}): going on without", file=sys.stderr)
            return False
        self._sound.add(number)
        return True

    @contextlib.contextmanager
    def making(self) -> Iterator[None]:
        """Held by the one process that makes a record of this key; the others wait, and then find it."""
        lock = FileLock(self.folder / ".making.lock")
        lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _size(self, number: int) -> int:
        return min(self.rows, self.total - number * self.rows)

    def _checksum(self, number: int, record: np.ndarray) -> bytes:
        """The row behind a record. It names the record too, so that one in another's place is not taken for it."""
        return zlib.crc32(record.data, number + 1).to_bytes(_ITEM, "little").ljust(self.width * _ITEM, b"\0")

    def _write(self, offset: int, content: memoryview, before: int) -> None:
        """Write all of `content`; after an error or an interrupt the file is no longer than it was `before`."""
        with open(self._file, "r+b", buffering=0) as out:
            try:
                while content:
                    written = os.pwrite(out.fileno(), content, offset)
                    content, offset = content[written:], offset + written
            except BaseException:
                out.truncate(before)
                raise

    def _make_room(self, more: int) -> bool:
        """Remove folders used longest ago until `more` bytes fit; False, with nothing removed, if they cannot."""
        sizes = {file.parent: file.stat().st_size for file in self.folder.parent.glob(f"*/{_DATA}")}
        free = shutil.disk_usage(self.folder).free
        short = max(sum(sizes.values()) + more - self.limit, more + _SPARE - free)
        if more <= 0 or short <= 0:
            return True
        with contextlib.ExitStack() as locked:
            leaving: list[Path] = []
            for folder in sorted(sizes, key=_last_use):
                if short > 0 and _unused(folder, locked):
                    leaving.append(folder)
                    short -= sizes[folder]
            if short > 0:
                return False
            for folder in leaving:
                shutil.rmtree(folder, ignore_errors=True)
        return True


def _hold(folder: Path) -> int:
    """A descriptor that marks `folder`, which is made if need be, as used now and in use until it is closed."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # removed by another process since the line above
            held = os.open(folder / _IN_USE, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(held, fcntl.LOCK_SH)
            if os.fstat(held).st_nlink:  # else it was removed while this process waited for the lock
                os.utime(held)
                return held
            os.close(held)


def _last_use(folder: Path) -> float:
    file = folder / _IN_USE
    return file.stat().st_mtime if file.is_file() else 0.0


def _unused(folder: Path, until: contextlib.ExitStack) -> bool:
    """Whether no process uses `folder`; if so it stays locked `until` that is left."""
    held = os.open(folder / _IN_USE, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        return False
    until.callback(os.close, held)
    return True
