"""Scores of explanations: equal to counts over all tokens together, and at chance where the latents are others."""

import numpy as np
import pytest
import torch

from saebook.common.errors import UserError
from saebook.evaluation.explanations import explaining, scoring
from saebook.evaluation.explanations.pruning import Pattern, Settings
from saebook.evaluation.explanations.tries import Explanations
from saebook.sae.base import Member
from saebook.sae.registry import build


@pytest.fixture(scope="module")
def given(small_subject):
    site = small_subject.site("resid_post", 1)
    rows = torch.randint(1, 300, (40, 32), generator=torch.Generator().manual_seed(0))
    sae = build("topk", 32, 24, (Member(0, 3.0),), per_token=True)
    explanations = explaining.explain(small_subject, site, sae, range(24), rows[:20], Settings(6, 6, 3))
    return explanations, small_subject, site, sae, rows[20:]


@pytest.mark.parametrize(("above", "shift"), [(0.0, 0), (0.3, 0), (0.2, 5)])
def test_equals_counts_over_all_tokens_together(given, above, shift):
    explanations, subject, site, sae, rows = given
    table = scoring.score(*given, above=above, shift=shift)
    a = (
        sae.encode(sae.prepare(explaining.read(subject, site, rows)[:, 1:].flatten(0, 1))[0])[0]
        .detach()
        .roll(-shift, 1)
        .numpy()
    )
    s, least = explanations.predict(rows)[:, 1:].flatten(0, 1).numpy(), above * np.array(explanations.largest)
    fires, foretold = a > np.roll(least, -shift), s > least
    assert foretold.any() and fires.any()
    with np.errstate(invalid="ignore"):
        assert table.precision.to_numpy() == pytest.approx((fires & foretold).sum(0) / foretold.sum(0), nan_ok=True)
        assert table.recall.to_numpy() == pytest.approx((fires & foretold).sum(0) / fires.sum(0), nan_ok=True)
    assert table.density.to_numpy() == pytest.approx(fires.mean(0))
    harmonic = 2 * table.precision * table.recall / (table.precision + table.recall)
    right = table.both > 0
    assert table.f1[right].to_numpy() == pytest.approx(harmonic[right].to_numpy())


def test_scale_is_the_one_that_leaves_least(given):
    explanations, subject, site, sae, rows = given
    table = scoring.score(*given)
    a = sae.encode(sae.prepare(explaining.read(subject, site, rows)[:, 1:].flatten(0, 1))[0])[0].detach().double()
    s = explanations.predict(rows)[:, 1:].flatten(0, 1).double()
    latent = int(table.both.argmax())
    best = np.linalg.lstsq(s[:, [latent]].numpy(), a[:, latent].numpy(), rcond=None)[0][0]
    assert table.scale[latent] == pytest.approx(best, rel=1e-5)
    left = (a[:, latent] - best * s[:, latent]).square().sum() / a[:, latent].square().sum()
    assert table.explained[latent] == pytest.approx(1 - float(left), rel=1e-5)


def test_latent_that_nothing_predicts_has_no_precision(given):
    _, subject, site, sae, rows = given
    nothing = Explanations.of([0, 1], [(0, Pattern((0,), 1.0))], [1.0, 1.0], 300)
    table = scoring.score(nothing, subject, site, sae, rows)
    assert table.precision.isna().all() and (table[["scale", "explained"]] == 0).all(axis=None)
    assert (table.recall.fillna(0) == 0).all()


def test_share_out_of_bounds_is_refused(given):
    with pytest.raises(UserError, match="a share from 0"):
        scoring.score(*given, above=1.0)
