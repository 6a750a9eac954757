"""Tokens beside the text that they spell, and the ways in which a pattern in the text labels tokens.

The rows of a text are written one after the other as bytes, and each token knows where its own begin and end. A pattern is
matched once over all of it. Letters: N rows, T positions, L bytes.
"""

import re
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from saebook.common.errors import UserError

ROW, DOCUMENT = b"\0", b"\1"  # bytes that end a row, and a document within it; patterns must not cross them


@dataclass(frozen=True)
class Aligned:
    """Tokens `ids` [N, T], the `text` [L] that they spell, and the places [N, T] in it where each begins and ends."""

    ids: np.ndarray
    text: bytes
    start: np.ndarray
    end: np.ndarray

    @classmethod
    def of_pieces(cls, pieces: list[list[bytes]]) -> "Aligned":
        """Rows [N, T] of tokens spelled as `pieces`; equal pieces are equal tokens."""
        known = {piece: i for i, piece in enumerate(dict.fromkeys(piece for row in pieces for piece in row))}
        ids = np.array([[known[piece] for piece in row] for row in pieces])
        return cls._of(ids, list(known))

    @classmethod
    def read(cls, rows: np.ndarray, tokenizer) -> "Aligned":
        """The text of `rows` [N, T]. Raises `UserError` for a tokenizer that is not a byte-level BPE."""
        spelled = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        special, byte_of = set(tokenizer.all_special_tokens), _byte_of()
        try:
            pieces = [DOCUMENT if piece in special else bytes(byte_of[c] for c in piece) for piece in spelled]
        except KeyError:
            raise UserError("probes read the text of a byte-level BPE tokenizer: choose a subject with one") from None
        return cls._of(np.asarray(rows, np.int64), pieces)

    @classmethod
    def _of(cls, ids: np.ndarray, pieces: list[bytes]) -> "Aligned":
        lengths = np.array([len(piece) for piece in pieces])[ids]
        text = b"".join(b"".join(pieces[i] for i in row) + ROW for row in ids.tolist())
        end = lengths.cumsum().reshape(ids.shape) + len(ROW) * np.arange(len(ids))[:, None]
        return cls(ids, text, end - lengths, end)

    @cached_property
    def flat(self) -> np.ndarray:
        """The text as numbers [L + 1], with a zero behind it."""
        return np.frombuffer(self.text + b"\0", np.uint8)

    # Where tokens are, as seen from the matches of a pattern; all [N, T] -------------------------------------------------

    def inside(self, pattern: re.Pattern[bytes]) -> np.ndarray:
        """Tokens whose last byte lies in a match."""
        start, end = self._matches(pattern)
        steps = np.zeros(len(self.text) + 1, np.int32)
        np.add.at(steps, start, 1)
        np.add.at(steps, end, -1)
        return steps.cumsum()[self.end - 1] > 0

    def ending(self, pattern: re.Pattern[bytes]) -> np.ndarray:
        """Tokens that end where a match does."""
        return self._at(self._matches(pattern)[1])[self.end]

    def after(self, pattern: re.Pattern[bytes]) -> np.ndarray:
        """Tokens that begin where a match ends."""
        return self._at(self._matches(pattern)[1])[self.start]

    def before(self, pattern: re.Pattern[bytes]) -> np.ndarray:
        """Tokens that end where a match begins: it is what comes next."""
        return self._at(self._matches(pattern)[0])[self.end]

    def _matches(self, pattern: re.Pattern[bytes]) -> tuple[np.ndarray, np.ndarray]:
        spans = np.array([match.span() for match in pattern.finditer(self.text)], np.int64).reshape(-1, 2)
        return spans[:, 0], spans[:, 1]

    def _at(self, places: np.ndarray) -> np.ndarray:
        marks = np.zeros(len(self.text) + 1, bool)
        marks[places] = True
        return marks

    # Tokens alone --------------------------------------------------------------------------------------------------------

    @cached_property
    def repeated(self) -> np.ndarray:
        """Tokens that occurred earlier in their row."""
        return _seen(self._by_row(self.ids))

    @cached_property
    def repeated_pair(self) -> np.ndarray:
        """Tokens that occurred earlier in their row behind the same token as here."""
        ids = self.ids.astype(np.int64)
        pairs = np.full(ids.shape, -1)
        pairs[:, 1:] = ids[:, :-1] * (ids.max() + 1) + ids[:, 1:]
        seen = _seen(self._by_row(pairs))
        seen[:, 0] = False
        return seen

    def _by_row(self, values: np.ndarray) -> np.ndarray:
        codes = np.unique(values, return_inverse=True)[1].reshape(values.shape)
        return codes + (codes.max() + 1) * np.arange(len(values))[:, None]

    def mark(self, token: tuple[int, int], before: int = 40, after: int = 16) -> tuple[str, str, str]:
        """The text before a token, of it and behind it, for an example: up to so many bytes of the same document."""
        start, end = int(self.start[token]), int(self.end[token])
        left = re.split(b"[\0\1]", self.text[max(0, start - before) : start])[-1]
        right = re.split(b"[\0\1]", self.text[end : end + after])[0]
        left, own, right = (one.decode("utf-8", "replace") for one in (left, self.text[start:end], right))
        return left, own, right


def _seen(keys: np.ndarray) -> np.ndarray:
    """Which of `keys` [N, T] occurred earlier, in the order of reading."""
    first = np.unique(keys, return_index=True)[1]
    seen = np.ones(keys.size, bool)
    seen[first] = False
    return seen.reshape(keys.shape)


@cache
def _byte_of() -> dict[str, int]:
    """The byte that each letter of a byte-level BPE stands for: printable bytes are their own letter, others follow from 256."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
