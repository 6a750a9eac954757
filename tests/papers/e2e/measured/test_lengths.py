"""Lengths and directions of reconstructions, token by token."""

import pandas as pd
import pytest
import torch

from saebook.papers.e2e.comparison import ALIVE, CE
from saebook.papers.e2e.measured import lengths
from saebook.sae.base import Member
from saebook.sae.registry import build


@pytest.fixture
def sae():
    """Fires everywhere, so that a reconstruction is never zero."""
    made = build("normalised_relu", 32, 24, (Member(0, 1.0),))
    made.b_dec.data += 0.1
    return made


def plain_pass(subject, sae, rows):
    with torch.no_grad():
        _, cache = subject.bridge.run_with_cache(rows, names_filter=["blocks.1.hook_resid_pre"])
        x = cache["blocks.1.hook_resid_pre"]
        f = (x @ sae.W_enc[0] + sae.b_enc[0]).relu()
        return x, f @ torch.nn.functional.normalize(sae.W_dec[0], dim=1) + sae.b_dec[0]


def test_ratios_and_cosines_are_means_over_tokens_with_position_0_apart(small_subject, sae):
    rows = torch.randint(300, (5, 32), generator=torch.Generator().manual_seed(2))
    run = pd.DataFrame([{"method": "e2e", "seed": 0, "sparsity": 1.0, CE: 0.5, "l0": 3.0, ALIVE: 9}])
    site = small_subject.site("resid_pre", 1)
    (line,) = lengths.lengths_and_angles(run, [sae], small_subject, site, rows).to_dict("records")
    x, xhat = plain_pass(small_subject, sae, rows)
    ratio = xhat.norm(dim=2) / x.norm(dim=2)
    cosine = (x * xhat).sum(2) / x.norm(dim=2) / xhat.norm(dim=2)
    assert line[lengths.NORM_RATIO] == pytest.approx(ratio[:, 1:].mean().item(), rel=1e-4)
    assert line["norm_ratio_at_0"] == pytest.approx(ratio[:, 0].mean().item(), rel=1e-4)
    assert line[lengths.COSINE] == pytest.approx(cosine[:, 1:].mean().item(), abs=1e-5)
    assert line["cosine_at_0"] == pytest.approx(cosine[:, 0].mean().item(), abs=1e-5)
    assert line["l0"] == 3.0 and line["method"] == "e2e"


def test_reconstruction_that_is_the_activation_has_ratio_and_cosine_one_and_a_shuffled_one_has_not():
    x = torch.randn(4, 6, 16, generator=torch.Generator().manual_seed(0))
    same, half = lengths.compared(x, x), lengths.compared(x, -x / 2)
    assert torch.allclose(same["norm_ratio"], torch.ones(4, 6)) and torch.allclose(same["cosine"], torch.ones(4, 6))
    assert torch.allclose(half["norm_ratio"], torch.full((4, 6), 0.5)) and torch.allclose(
        half["cosine"], -torch.ones(4, 6)
    )
    assert same["cosine_by_chance"].abs().mean() < 0.5
    assert lengths.compared(x[:1], x[:1])["cosine_by_chance"].max() < 0.99


def test_single_tokens_come_from_positions_spread_over_the_row(small_subject, sae):
    rows = torch.randint(300, (5, 32), generator=torch.Generator().manual_seed(2))
    tokens = lengths.per_token(sae, small_subject, small_subject.site("resid_pre", 1), rows, 20)
    x, xhat = plain_pass(small_subject, sae, rows)
    assert len(tokens) == 20 and sorted(set(tokens.position)) == [0, 10, 20, 31]
    assert tokens.norm.to_numpy() == pytest.approx(x[:, [0, 10, 20, 31]].norm(dim=2).flatten().numpy(), rel=1e-4)
    assert tokens.norm_ratio.mean() == pytest.approx(
        (xhat.norm(dim=2) / x.norm(dim=2))[:, [0, 10, 20, 31]].mean().item(), rel=1e-4
    )
