"""Similarity within dictionaries, beside random ones of the same size."""

import math

import pandas as pd
import pytest
import torch

from saebook.papers.e2e.comparison import ALIVE, CE, alive_directions
from saebook.papers.e2e.measured import crowding
from saebook.sae.base import Member
from saebook.sae.registry import build


def test_similarity_of_known_dictionaries():
    axes = torch.eye(6)
    assert crowding.similarity(axes) == 0.0 and math.isnan(crowding.similarity(axes[:1]))
    assert crowding.similarity(torch.cat([axes, 3 * axes])) == pytest.approx(1.0)
    plain = torch.randn(20, 8, generator=torch.Generator().manual_seed(1))
    cosines = torch.nn.functional.cosine_similarity(plain[:, None], plain[None], dim=2) - 3 * torch.eye(20)
    assert crowding.similarity(plain) == pytest.approx(float(cosines.amax(1).mean()), abs=1e-6)


def test_more_random_directions_are_more_alike():
    few, many = crowding.at_random(torch.empty(20, 32), 0), crowding.at_random(torch.empty(400, 32), 0)
    assert 0.1 < few < many < 0.8


def test_only_elements_that_fire_are_compared_and_counted(small_subject):
    site = small_subject.site("resid_pre", 1)
    rows = torch.randint(300, (4, 32), generator=torch.Generator().manual_seed(2))
    saes = [build("normalised_relu", 32, 24, (Member(seed, 1.0),)) for seed in (0, 1)]
    saes[1].b_enc.data[0, 8:] = -1e6
    table = pd.DataFrame([{"method": "e2e", "seed": s, "sparsity": 1.0, CE: 0.5, "l0": 3.0, ALIVE: 24} for s in (0, 1)])
    made = crowding.similarities(table, saes, small_subject, site, rows)
    own = alive_directions(saes[1], small_subject, site, rows)
    assert made[ALIVE].tolist()[1] == len(own) <= 8 < made[ALIVE].tolist()[0]
    assert made.similarity[1] == pytest.approx(crowding.similarity(own))
    assert (made.similarity_beyond_random == made.similarity - made.similarity_at_random).all()
