"""Text of the model hub: a data set streamed in a shuffled order, and kept as no more than the tokens that were asked for.

A source is ``hub:NAME/CONFIG@SPLIT#COLUMN:TOKENS``, of which NAME alone is needed: ``hub:Skylion007/openwebtext:410M`` is 410
million training tokens, without a number `TOKENS`.

The data set's files come in a random order, and documents are mixed in blocks, so that a part of a data set is a sample of
it. Nothing but tokens stays on disk, 2 bytes each where the vocabulary fits. After every block the position is written down:
a killed run goes on there and reads at most one file of the data set again. The commit that was read first is read ever
after, so the tokens are a function of source, commit and tokenizer. Documents are held out by a hash of their place.

Near repeats between training and held-out text stay in, unlike in the other sources: to find them, all of the text would have
to be kept.
"""

import hashlib
import json
import re
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from filelock import FileLock

from saebook.common import fingerprint, paths
from saebook.common.errors import UserError
from saebook.common.files import write_text
from saebook.common.progress import bar
from saebook.text import prose
from saebook.text.tokens import tokenizer_hash

TOKENS = 100_000_000  # of training text, for a source that names no number
HELD_OUT = 2**24  # tokens at most: the held-out share of a long text is more than anyone measures on
BLOCK = 4096  # documents that are mixed, tokenised and written together
_ENCODED = 512  # documents a call of the tokenizer
_SEED = 0  # of the order of files and documents
_SPLITS = ("train", "validation")
_CONVERTED = "refs/convert/parquet"  # the hub's own copy of a data set that is otherwise made by a script
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
_SOURCE = re.compile(
    r"hub:(?P<name>[^@#:]+)(?:@(?P<split>[^#:]+))?(?:#(?P<column>[^:]+))?(?::(?P<count>\d{1,6})(?P<unit>[KMG]?))?"
)


@dataclass(frozen=True)
class HubSource:
    """A data set `name` of the hub, its `config`, split and column of text, and how many training `tokens` of it."""

    name: str
    config: str | None = None
    split: str = "train"
    column: str = "text"
    tokens: int = TOKENS


@dataclass(frozen=True)
class Position:
    """How far a data set has been read: the next `document` of file `shard` in the order of reading, after `blocks` blocks.

    `train` and `validation` are tokens on disk, `checksums` those of the two files. `ended` says that there is enough, or
    no more.
    """

    blocks: int = 0
    shard: int = 0
    document: int = 0
    train: int = 0
    validation: int = 0
    checksums: tuple[int, int] = (0, 0)
    ended: bool = False


def parsed(source: str) -> HubSource:
    """The parts of a source. Raises `UserError` when it is not one of the hub."""
    match = _SOURCE.fullmatch(source)
    if not match or not 1 <= len(parts := match["name"].strip("/").split("/")) <= 3 or not all(parts):
        raise UserError(
            f"text source '{source}' is not understood: use hub:NAME/CONFIG@SPLIT#COLUMN:TOKENS, with TOKENS such as 410M"
        )
    tokens = int(match["count"]) * _UNITS[match["unit"]] if match["count"] else TOKENS
    if not tokens:
        raise UserError(f"text source '{source}' asks for no token: name a number of at least 1")
    name, config = ("/".join(parts[:2]), parts[2]) if len(parts) == 3 else ("/".join(parts), None)
    return HubSource(name, config, match["split"] or "train", match["column"] or "text", tokens)


def disk(source: str, vocabulary: int = 2**16) -> int:
    """The bytes that the tokens of a source take at most, for a tokenizer with so many entries."""
    wanted = parsed(source).tokens
    return (wanted + min(HELD_OUT, wanted)) * np.dtype(_dtype(vocabulary)).itemsize


def corpus_hash(source: str) -> str:
    """A name for the text of a source: the data set at the commit that is read, how much of it, and the code that reads it.

    Raises `UserError` when the data set was never read and the hub does not know it, or is out of reach.
    """
    about = parsed(source)
    code = fingerprint.of(
        __name__, without=(*fingerprint.WITHOUT, "saebook.text.tokens")
    )  # of that, only a hash is used
    return _digest(json.dumps([asdict(about), _commit(about.name), code]))[:16]


