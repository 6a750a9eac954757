"""From a place where a latent fires to a token pattern (the released code of the Top-k paper, explanations.py).

The shortest suffix that keeps half of the activation stays, and of its tokens those without which half of that is lost; the
others become wildcards. Every suffix is run behind the token that begins a document: the first position of a row is neither
trained on nor measured in this library, so a suffix must not stand there. All places, of all latents, go through the model
together. Letters: C places, B sequences, L tokens of a suffix.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from saebook.common.errors import UserError
from saebook.evaluation.explanations.contexts import Contexts

WILDCARD = -1  # in a pattern: any token
# Sequences [B, L] and a latent for each [B] -> that latent's activation [B] at the last token of the sequence.
LastToken = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Settings:
    """How patterns are made: from the `strongest` places of a latent and others `drawn` at random, of at most `longest` tokens.

    `kept` is the share of an activation that has to survive. Raises `UserError` for settings out of bounds.
    """

    strongest: int = 8
    drawn: int = 8
    longest: int = 16
    kept: float = 0.5

    def __post_init__(self) -> None:
        if min(self.strongest, self.drawn) < 0 or self.strongest + self.drawn < 1:
            raise UserError(
                f"patterns need at least one place: {self.strongest} strongest and {self.drawn} drawn are none"
            )
        if self.longest < 1:
            raise UserError(f"a pattern has at least one token, not {self.longest}")
        if not 0 < self.kept <= 1:
            raise UserError(f"the share that is kept lies above 0 and is at most 1, not {self.kept:g}")


@dataclass(frozen=True)
class Pattern:
    """An n-gram of token ids in the order of the text, some of them `WILDCARD`, and the activation at its last token."""

    tokens: tuple[int, ...]
    value: float

    def fits(self, tokens: Sequence[int]) -> bool:
        """Whether a text that ends with these `tokens` ends with the pattern."""
        end = tokens[max(0, len(tokens) - len(self.tokens)) :]
        return len(end) == len(self.tokens) and all(
            mine in (WILDCARD, token) for mine, token in zip(self.tokens, end, strict=True)
        )

    def text(self, tokenizer) -> str:
        """The pattern as words, a wildcard as an asterisk in brackets."""
        return "".join("[*]" if token == WILDCARD else tokenizer.decode([token]) for token in self.tokens)


@torch.inference_mode()
def patterns(
    contexts: Contexts, rows: Tensor, act: LastToken, start: int, padding: int, settings: Settings
) -> list[tuple[int, Pattern]]:
    """A pattern for each of the `contexts`, places in `rows` [N, T], that some suffix of at most `longest` tokens explains.

    With each pattern its latent. `start` is the token that begins a document, `padding` one that says nothing. A pattern that
    does not survive padding in front of it begins with `start`. Another place may give the same pattern again.
    """
    made = []
    for places, suffixes, values in _shortest(contexts, rows, act, start, settings):
        latents = contexts.latent[places]
        count, length = suffixes.shape
        padded = act(_behind(torch.cat([suffixes.new_full((count, 1), padding), suffixes], 1), start), latents)
        anchored = padded < settings.kept * contexts.value[places]
        # Each suffix L times, with another of its tokens replaced each time.
        replaced = suffixes.repeat_interleave(length, 0)
        each = torch.arange(len(replaced), device=rows.device)
        replaced[each, each % length] = padding
        left = act(_behind(replaced, start), latents.repeat_interleave(length)).view(count, length)
        spared = left > settings.kept * values[:, None]
        tokens = torch.where(spared, WILDCARD, suffixes)
        for latent, ids, begins, value in zip(
            latents.tolist(), tokens.tolist(), anchored.tolist(), values.tolist(), strict=True
        ):
            made.append((latent, Pattern((start, *ids) if begins else tuple(ids), value)))
    return made


def _shortest(
    contexts: Contexts, rows: Tensor, act: LastToken, start: int, settings: Settings
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """By length: the places whose shortest suffix has it [n], these suffixes [n, L], and the activations that they keep [n]."""
    left = torch.arange(len(contexts), device=rows.device)
    for length in range(1, settings.longest + 1):
        left = left[contexts.position[left] + 1 >= length]
        if not len(left):
            return
        along = torch.arange(1 - length, 1, device=rows.device)
        suffixes = rows[contexts.row[left, None], contexts.position[left, None] + along]
        values = act(_behind(suffixes, start), contexts.latent[left])
        enough = values >= settings.kept * contexts.value[left]
        if enough.any():
            yield left[enough], suffixes[enough], values[enough]
        left = left[~enough]


def _behind(sequences: Tensor, start: int) -> Tensor:
    return torch.cat([sequences.new_full((len(sequences), 1), start), sequences], 1)
