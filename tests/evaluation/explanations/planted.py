"""Latents whose patterns are known, and a twin of the procedure that goes through one sequence after another."""

import math

import torch

from saebook.evaluation.explanations.contexts import Contexts
from saebook.evaluation.explanations.pruning import WILDCARD, Pattern

START, PADDING = 0, 1
A, B, C = 7, 8, 9


def pair(tokens):
    """Fires on A right after B."""
    return 2.0 if tokens[-2:] == [B, A] else 0.0


def gap(tokens):
    """Fires on A two tokens after B, whatever lies between."""
    return 3.0 if len(tokens) >= 3 and tokens[-1] == A and tokens[-3] == B else 0.0


def single(tokens):
    """Fires on A and, more strongly, on C."""
    return {A: 1.0, C: 4.0}.get(tokens[-1], 0.0)


def opening(tokens):
    """Fires on A at the beginning of a document."""
    return 5.0 if tokens[-2:] == [START, A] else 0.0


def faint(tokens):
    """Fires on A; fully only if B occurs anywhere before it, else with a third."""
    return 0.0 if tokens[-1] != A else 3.0 if B in tokens[:-1] else 1.0


def after(tokens):
    """Fires on whatever follows B."""
    return 1.5 if tokens[-2:-1] == [B] else 0.0


LATENTS = (pair, gap, single, opening, faint, after)


def act(sequences, latents):
    """Activations [B] at the last tokens of `sequences` [B, L], of the planted latents by their places."""
    pairs = zip(sequences.tolist(), latents.tolist(), strict=True)
    return torch.tensor([LATENTS[latent](tokens) for tokens, latent in pairs])


def activations(rows):
    """The planted latents on every token of `rows` [N, T]: [N, T, m]. Nothing stands before a row."""
    return torch.tensor(
        [[[f(row[: t + 1]) for f in LATENTS] for t in range(len(row))] for row in rows.tolist()], dtype=torch.float32
    )


def every_place(rows):
    """All places where a planted latent fires."""
    values = activations(rows)
    row, position, latent = (values > 0).nonzero().unbind(1)
    return Contexts(latent, row, position, values[row, position, latent])


def slow_pattern(tokens, latent, value, longest, kept=0.5, act=act, start=START, padding=PADDING):
    """The pattern of one place, whose text up to it is `tokens`, or None."""
    run = lambda some: float(act(torch.tensor([[start, *some]]), torch.tensor([latent])))  # noqa: E731
    for length in range(1, min(longest, len(tokens)) + 1):
        suffix = tokens[-length:]
        if run(suffix) >= kept * value:
            break
    else:
        return None
    whole, pattern = run(suffix), []
    for i in range(length):
        left = run([*suffix[:i], padding, *suffix[i + 1 :]])
        pattern.append(WILDCARD if 1 - left / whole < 1 - kept else suffix[i])
    begins = [] if run([padding, *suffix]) >= kept * value else [start]
    return Pattern((*begins, *pattern), whole)


def slow_predict(patterns, tokens):
    """What patterns of one latent predict at the last of `tokens`."""
    trie: dict = {}
    for pattern in patterns:
        node = trie
        for token in reversed(pattern.tokens):
            node = node.setdefault(token, {})
        node["value"] = pattern.value
    node = trie
    for token in reversed(tokens):
        node = node.get(token, node.get(WILDCARD))
        if node is None:
            return 0.0
        if not math.isnan(node.get("value", math.nan)):
            return node["value"]
    return 0.0
