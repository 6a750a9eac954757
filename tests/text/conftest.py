"""A cache of its own for every test, and a folder of made-up texts."""

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def words():
    """A function from a seed to sixty made-up words."""

    def drawn(seed):
        rng = np.random.default_rng(seed)
        return " ".join("".join(rng.choice(list("aeioustrn"), 5)) for _ in range(60))

    return drawn


@pytest.fixture
def folder(tmp_path, words):
    home = tmp_path / "texts"
    home.mkdir()
    for number in range(160):
        (home / f"{number}.txt").write_text(words(number))
    return home
