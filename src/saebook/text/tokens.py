"""Text to tokens: a byte-level BPE tokenizer, and packed rows that are memory-mapped and cached by content.

The documents of a split are joined into one long stream, each followed by the end-of-text token. A row is a slice of that
stream; the last, incomplete row is dropped. Letters: N rows, T positions (the context), V vocabulary.
"""

import hashlib
import importlib
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from saebook.common import paths
from saebook.common.errors import UserError
from saebook.common.files import made_once
from saebook.common.progress import bar
from saebook.text.prose import Document
from saebook.text.sources import STREAMED, corpus, corpus_hash, streamed

END = "<|endoftext|>"
_CHUNK = 512  # documents encoded a call: keeps memory flat and the threads of `tokenizers` busy
_CHECKSUM = 4  # bytes


def train_tokenizer(documents: Sequence[Document], vocabulary: int, folder: Path):
    """Train a byte-level BPE of `vocabulary` entries and save it as a Hugging Face GPT-2 tokenizer in `folder`."""
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator((d.text for d in documents), trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=END, eos_token=END, unk_token=END)
    wrapped.save_pretrained(folder)
    return wrapped


def pack(documents: Sequence[Document], tokenizer, context: int) -> np.ndarray:
    """Rows [N, T] of token ids in document order, as uint16 where the vocabulary fits, else int32."""
    dtype = np.uint16 if len(tokenizer) <= 2**16 else np.int32
    end = tokenizer.eos_token_id
    if end is None:
        raise UserError(
            "the subject's tokenizer has no end-of-text token to put between documents: choose another subject"
        )
    stream = []
    with bar(len(documents), "tokenising", "document") as progress:
        for first in range(0, len(documents), _CHUNK):
            texts = [d.text for d in documents[first : first + _CHUNK]]
            for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]:
                stream.append(np.array([*ids, end], dtype))
            progress.update(len(texts))
    flat = np.concatenate(stream) if stream else np.empty(0, dtype)
    return flat[: len(flat) // context * context].reshape(-1, context)


def tokens(source: str, tokenizer, split: str, context: int) -> np.ndarray:
    """The packed rows [N, T] of one split ("train" or "validation") of a text source, memory-mapped.

    Cached by the corpus, the tokenizer and the context. Raises `UserError` when there is not one full row.
    """
    if streamed(source):
        return importlib.import_module(STREAMED).tokens(source, tokenizer, split, context)
    parts = [corpus_hash(source), tokenizer_hash(tokenizer), split, str(context), "checksum"]
    file = paths.cache() / "tokens" / f"{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:20]}.npy"
    with made_once(file, _sound) as aside:
        if aside:
            text = corpus(source)
            documents = {"train": text.train, "validation": text.validation}[split]
            rows = pack(documents, tokenizer, context)
            if not len(rows):
                raise UserError(f"text source '{source}' has no {split} row of {context} tokens: give it more text")
            _save(rows, aside)
    return np.load(file, mmap_mode="r")


def _save(rows: np.ndarray, file: Path) -> None:
    """Write `rows` as NumPy does, with a checksum behind them, which NumPy does not read."""
    with open(file, "wb") as out:
        np.save(out, rows)
        out.write(zlib.crc32(rows.data).to_bytes(_CHECKSUM, "little"))


def _sound(file: Path) -> bool:
    """Whether an array file is whole and holds what was written; read through once a process."""
    status = file.stat()
    return _matches_checksum(file, status.st_size, status.st_mtime_ns)


@cache
def _matches_checksum(file: Path, size: int, changed: int) -> bool:
    try:
        rows = np.load(file, mmap_mode="r")
    except (ValueError, EOFError, OSError):  # a damaged header, a cut-off file
        return False
    with open(file, "rb") as kept:
        kept.seek(max(0, size - _CHECKSUM))
        checksum = int.from_bytes(kept.read(), "little")
    return size == rows.offset + rows.nbytes + _CHECKSUM and zlib.crc32(rows.data) == checksum


def tokenizer_hash(tokenizer) -> str:
    """A hash of a tokenizer's vocabulary, merges and rules."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()[:16]
