"""Every metric reads what was planted, and a wrong metric does not."""

import pytest
import torch

from saebook.book import budgets
from saebook.papers.checks import planted


@pytest.fixture(scope="module")
def budget():
    return budgets.resolve("checks/planted", "smoke")


def test_every_metric_reads_what_was_planted(budget):
    table = planted.readings(budget)
    off = (table.read - table.truth).abs()
    assert set(table.seed) == set(budget.seeds)
    assert off[table.metric.isin(["L0", "alive", "largest cosine"])].max() < 1e-9
    assert off[table.metric == "relative reconstruction bias"].max() < 0.01
    assert 0 < off[table.metric == "normalised MSE"].max() < 0.02
    assert 0 < off[table.metric == "L0 ratio"].max() < 0.15


def test_variance_about_zero_is_detected(budget, monkeypatch):
    plain = planted.metrics.normalised_mse
    monkeypatch.setattr(planted.metrics, "normalised_mse", lambda error2, variance: plain(error2, 2 * variance))
    table = planted.readings(budget)
    assert (table.read - table.truth).abs()[table.metric == "normalised MSE"].max() > 0.05


def test_averaged_ratios_differ_from_ratios_of_sums(budget):
    ratios = planted.averaged_ratios(budget)
    assert ratios["sums"] == pytest.approx(ratios["truth"]) and abs(ratios["averaged"] - ratios["truth"]) > 0.05


def test_known_saes_are_read_through_a_model(small_subject):
    rows = torch.randint(0, 300, (4, 32), generator=torch.Generator().manual_seed(0))
    through = planted.through_the_subject(small_subject, small_subject.site("resid_post", 1), rows)
    assert (through.truth - through.read).abs().max() < 1e-3 and len(through) == 11
