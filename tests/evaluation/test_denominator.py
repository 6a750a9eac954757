"""The cost of zero ablation is the denominator that the metrics divide by, on a trained model or on none."""

import pytest
import torch

from saebook.evaluation import metrics
from saebook.evaluation.denominator import zero_ablation_cost
from saebook.sae.base import Member
from saebook.sae.registry import build


@pytest.mark.parametrize(("kind", "skip"), [("resid_post", 0), ("mlp_post", 2)])
def test_cost_is_that_of_the_metrics(small_subject, kind, skip):
    rows = torch.randint(0, 300, (40, 32), generator=torch.Generator().manual_seed(3))
    site = small_subject.site(kind, 1)
    stack = build("relu", site.d_in, 8, (Member(0, 1.0),))
    ((row,),) = metrics.measure([stack], small_subject, site, rows, skip)
    cost = zero_ablation_cost(small_subject, site, rows, skip)
    assert cost == pytest.approx(row["ce_zero"] - row["ce_clean"], abs=1e-6) and abs(cost) > 1e-3
