"""The embedded corpus: English prose from the environment's own pinned packages.

It is made of the docstrings, comments and documentation files of `PACKAGES`, so that a laptop without a network has a real
corpus, the same for the same pins. The standard library is left out because it differs between Python builds.

The steps: list files by each distribution's RECORD, cut out comments and strings with one regular expression, split them
into paragraphs, keep English, drop repeats, split by document, and drop validation paragraphs that nearly repeat training
text.
"""

import hashlib
import importlib.metadata as metadata
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from saebook.common.progress import bar

PACKAGES = (
    "torch", "transformers", "sympy", "scipy", "pandas", "scikit-learn", "numpy", "matplotlib", "networkx",
    "datasets", "huggingface_hub", "transformer_lens", "SQLAlchemy", "Sphinx", "docutils", "ipython",
    "jupyter_server", "fonttools", "wandb", "pydantic", "seaborn", "mpmath",
)  # fmt: skip

SUFFIXES = (".py", ".pyi", ".rst", ".md")

# One pass: a quote inside a comment does not open a string, and a hash inside a string does not open a comment.
_LEX = re.compile(
    r"""(?P<comment>\#[^\n]*(?:\n[ \t]*\#[^\n]*)*)
      | (?P<long>\"{3}[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*\"{3} | '{3}[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*'{3})
      | "[^"\\\n]*(?:\\.[^"\\\n]*)*" | '[^'\\\n]*(?:\\.[^'\\\n]*)*'""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_MARK = re.compile(r"^[ \t]*#+[:!]?[ \t]?", re.MULTILINE)
_LETTERS = bytes(range(65, 91)) + bytes(range(97, 123))
_WORDS_ONLY = bytes(c if c in _LETTERS else 32 for c in range(256))
_OTHER = bytes(c for c in range(256) if c not in _LETTERS)
_FUNCTION_WORDS = frozenset(
    b"the of to a and in is for be that with are as by this it on if or not from an at which can will when you was has "
    b"should used only have but we than then all may any into its these each where between there they more no other "
    b"one does do must been same their also such so some how what both must were because".split()
)
HELD_OUT_PERCENT = 2
SHINGLE = 8  # words; a validation paragraph whose shingles are mostly in the training part is dropped


@dataclass(frozen=True)
class Document:
    """One source file's prose: `path` relative to site-packages, paragraphs joined by blank lines."""

    path: str
    text: str


def english(paragraph: str) -> bool:
    """Running English text: at least 8 words, mostly letters, enough function words, no code, no table."""
    if len(paragraph) < 40 or ">>>" in paragraph or "==" in paragraph or "--" in paragraph:
        return False
    ascii_text = paragraph.encode("ascii", "replace")
    if len(ascii_text.translate(None, _LETTERS + b" ")) > 0.15 * len(ascii_text):
        return False
    words = _words(paragraph)
    return len(words) >= 8 and len([w for w in words if w in _FUNCTION_WORDS]) >= 0.18 * len(words)


def _words(text: str) -> list[bytes]:
    return text.lower().encode("ascii", "replace").translate(_WORDS_ONLY).split()


def paragraphs(source: str, suffix: str) -> list[str]:
    """The English paragraphs of one file, in order, white space collapsed."""
    blocks = [source] if suffix in (".rst", ".md") else _code_text(source)
    kept = []
    for block in blocks:
        for raw in re.split(r"\n[ \t]*\n", block):
            paragraph = " ".join(raw.split())
            if english(paragraph):
                kept.append(paragraph)
    return kept


def _code_text(source: str) -> list[str]:
    blocks = []
    for match in _LEX.finditer(source):
        if match.lastgroup == "comment":
            blocks.append(_COMMENT_MARK.sub("", match[0]))
        elif match.lastgroup == "long":
            blocks.append(match[0][3:-3])
    return blocks


def _read(job: tuple[str, str]) -> tuple[str, list[str]]:
    relative, absolute = job
    try:
        source = Path(absolute).read_text("utf-8", errors="ignore")
    except OSError:
        return relative, []
    return relative, paragraphs(source, Path(relative).suffix)


def installed_files(packages: tuple[str, ...] = PACKAGES) -> tuple[list[tuple[str, str]], list[str]]:
    """`(relative path, absolute path)` of every source file of the packages, sorted, and the packages not installed.

    Test folders are skipped: they hold little prose and a third of the bytes.
    """
    files, missing = [], []
    for name in packages:
        try:
            listed = metadata.distribution(name).files or []
        except metadata.PackageNotFoundError:
            missing.append(name)
            continue
        for file in listed:
            if file.suffix in SUFFIXES and not {"tests", "test", "testing", "..", "vendored"} & set(file.parts):
                files.append((file.as_posix(), str(file.locate())))
    return sorted(set(files)), missing


def read_documents(files: list[tuple[str, str]], workers: int | None = None) -> list[Document]:
    """Prose of `files` in their order. A paragraph is kept where it first occurs; only letters are compared."""
    workers = workers or os.cpu_count() or 1
    with bar(len(files), "reading the corpus", "file") as progress:
        if workers > 1:
            with ProcessPoolExecutor(workers) as pool:
                read = list(_counted(pool.map(_read, files, chunksize=64), progress))
        else:
            read = list(_counted(map(_read, files), progress))
    seen: set[bytes] = set()
    documents = []
    for path, english_paragraphs in read:
        kept = []
        for paragraph in english_paragraphs:
            key = paragraph.lower().encode("ascii", "replace").translate(None, _OTHER)
            if key not in seen:
                seen.add(key)
                kept.append(paragraph)
        if kept:
            documents.append(Document(path, "\n\n".join(kept)))
    return documents


def _counted(items: Iterable, progress) -> Iterator:
    for item in items:
        progress.update()
        yield item


def validation(path: str, percent: int = HELD_OUT_PERCENT) -> bool:
    """Whether a document is for validation: a fixed share is, by the hash of its relative path."""
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:4], "big") % 100 < percent


def split(documents: list[Document], percent: int = HELD_OUT_PERCENT) -> tuple[list[Document], list[Document]]:
    """`(train, validation)` by document; a validation paragraph that shares half its shingles with train is dropped."""
    train = [d for d in documents if not validation(d.path, percent)]
    known = np.sort(np.concatenate([_shingles(d.text) for d in train])) if train else np.empty(0, np.uint64)
    rest = []
    for document in (d for d in documents if validation(d.path, percent)):
        kept = [p for p in document.text.split("\n\n") if not _mostly_in(_shingles(p), known)]
        if kept:
            rest.append(Document(document.path, "\n\n".join(kept)))
    return train, rest


def _shingles(text: str) -> np.ndarray:
    """Hashes [n] (uint64) of every run of `SHINGLE` words, or of the whole text if it is shorter."""
    words = np.fromiter(map(zlib.crc32, _words(text)), np.uint64)
    runs = max(1, len(words) - SHINGLE + 1)
    total = np.zeros(runs, np.uint64)
    with np.errstate(over="ignore"):
        for offset in range(min(SHINGLE, len(words))):
            total = total * np.uint64(0x9E3779B97F4A7C15) + words[offset : offset + runs] + np.uint64(1)
    return total


def _mostly_in(shingles: np.ndarray, known: np.ndarray) -> bool:
    if not len(known):
        return False
    place = np.minimum(np.searchsorted(known, shingles), len(known) - 1)
    return float(np.mean(known[place] == shingles)) > 0.5
