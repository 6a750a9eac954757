"""A subject's activations on its training text, computed once a site and shared by every sweep that wants them.

The rows of the text are put in one fixed random order and cut into chunks. A chunk is computed the same way whoever asks for
it, so the numbers are the same whether it is read from disk or computed again: with the store on, off, or full. The first
chunks are a random sample of the text; a short run needs only those, and a longer one extends them. All positions of a row
are kept, so runs that leave out different positions share them. Letters: N rows, T positions, D width of the site.

They lie below ``activations`` in the cache and take at most ``SAEBOOK_ACTIVATIONS_GIB`` GiB (8 by default; 0: none are kept).
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor

from saebook.common import fingerprint, hardware, paths
from saebook.common.errors import UserError
from saebook.common.progress import bar
from saebook.subject.model import Site, Subject
from saebook.subject.records import Records
from saebook.subject.sites import Precision

_GIB = "SAEBOOK_ACTIVATIONS_GIB"
_CHUNK = 2**14  # tokens in a chunk, about
_PASS = {"cpu": 2**11, "cuda": 2**14}  # tokens in a pass of the subject: on a CPU they should stay in its caches


def limit() -> int:
    """The bytes that all kept activations may take. Raises `UserError` where the environment names nonsense."""
    given = os.environ.get(_GIB) or "8"
    try:
        size = float(given)
    except ValueError:
        size = math.nan
    if not (math.isfinite(size) and size >= 0):
        raise UserError(f"{_GIB} must be a number of GiB, 0 to keep none, not '{given[:80]}'")
    return int(size * 2**30)


def rows_in_chunk(length: int) -> int:
    """Rows of text in a chunk, for rows of `length` tokens."""
    return max(1, _CHUNK // length)


class SiteActivations:
    """The activations at one site of a text `rows` [N, T], by chunk: from disk where they are kept, else computed.

    `count` is the number of chunks; each has `rows_each` rows, the last perhaps fewer. `precision` is that of the subject's
    products.
    """

    def __init__(self, subject: Subject, site: Site, rows: np.ndarray, precision: Precision = "fp32"):
        self.subject, self.site, self.rows = subject, site, rows
        self.precision: Precision = precision
        self.rows_each = rows_in_chunk(rows.shape[1])
        self.count = math.ceil(len(rows) / self.rows_each)
        about = {
            "subject": subject.name, "weights": subject.weights_hash, "site": site.hook_name, "text": _hash_of(rows),
            "shape": rows.shape, "rows_each": self.rows_each, "torch": torch.__version__,
            "precision": [precision, str(next(subject.bridge.parameters()).dtype), torch.get_float32_matmul_precision()],
            "device": hardware.device(subject.device.type), "source": fingerprint.of(__name__),
        }  # fmt: skip
        self.key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
        self._order = np.random.default_rng(0).permutation(len(rows))
        self._records = self._open(about)

    def _open(self, about: dict) -> Records | None:
        size, (count, length) = limit(), self.rows.shape
        folder = paths.cache() / "activations" / self.key
        try:
            return (
                Records(folder, self.rows_each * length, self.site.d_in, count * length, size, about) if size else None
            )
        except (OSError, UserError):  # a cache that cannot be written to: everything is computed
            return None

    def rows_in(self, chunk: int) -> int:
        """The number of rows of a chunk."""
        return min(self.rows_each, len(self.rows) - chunk * self.rows_each)

    def tokens(self, chunk: int) -> Tensor:
        """The text [n, T] of a chunk."""
        chosen = self._order[chunk * self.rows_each :][: self.rows_each]
        return torch.from_numpy(self.rows[chosen].astype(np.int64))

    def has(self, chunk: int) -> bool:
        """Whether a chunk is on disk."""
        return self._records is not None and self._records.has(chunk)

    def kept(self) -> np.ndarray:
        """The memory map [n, D] of what is on disk, of which `first_row` and `has` say where a chunk lies."""
        assert self._records is not None
        return self._records.array()

    def first_row(self, chunk: int) -> int:
        """Where a chunk begins in `kept()`: position 0 of its first row; positions and rows follow one another."""
        assert self._records is not None
        return self._records.first_row(chunk)

    def read(self, chunk: int) -> Tensor:
        """A chunk [n, T, D] that is on disk, in memory."""
        n, first = self.rows_in(chunk) * self.rows.shape[1], self.first_row(chunk)
        return torch.from_numpy(self.kept()[first : first + n].copy()).view(self.rows_in(chunk), -1, self.site.d_in)


def make(places: Sequence[SiteActivations], chunk: int) -> list[Tensor | None]:
    """Have a chunk of each of `places`, several sites of one subject and text, on disk by one pass over its rows.

    Returns for each None, or the activations [n, T, D] which the store did not take. Of several processes one computes.
    """
    with ExitStack() as held:
        for one in sorted(places, key=lambda one: one.key):  # in one order everywhere: no two wait for each other
            if one._records is not None and not one.has(chunk):
                held.enter_context(one._records.making())
        missing = [one for one in places if not one.has(chunk)]
        left: dict[SiteActivations, Tensor] = {}
        for one, x in zip(missing, _computed(missing, chunk) if missing else (), strict=True):
            if one._records is None or not one._records.put(chunk, x.flatten(0, 1).cpu().numpy()):
                left[one] = x
    return [left.get(one) for one in places]


def collect(places: Sequence[SiteActivations], chunks: Iterable[int]) -> None:
    """Have `chunks` of all of `places` on disk, by one pass of the subject for all of them, as far as there is room."""
    places = [one for one in {one.key: one for one in places}.values() if one._records is not None]
    wanted = [chunk for chunk in chunks if not all(one.has(chunk) for one in places)]
    if not wanted:
        return
    with progress(places[0], wanted) as advance:
        for chunk in wanted:
            left = make(places, chunk)
            advance(places[0].rows_in(chunk))
            places = [one for one, x in zip(places, left, strict=True) if x is None]
            if not places:
                break


@contextmanager
def progress(place: SiteActivations, chunks: Collection[int]) -> Iterator[Callable[[int], object]]:
    """A bar over the rows of text in `chunks`, if there are any: a function that moves it on by so many rows."""
    if not chunks:
        yield lambda rows: None
        return
    with bar(sum(map(place.rows_in, chunks)), "collecting activations", "row") as shown:
        yield shown.update


def _computed(places: Sequence[SiteActivations], chunk: int) -> list[Tensor]:
    """The activations [n, T, D], float32, of a chunk at the sites of `places`."""
    subject, sites = places[0].subject, [one.site for one in places]
    rows = max(1, _PASS[subject.device.type] // places[0].rows.shape[1])
    passes = places[0].tokens(chunk).split(rows)
    parts = [subject.activations_at(tokens, sites, places[0].precision) for tokens in passes]
    return [torch.cat(of_site).float() for of_site in zip(*parts, strict=True)]


def _hash_of(rows: np.ndarray) -> str:
    """The hash of a text's tokens, which covers corpus, tokenizer and context at once."""
    digest = hashlib.sha256(f"{rows.dtype.str} {rows.shape}".encode())
    digest.update(np.ascontiguousarray(rows).data)
    return digest.hexdigest()[:16]
