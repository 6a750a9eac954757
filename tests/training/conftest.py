"""What tests of stored activations share."""

import numpy as np
import pytest


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache of this test's own, in single precision."""
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path))
    monkeypatch.setenv("SAEBOOK_ACTIVATIONS_GIB", "1")
    monkeypatch.setenv("SAEBOOK_PRECISION", "fp32")


@pytest.fixture(scope="module")
def rows():
    """Text of the small subject: 42 rows of 32 tokens."""
    return np.random.default_rng(0).integers(0, 300, (42, 32)).astype(np.uint16)