def tokens(source: str, tokenizer, split: str, context: int) -> np.ndarray:
    """The packed rows [N, T] of one split ("train" or "validation") of a source, memory-mapped, T being `context`.

    What is missing is streamed first. Raises `UserError` when the data set cannot be read, there is no room for its tokens,
    or they make no row.
    """
    folder = paths.cache() / "tokens" / "hub" / _digest(f"{corpus_hash(source)} {tokenizer_hash(tokenizer)}")[:16]
    stream = _Stream(folder, parsed(source), tokenizer)
    position = stream.read()
    count = getattr(position, split) // context
    if not count:
        raise UserError(f"text source '{source}' has no {split} row of {context} tokens: give it more text")
    return np.memmap(stream.file(split), stream.dtype, "r", shape=(count, context))


class _Stream:
    """The tokens of a source in a folder: a file for each split, and the position up to which they were read."""

    def __init__(self, folder: Path, source: HubSource, tokenizer):
        self.folder, self.source, self.tokenizer = folder, source, tokenizer
        self.dtype = _dtype(len(tokenizer))
        self.end = tokenizer.eos_token_id
        if self.end is None:
            raise UserError(
                "the subject's tokenizer has no end-of-text token to put between documents: choose another subject"
            )

    def file(self, split: str) -> Path:
        return self.folder / f"{split}.bin"

    def read(self) -> Position:
        """Read what is missing, and say how much there is. Of several processes one reads and the others wait."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            position = self._resumed()
            if not position.ended:
                self._check_room(position)
                position = self._go_on(position)
            return position

    def _resumed(self) -> Position:
        """The position kept last, with both files cut back to it; the beginning, where there is none or a file is damaged."""
        try:
            kept = json.loads((self.folder / "position.json").read_text("utf-8"))
            position = Position(**kept | {"checksums": tuple(kept["checksums"])})
        except FileNotFoundError:
            position = Position()
        except (OSError, ValueError, KeyError, TypeError):
            position = self._begun_again()
        for split, checksum in zip(_SPLITS, position.checksums, strict=True):
            size = getattr(position, split) * self.dtype().itemsize
            file = self.file(split)
            if not size:
                file.write_bytes(b"")
                continue
            if not file.is_file() or file.stat().st_size < size:
                return self._begun_again()
            if file.stat().st_size > size:  # written after the position was
                with open(file, "r+b") as longer:
                    longer.truncate(size)
            if _checksum_of(file, file.stat().st_mtime_ns, size) != checksum:
                return self._begun_again()
        return position

    def _begun_again(self) -> Position:
        print(f"saebook: {self.folder} is damaged; reading {self.source.name} again")
        for split in _SPLITS:
            self.file(split).write_bytes(b"")
        return Position()

    def _check_room(self, position: Position) -> None:
        left = self.source.tokens - position.train + min(HELD_OUT, self.source.tokens) - position.validation
        needed, free = left * self.dtype().itemsize, shutil.disk_usage(self.folder).free
        if needed > free:
            raise UserError(
                f"{self.source.tokens:,} tokens of {self.source.name} need {needed / 1e9:.1f} GB of disk, and {self.folder} has "
                f"{free / 1e9:.1f}: free some, set SAEBOOK_CACHE to another disk, or ask for fewer (hub:{self.source.name}:10M)"
            )

    def _go_on(self, position: Position) -> Position:
        name, wanted = self.source.name, self.source.tokens
        with bar(wanted, f"reading {name}", "token", initial=position.train) as progress:
            for block, shard, document in _blocks(self.source, position):
                before = position.train
                here = replace(position, blocks=position.blocks + 1, shard=shard, document=document)
                position = self._append(block, here)
                progress.update(position.train - before)
                if position.train == wanted:
                    break
        if position.train < wanted:
            print(f"saebook: all of {name} is {position.train:,} tokens, of {wanted:,} that were asked for")
        position = replace(position, ended=True)
        self._keep(position)
        return position

    def _append(self, block: list[tuple[str, str]], here: Position) -> Position:
        """Write the tokens of a `block` of documents, place and text, behind the others; then the position, which is `here`."""
        texts: dict[str, list[str]] = {split: [] for split in _SPLITS}
        for number in np.random.default_rng([_SEED, here.blocks]).permutation(len(block)):
            place, text = block[number]
            texts["validation" if prose.validation(place) else "train"].append(text)
        room = {"train": self.source.tokens, "validation": min(HELD_OUT, self.source.tokens)}
        counts, checksums = {}, []
        for split, checksum in zip(_SPLITS, here.checksums, strict=True):
            before = getattr(here, split)
            new = self._encoded(texts[split])[: room[split] - before].tobytes()
            with open(self.file(split), "ab") as out:
                out.write(new)
            counts[split] = before + len(new) // self.dtype().itemsize
            checksums.append(zlib.crc32(new, checksum))
        position = replace(here, checksums=(checksums[0], checksums[1]), **counts)
        self._keep(position)
        return position

    def _encoded(self, texts: list[str]) -> np.ndarray:
        """The tokens of documents, one after the other, each with the end of text behind it."""
        parts = [np.empty(0, self.dtype)]
        for first in range(0, len(texts), _ENCODED):
            few = texts[first : first + _ENCODED]
            for ids in self.tokenizer(few, add_special_tokens=False, verbose=False)["input_ids"]:
                parts.append(np.array([*ids, self.end], self.dtype))
        return np.concatenate(parts)

    def _keep(self, position: Position) -> None:
        write_text(self.folder / "position.json", json.dumps(asdict(position)))


def _blocks(source: HubSource, start: Position) -> Iterator[tuple[list[tuple[str, str]], int, int]]:
    """Blocks of documents from `start` on, each document its place and text; and where the next block begins: file, document."""
    block: list[tuple[str, str]] = []
    shard, document = start.shard, start.document
    for shard, before, place, text in _documents(source, start.shard, start.document):
        document = before + 1
        if text:
            block.append((place, text))
        if len(block) == BLOCK:
            yield block, shard, document
            block = []
    if block:
        yield block, shard, document


def _documents(source: HubSource, shard: int, document: int) -> Iterator[tuple[int, int, str, str]]:
    """The documents from number `document` of file `shard` on: file, number, place in the data set, text."""
    import datasets

    try:
        rows = datasets.load_dataset(
            source.name, source.config, split=source.split, streaming=True, revision=_commit(source.name)
        ).select_columns([source.column])
        assert isinstance(rows, datasets.IterableDataset)
        order = np.random.default_rng(_SEED).permutation(rows.num_shards)
        for number in range(shard, len(order)):
            file = int(order[number])
            part = rows.shard(len(order), file).skip(document)
            for place, row in enumerate(part, document):
                yield number, place, f"{source.name}/{source.split}/{file}/{place}", (row[source.column] or "").strip()
            document = 0
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreadable(source.name, error) from None


def _unreadable(name: str, error: Exception) -> UserError:
    first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return UserError(
        f"data set {name} cannot be read ({first}): check its name and the network; the same command goes on from "
        f"what was read"
    )


def _commit(name: str) -> str:
    """The commit of a data set that is read: the newest one when it was asked for first, and that one ever after."""
    file = paths.cache() / "tokens" / "hub" / f"{name.replace('/', '--')}.commit"
    if file.is_file() and re.fullmatch(r"[0-9a-f]{40}", kept := file.read_text("utf-8").strip()):
        return kept
    from huggingface_hub import HfApi

    try:
        about = HfApi().dataset_info(name)
        if any(one.rfilename == f"{name.split('/')[-1]}.py" for one in about.siblings or ()):
            about = HfApi().dataset_info(name, revision=_CONVERTED)
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from None
    if not about.sha:
        raise UserError(f"data set {name} cannot be read: the hub names no commit of it")
    write_text(file, about.sha + "\n")
    return about.sha


@cache
def _checksum_of(file: Path, changed: int, size: int) -> int:
    """The checksum of a file, read through once a process."""
    checksum = 0
    with open(file, "rb") as content:
        while piece := content.read(2**24):
            checksum = zlib.crc32(piece, checksum)
    return checksum


def _dtype(vocabulary: int) -> type[np.uint16] | type[np.int32]:
    return np.uint16 if vocabulary <= 2**16 else np.int32


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
