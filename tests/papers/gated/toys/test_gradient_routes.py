"""The paper's routes of gradients, and planted faults."""

import pytest
import torch

from saebook.common.errors import UserError
from saebook.papers.gated.budgets import GradientRoutes
from saebook.papers.gated.toys import gradient_routes
from saebook.sae.gated import Gated

BUDGET = GradientRoutes(tier="smoke", seeds=(0, 1), d_in=6, d_sae=12, batch=24, fault="nothing")


def cells(fault: str) -> set[tuple[str, str]]:
    table = gradient_routes.routes("gated", *gradient_routes.trial("gated", BUDGET, 0, fault))
    return {(row.term, row.parameter) for row in table[~table.right].itertuples()}


@pytest.mark.parametrize("kind", ["gated", "relu"])
def test_routes_are_those_of_the_paper(kind):
    assert gradient_routes.wrong_routes(kind, BUDGET) == [0.0, 0.0]
    assert max(gradient_routes.hand_written(kind, BUDGET)) < 1e-12


def test_table_agrees_with_the_pseudo_code():
    table = gradient_routes.table(gradient_routes.routes("gated", *gradient_routes.trial("gated", BUDGET, 0)))
    assert table.loc["W_dec"].tolist() == ["W_dec", "-", "-"]
    assert table.loc["b_gate"].tolist() == ["-", "b_gate", "b_gate"]
    assert table.loc["b_mag"].tolist() == ["b_mag", "-", "-"] and table.loc["r_mag"].tolist() == ["r_mag", "-", "-"]
    assert table.loc["W_enc"].tolist() == ["W_enc magnitude", "W_enc gate", "W_enc gate"]
    assert table.loc["b_dec"].tolist() == ["b_dec in + b_dec out", "b_dec in", "b_dec in"]


@pytest.mark.parametrize(
    ("fault", "wrong"),
    [
        ("nothing", set()),
        ("decoder not frozen", {("auxiliary", "W_dec"), ("auxiliary", "b_dec")}),
        ("only its bias not frozen", {("auxiliary", "b_dec")}),
        ("centring without gradient", {("sparsity", "b_dec"), ("auxiliary", "b_dec")}),
        (
            "penalty on the output",
            {("sparsity", name) for name in ("W_enc", "b_gate", "r_mag", "b_mag", "b_dec")},
        ),
    ],
)
def test_fault_shows_only_where_it_was_planted(fault, wrong):
    assert cells(fault) == wrong


def test_faults_change_no_forward_value_except_the_penalty():
    """Why no loss curve shows them."""
    sound, x = gradient_routes.trial("gated", BUDGET, 0)
    for fault in gradient_routes.FAULTS:
        collapsed, same = gradient_routes.trial("gated", BUDGET, 0, fault)
        assert torch.equal(x, same)
        different = {
            name
            for name, value in collapsed.loss(x).terms.items()
            if not torch.allclose(value, sound.loss(x).terms[name])
        }
        assert different == ({"sparsity"} if fault == "penalty on the output" else set()), fault


def test_gradient_of_the_wrong_size_is_detected(monkeypatch):
    plain = Gated.loss

    def twice(self, x, dead=None):
        gradients = plain(self, x, dead)
        gradients.terms["auxiliary"] = 1.001 * gradients.terms["auxiliary"]
        return gradients

    monkeypatch.setattr(Gated, "loss", twice)
    table = gradient_routes.routes("gated", *gradient_routes.trial("gated", BUDGET, 0))
    assert set(table[~table.right].term) == {"auxiliary"} and "something else" in set(table.found)


def test_gated_has_two_more_parameters_per_latent():
    assert gradient_routes.parameters_per_latent(BUDGET) == [2.0, 2.0, 2.0]


def test_unknown_fault_is_refused_in_one_line():
    with pytest.raises(UserError, match="no fault is called 'other'"):
        gradient_routes.trial("gated", BUDGET, 0, "other")
