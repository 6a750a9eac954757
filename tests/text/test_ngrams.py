"""Kneser-Ney by arrays equals Kneser-Ney by dictionaries, and its probabilities are probabilities."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from saebook.text import ngrams

V = 7


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    table = rng.dirichlet(np.full(V, 0.4), (V, V))

    def row(length=12):
        tokens = list(rng.integers(0, V, 2))
        while len(tokens) < length:
            tokens.append(rng.choice(V, p=table[tokens[-2], tokens[-1]]))
        return tokens

    return np.array([row() for _ in range(40)], np.uint16), np.array([row() for _ in range(9)], np.uint16)


def dictionary_twin(train, order):
    """P(token | context) by counting in dictionaries, written from the formula."""
    occurrences = {n: Counter() for n in range(1, order + 1)}
    for row in train.tolist():
        for n in occurrences:
            for i in range(len(row) - n + 1):
                occurrences[n][tuple(row[i : i + n])] += 1
    counts = {order: dict(occurrences[order])}
    for n in range(1, order):
        before = defaultdict(set)
        for gram in occurrences[n + 1]:
            before[gram[1:]].add(gram[0])
        counts[n] = {gram: len(before[gram]) for gram in occurrences[n]}

    def discount(n):
        one = sum(c == 1 for c in counts[n].values())
        two = sum(c == 2 for c in counts[n].values())
        return one / (one + 2 * two) if one else 0.5

    def probability(token, context):
        p = 1 / V
        for n in range(1, min(order, len(context) + 1) + 1):
            inner = tuple(context[len(context) - n + 1 :])
            following = {g: c for g, c in counts[n].items() if g[:-1] == inner}
            total = sum(following.values())
            if total:
                d = discount(n)
                kinds = sum(c > 0 for c in following.values())
                p = (max(following.get((*inner, token), 0) - d, 0) + d * kinds * p) / total
        return p

    return probability


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_arrays_equal_dictionaries(rows, order):
    train, validation = rows
    probability = dictionary_twin(train, order)
    expected = [[probability(row[i], row[:i]) for i in range(1, len(row))] for row in validation.tolist()]
    assert np.allclose(ngrams._probabilities(train, validation, V, order), expected, rtol=1e-12)


@pytest.mark.parametrize("order", [2, 5])
def test_probabilities_sum_to_one(rows, order):
    train, validation = rows
    context = np.repeat(validation[:3, :6], V, 0)
    every = np.concatenate([context, np.tile(np.arange(V, dtype=np.uint16), 3)[:, None]], 1)
    last = ngrams._probabilities(train, every, V, order)[:, -1].reshape(3, V)
    assert np.allclose(last.sum(1), 1.0, rtol=1e-9)


def test_longer_contexts_help_where_the_text_has_them(rows):
    losses = ngrams.baselines(*rows, V)
    assert losses["fivegram"] < losses["bigram"] < losses["unigram"] < math.log(V) + 0.1
