"""Recorded results of this book, and sweeps that are made up."""

import itertools

import pandas as pd
import pytest

from saebook.book.site.figures import chosen
from saebook.claims import results


@pytest.fixture
def recorded():
    """The recorded result of a chapter at the cpu tier."""
    return lambda name: chosen.Chosen(name, "cpu", "recorded", results.read(name, "cpu"))


@pytest.fixture
def sweep():
    """Gated and ReLU SAEs whose L0 differs by exactly one half at equal loss recovered, for three seeds."""
    rows = [
        {
            "method": method, "seed": seed, "sparsity": 8.0 / l0, "l0": l0 * factor * (1 + 0.01 * seed), "loss_recovered": quality,
            "alive": 0.9, "key": f"{method}{seed}{l0}", "d_sae": 64,
        }
        for (method, factor), seed, (l0, quality) in itertools.product(
            (("gated", 0.5), ("relu", 1.0)), range(3), ((4, 0.7), (16, 0.9), (64, 0.98))
        )
    ]  # fmt: skip
    return pd.DataFrame(rows)
