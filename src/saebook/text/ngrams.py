"""Baselines for a subject: unigram, bigram and 5-gram losses on the same tokens.

Interpolated Kneser-Ney with one discount per order, D = n1 / (n1 + 2 n2) (Ney, Essen and Kneser 1994): the highest order
counts occurrences, lower orders count the distinct tokens seen before, and the lowest is interpolated with the uniform
distribution, so that every token has probability. Contexts never cross a row. Letters: N rows, T positions, V vocabulary.
"""

import numpy as np


def baselines(train: np.ndarray, validation: np.ndarray, vocabulary: int) -> dict[str, float]:
    """Mean loss in nats of tokens 1 to T-1 of each row of `validation` [N, T] given the tokens before them in the row.

    Keys: unigram (occurrences plus one), bigram, fivegram. `train` [N, T]; ids below `vocabulary`.
    """
    counts = np.bincount(train.reshape(-1), minlength=vocabulary) + 1.0
    unigram = -np.log(counts / counts.sum())
    return {
        "unigram": float(unigram[validation[:, 1:]].mean()),
        "bigram": kneser_ney(train, validation, vocabulary, 2),
        "fivegram": kneser_ney(train, validation, vocabulary, 5),
    }


def kneser_ney(train: np.ndarray, validation: np.ndarray, vocabulary: int, order: int) -> float:
    """Mean loss in nats under interpolated Kneser-Ney of `order`; near a row's start the context is shorter."""
    return float(-np.log(_probabilities(train, validation, vocabulary, order)).mean())


def _probabilities(train: np.ndarray, validation: np.ndarray, vocabulary: int, order: int) -> np.ndarray:
    """Probabilities [N, T-1] of tokens 1 to T-1 of each validation row."""
    train, validation = train.astype(np.int64), validation.astype(np.int64)
    rows, width = validation.shape
    highest = min(order, width)
    grams = {1: np.unique(train)}  # sorted keys of the n-grams seen, for every n
    keys, keys_held = {1: train}, {1: validation}  # key of the n-gram that starts at a position
    occurrences = {}
    for n in range(1, highest + 1):
        if n > 1:
            # Key of an n-gram: the rank of its first n-1 tokens among those seen, then its last token. Unseen: -1.
            keys[n] = _joined(keys[n - 1][:, :-1], train[:, n - 1 :], grams[n - 1], vocabulary)
            keys_held[n] = _joined(keys_held[n - 1][:, :-1], validation[:, n - 1 :], grams[n - 1], vocabulary)
        grams[n], occurrences[n] = np.unique(keys[n], return_counts=True)

    probability = np.full((rows, width), 1.0 / vocabulary)
    for n in range(1, highest + 1):
        counts = occurrences[n].astype(float) if n == order else _continuations(keys, grams, n, vocabulary, highest)
        histogram = np.bincount(np.minimum(counts, 3).astype(int), minlength=4)
        discount = histogram[1] / (histogram[1] + 2.0 * histogram[2]) if histogram[1] else 0.5
        contexts = np.zeros(len(grams[n]), np.int64) if n == 1 else grams[n] // vocabulary
        size = len(grams[n - 1]) if n > 1 else 1
        kept = counts > 0
        total = np.bincount(contexts, counts, minlength=size)
        kinds = np.bincount(contexts[kept], minlength=size)
        seen_context = (
            np.zeros(validation.shape, np.int64)
            if n == 1
            else _rank(keys_held[n - 1][:, : width - n + 1], grams[n - 1])
        )
        place = _rank(keys_held[n], grams[n])
        count = np.where(place >= 0, counts[np.maximum(place, 0)], 0.0)
        within = np.maximum(seen_context, 0)
        known = (seen_context >= 0) & (total[within] > 0)
        lower = probability[:, n - 1 :]
        mixed = (np.maximum(count - discount, 0.0) + discount * kinds[within] * lower) / np.maximum(
            total[within], 1e-300
        )
        probability = np.concatenate([probability[:, : n - 1], np.where(known, mixed, lower)], 1)
    return probability[:, 1:]


def _joined(first: np.ndarray, last: np.ndarray, known: np.ndarray, vocabulary: int) -> np.ndarray:
    rank = _rank(first, known)
    return np.where(rank >= 0, rank * vocabulary + last, -1)


def _rank(keys: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Place of each key among the sorted `known`, -1 where it is not there."""
    place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[place] == keys, place, -1)


def _continuations(keys: dict, grams: dict, n: int, vocabulary: int, highest: int) -> np.ndarray:
    """For every seen n-gram, how many distinct tokens were seen before it (one if it only ever began a row)."""
    if n + 1 > highest:
        return np.ones(len(grams[n]))
    # The (n+1)-gram at position i ends with the n-gram at position i + 1.
    longer = keys[n + 1]
    _, where = np.unique(longer, return_index=True)
    row, column = np.unravel_index(where, longer.shape)
    ends = keys[n][row, column + 1]
    return np.bincount(np.searchsorted(grams[n], ends), minlength=len(grams[n])).astype(float)
