"""The table of contents: written when the book is built, from the chapters' sidecars and the folder of prose pages."""

from pathlib import Path
from typing import Any

import yaml

from saebook.common import sidecar

ROOT = "index"
PROSE = (
    "ledger",
    "bets",
    "how-it-works",
    "your-model",
    "subject",
    "tuning",
    "choices",
    "benchmarks",
    "glossary",
    "api",
    "status",
    "bibliography",
)  # in this order
PARTS = {
    "checks": "First steps",
    "gated": "Gated SAEs",
    "topk": "Top-k SAEs",
    "e2e": "End-to-end SAEs",
    "beyond": "Beyond the papers",
}
BESIDE = {"rating-key": "gated", "features": "beyond"}  # prose pages that belong to the chapters of a part
ABOUT = "About this book"


def contents(prose: set[str], chapters: list[str]) -> dict[str, Any]:
    """The table of contents as Jupyter Book reads it, from the names of prose pages and chapters (`paper/name`).

    Chapters stand in the part of their paper, in the order given, under their sidecars' titles, and after them the prose
    pages of `BESIDE`. Other prose pages stand in the last part, in the order of `PROSE`; one not named there comes last.
    """
    parts = [
        {
            "caption": caption,
            "chapters": [_chapter(name) for name in chapters if name.split("/")[0] == paper]
            + [_page(page) for page, part in BESIDE.items() if part == paper and page in prose],
        }
        for paper, caption in PARTS.items()
    ]
    pages = [page for page in PROSE if page in prose] + sorted(prose - {ROOT, *PROSE, *BESIDE})
    parts.append({"caption": ABOUT, "chapters": [_page(page) for page in pages]})
    return {"format": "jb-book", "root": f"book/{ROOT}", "parts": [part for part in parts if part["chapters"]]}


def _chapter(name: str) -> dict[str, str]:
    return {"file": f"notebooks/{name}", "title": sidecar.load(name).title}


def _page(page: str) -> dict[str, str]:
    return {"file": f"book/{page}"}


def write(staging: Path) -> Path:
    """Write the table of contents of the book into its `staging` folder; returns the file."""
    prose = {file.stem for file in (staging / "book").glob("*.md")}
    file = staging / "_toc.yml"
    table = contents(prose, sidecar.names())
    file.write_text(yaml.safe_dump(table, sort_keys=False, allow_unicode=True), "utf-8")
    return file
