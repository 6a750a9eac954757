"""Groups of elements by their likeness to local ones, on planted dictionaries."""

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.papers.e2e import comparison
from saebook.papers.e2e.measured import modes


@pytest.fixture(scope="module")
def directions():
    """Local dictionaries of two seeds in 64 dimensions; e2e is half of the other seed's local one, half random; ds is random."""
    generator = torch.Generator().manual_seed(0)

    def drawn(n):
        return torch.nn.functional.normalize(torch.randn(n, 64, generator=generator), dim=1)

    shared = drawn(200)
    near = torch.nn.functional.normalize(shared[:100] + 0.4 * drawn(100), dim=1)
    made = {}
    for seed in (0, 1):
        made["local", seed] = shared
        made["e2e", seed] = torch.cat([near, drawn(100)])
        made["e2e+ds", seed] = drawn(200)
    return made


def test_two_groups_are_seen_where_they_are_and_not_in_random_directions(directions):
    cosines, at_random = comparison.cosines(directions), comparison.random_cosines(directions)
    verdicts = modes.tested(cosines, "local").set_index(["method", "seed"])
    assert verdicts.loc["e2e"].rejected.all() and (verdicts.loc["e2e"].over_critical > 1).all()
    assert not verdicts.loc["e2e+ds"].rejected.any() and (verdicts.loc["e2e+ds"].over_critical < 1).all()
    assert not modes.tested(at_random, "local").rejected.any() and set(verdicts.elements) == {200}


def test_share_without_a_local_counterpart_is_the_planted_one(directions):
    cosines, at_random = comparison.cosines(directions), comparison.random_cosines(directions)
    unlike = modes.unlike_any(cosines, at_random, "local").groupby("method")["unlike"].mean()
    assert unlike["e2e"] == pytest.approx(0.475, abs=0.05) and unlike["local"] == 0
    assert unlike["e2e+ds"] == pytest.approx(0.95, abs=0.05)


def test_planted_groups_have_the_share_and_the_angle_that_were_asked_for(directions):
    made = modes.planted(directions, 0.4, angle=0.3, seed=1)
    assert isinstance(made, pd.DataFrame) and (made.groupby("seed").size() == 200).all()
    near = made.local > 0.8
    assert near.mean() == pytest.approx(0.4, abs=0.01)
    assert np.arccos(made.local[near]).mean() == pytest.approx(0.3, abs=0.05)
    assert modes.tested(made, "local").rejected.all()
    assert not modes.tested(modes.planted(directions, 0.0, seed=1), "local").rejected.any()
