"""Dashboards in few bytes: whole numbers in short strings, which refer to one text and one table of token strings.

A context is `row start peak` and then pairs `offset level`: the activation at `start + offset` as a share of the latent's
largest, from 1 to 99. Contexts stand apart by `|`. The page's script reads the same (`book/assets/features.js`).
Letters: N rows, T positions, m latents, k tokens or neighbours.
"""

from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from saebook.evaluation.features.bands import Windows
from saebook.evaluation.features.firings import Firings

LEVELS = 99


def joined(numbers: Tensor) -> list[str]:
    """Each line of whole numbers [m, k] as a string."""
    return [" ".join(map(str, line)) for line in numbers.tolist()]


def contexts(of: Firings, seen: Windows, most: Sequence[int]) -> list[str]:
    """The windows of each latent as a string, the first `most[i]` of latent i."""
    largest = of.largest()[of.latent]
    levels = (of.value / largest * LEVELS).ceil().long().clamp_(1, LEVELS).tolist()
    positions = of.position.tolist()
    columns = (tensor.tolist() for tensor in vars(seen).values())
    lines: list[list[str]] = [[] for _ in range(of.latents)]
    for latent, row, start, peak, first, last in zip(*columns, strict=True):
        if len(lines[latent]) < most[latent]:
            on = (f"{positions[c] - start} {levels[c]}" for c in range(first, last))
            lines[latent].append(" ".join([f"{row} {start} {peak - start}", *on]))
    return ["|".join(line) for line in lines]


def neighbours(cosines: Tensor, indices: Tensor, sae: int, lines: int) -> list[str]:
    """`sae:latent:cosine` of each neighbour [m, k], in thousandths; padded with nothing to `lines`."""
    given = [
        " ".join(f"{sae}:{latent}:{round(1000 * cosine)}" for cosine, latent in zip(*line, strict=True))
        for line in zip(cosines.tolist(), indices.tolist(), strict=True)
    ]
    return given + [""] * (lines - len(given))


class Tokens:
    """The numbers by which a dashboard names tokens: those of the text [N, T] by how often they occur in it, then the others."""

    def __init__(self, rows: Tensor):
        self._rows = rows.tolist()
        counted = Counter(token for row in self._rows for token in row)
        self._numbers = {token: number for number, (token, _) in enumerate(counted.most_common())}

    def number(self, token: int) -> int:
        """The number of a token, which it keeps."""
        return self._numbers.setdefault(token, len(self._numbers))

    def effects(self, tokens: Tensor, changes: Tensor) -> list[str]:
        """`number:change` of each token [m, k] and the change of its logit."""
        return [
            " ".join(f"{self.number(token)}:{change:.3g}" for token, change in zip(*line, strict=True))
            for line in zip(tokens.tolist(), changes.tolist(), strict=True)
        ]

    def text(self) -> list[str]:
        """Each row of the text as a string of numbers."""
        return [" ".join(str(self._numbers[token]) for token in row) for row in self._rows]

    def strings(self, tokenizer) -> list[str]:
        """The string of each number."""
        return [tokenizer.decode([token]) for token in self._numbers]
