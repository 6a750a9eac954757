"""The cells of a notebook file, read from its JSON: importing nbformat takes as long as loading the subject."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saebook.common.errors import UserError


@dataclass(frozen=True)
class Cell:
    """One cell of a notebook file: its type (code, markdown), source and tags."""

    type: str
    source: str
    tags: tuple[str, ...] = ()


def cells(file: Path) -> list[Cell]:
    """The cells of a notebook. Raises `UserError` in one line for a file that is absent, truncated or not a notebook."""
    try:
        content = json.loads(file.read_text("utf-8"))
        if not (isinstance(content, dict) and content.get("nbformat") == 4):
            raise ValueError
        return [_cell(one) for one in content["cells"]]
    except FileNotFoundError:
        raise UserError(f"no notebook {file}: restore it") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{file} is not a readable notebook (format 4): restore it from git") from None


def _cell(kept: dict[str, Any]) -> Cell:
    source, metadata = kept["source"], kept.get("metadata", {})
    text = source if isinstance(source, str) else "".join(source)
    return Cell(str(kept["cell_type"]), text, tuple(map(str, metadata.get("tags", ()))))
