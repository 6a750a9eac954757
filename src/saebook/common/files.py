"""Files and folders that appear whole or not at all, and are made once however many processes want them."""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

from saebook.common.errors import UserError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NOT_A_FOLDER = {errno.EEXIST, errno.ENOTDIR}


def write_text(file: Path, text: str) -> None:
    """Write `text` as UTF-8 to `file`, whole or not at all. Raises `UserError` when the disk is full or read-only."""
    with write_whole(file) as aside:
        aside.write_text(text, "utf-8")


@contextlib.contextmanager
def write_whole(file: Path, place: Callable[[Path, Path], object] = Path.replace) -> Iterator[Path]:
    """Yield a path beside `file` to write a file or a folder to. It becomes `file` by `place`, by default one rename.

    After an error or an interrupt the path is removed and `file` is what it was. Raises `UserError` when the disk is
    full or `file` cannot be written there.
    """
    aside = file.with_name(f".{file.name[:150]}.{uuid.uuid4().hex[:8]}.aside")
    with _refusals(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield aside
            for part in [aside] if aside.is_file() else aside.rglob("*"):
                if part.is_file():
                    _sync(part)
            place(aside, file)
        finally:
            shutil.rmtree(aside) if aside.is_dir() else aside.unlink(missing_ok=True)


@contextlib.contextmanager
def made_once(file: Path, sound: Callable[[Path], bool] | None = None) -> Iterator[Path | None]:
    """Yield a path that becomes `file` by one rename, or None when `file` is there already.

    Of several processes one makes the file and the others wait for it. A file that `sound` finds damaged is reported and
    made again.
    """
    if _is_there(file, sound):
        yield None
        return
    with _refusals(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file.with_name(f".{file.name}.lock"))
        lock.acquire()
    try:
        if _is_there(file, sound):
            yield None
            return
        if file.exists():
            print(f"saebook: {file} is damaged; making it again")
        with write_whole(file) as aside:
            yield aside
    finally:
        lock.release()


def _is_there(file: Path, sound: Callable[[Path], bool] | None) -> bool:
    return file.is_file() and (sound is None or sound(file))


def _sync(file: Path) -> None:
    with open(file, "rb") as written:
        os.fsync(written.fileno())


@contextlib.contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    """Say in one line that a disk is full, or that `folder` cannot be written to."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # torch and safetensors wrap the system's error in their own
        number, about = getattr(error, "errno", None), getattr(error, "filename", None)
        if number in _FULL or "No space left" in str(error):
            raise UserError(
                f"the disk that holds {folder} is full: free some space and run the command again"
            ) from None
        ours = about is None or Path(os.fsdecode(about)) in (folder, *folder.parents) or _below(about, folder)
        if (number in _FORBIDDEN and ours) or (number is None and "Read-only file system" in str(error)):
            raise UserError(f"{folder} cannot be written to: change its permissions, or name another folder") from None
        if number in _NOT_A_FOLDER and ours:
            raise UserError(f"{folder} is not a folder: remove the file of that name, or name another folder") from None
        raise


def _below(about: str | bytes | int, folder: Path) -> bool:
    return isinstance(about, str | bytes) and Path(os.fsdecode(about)).parent == folder
