"""Files that several processes may want at once: the first makes one, the others wait, and none sees half of it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock


@contextlib.contextmanager
def made_once(file: Path) -> Iterator[Path | None]:
    """Where to write what shall become `file`; None when it is there already. It appears whole, by one rename, or not at all."""
    if file.is_file():
        yield None
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f".{file.name}.lock")):
        if file.is_file():
            yield None
            return
        aside = file.with_name(f".aside.{file.name}")
        try:
            yield aside
            aside.replace(file)
        finally:
            aside.unlink(missing_ok=True)
