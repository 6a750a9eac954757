"""The tied Gated encoder as a JumpReLU."""

import pandas as pd
import pytest
import torch

from saebook.papers.gated import jumprelu_form
from saebook.sae.base import Member
from saebook.sae.gated import Gated
from saebook.sae.registry import build
from saebook.training.store import Store


@pytest.fixture
def stored(small_subject, tmp_path):
    """A Gated SAE with biases and rescales of both signs, stored, a baseline beside it, and the table that names them."""
    store, site = Store(tmp_path), small_subject.site("resid_post", 1)
    generator = torch.Generator().manual_seed(0)
    lines = []
    for kind in ("gated", "relu"):
        sae = build(kind, site.d_in, 64, (Member(0, 1.0),))
        for name in sae.per_latent:
            getattr(sae, name).data += 0.3 * torch.randn(1, 64, generator=generator)
        store.save_sae(kind, sae)
        lines.append({"method": kind, "seed": 0, "sparsity": 1.0, "l0": 9.0, "key": kind})
    rows = torch.randint(300, (20, 32), generator=generator)
    return pd.DataFrame(lines), site, rows, store


def test_no_activation_differs_except_with_a_wrong_threshold(small_subject, stored):
    table, site, rows, store = stored
    counts = jumprelu_form.compared(table, small_subject, site, rows, 1, store).set_index(["threshold", "dtype"])
    assert (counts.activations == 20 * 31 * 64).all() and len(counts) == 6
    exact = counts.loc[jumprelu_form.STATED, "float64"]
    assert exact.different == 0 and exact.largest_difference < 1e-12 and exact.nearest == 0.0
    single = counts.loc[jumprelu_form.STATED, "float32"]
    assert single.different <= 1 and single.nearest < 1e-6
    for wrong in (jumprelu_form.FLIPPED, jumprelu_form.UNSCALED):
        line = counts.loc[wrong, "float64"]
        assert line.different > 100 and line.largest_difference > 0.01 and line.nearest > 0.01


def test_fault_in_the_threshold_is_counted(small_subject, stored, monkeypatch):
    table, site, rows, store = stored
    stated = Gated.threshold
    monkeypatch.setattr(Gated, "threshold", lambda self: stated(self) + 1e-2)
    counts = jumprelu_form.compared(table, small_subject, site, rows, 1, store)
    line = counts[(counts.threshold == jumprelu_form.STATED) & (counts.dtype == "float64")].iloc[0]
    assert line.different > 0 and 0 < line.nearest < 1e-2


def test_jumprelu_is_zero_up_to_and_at_its_threshold():
    z = torch.tensor([[-1.0, 0.5, 1.0, 1.5], [-0.5, 0.5, 1.0, 2.0]])
    assert jumprelu_form.jumprelu(z, torch.tensor([1.0] * 4)).tolist() == [[0, 0, 0, 1.5], [0, 0, 0, 2.0]]
    assert torch.equal(jumprelu_form.jumprelu(z, torch.tensor([-2.0] * 4)), z.relu())


def test_latents_are_picked_by_their_threshold(small_subject, stored):
    table, site, rows, store = stored
    points = jumprelu_form.shapes(table.iloc[0], small_subject, site, rows, 1, (0.1, 0.5, 0.9), 5, store)
    chosen = points.groupby("quantile").first()
    assert chosen.theta.is_monotonic_increasing and chosen.latent.nunique() == 3 and len(points) == 3 * 20 * 31
    theta = torch.tensor(points.theta.to_numpy(), dtype=torch.float64)
    z = torch.tensor(points.z.to_numpy()).double()
    assert torch.allclose(
        jumprelu_form.jumprelu(z, theta), torch.tensor(points.activation.to_numpy()).double(), atol=1e-5
    )
    assert points.groupby("latent").activation.agg(lambda a: (a > 0).sum()).min() >= 5
    # Where no latent fires that often, all may be drawn.
    assert len(jumprelu_form.shapes(table.iloc[0], small_subject, site, rows, 1, (0.5,), 10**6, store)) == 20 * 31


def test_shares_and_ranges():
    sae = build("gated", 4, 8, (Member(0, 1.0),))
    sae.b_gate.data[0, :6] = -1.0

    class Kept:
        def load_sae(self, key):
            return sae

    table = pd.DataFrame([{"method": "gated", "key": "a"}, {"method": "relu", "key": "b"}])
    assert jumprelu_form.positive_thresholds(table, Kept()) == [0.75]
    interval = jumprelu_form.over_all([0.0, 2e-6, 1e-6])
    assert (interval.low, interval.high, interval.n) == (0.0, 2e-6, 3) and interval.mean == pytest.approx(1e-6)
