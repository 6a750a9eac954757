"""Gradient routes: the library's are the paper's, every planted fault is seen, and only where it was planted."""

from types import SimpleNamespace

import pytest
import torch

from saebook.common.errors import UserError
from saebook.papers.gated.drawing import toys
from saebook.papers.gated.toys import gradient_routes
from saebook.sae.gated import Gated

BUDGET = SimpleNamespace(seeds=[0, 1], d_in=6, d_sae=12, batch=24)


def cells(fault: str) -> set[tuple[str, str]]:
    found = gradient_routes.routes("gated", *gradient_routes.trial("gated", BUDGET, 0, fault))
    return {(row.term, row.parameter) for row in found[~found.right].itertuples()}


@pytest.mark.parametrize("kind", ["gated", "relu"])
def test_the_librarys_routes_are_the_papers(kind):
    assert gradient_routes.wrong_routes(kind, BUDGET) == [0.0, 0.0]
    assert max(gradient_routes.hand_written(kind, BUDGET)) < 1e-12


def test_what_the_pseudo_code_says_stands_in_the_table():
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
def test_a_fault_shows_where_it_was_planted_and_nowhere_else(fault, wrong):
    assert cells(fault) == wrong


def test_every_fault_leaves_the_forward_values_alone_but_for_the_penalty():
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


def test_a_gradient_that_is_off_in_size_is_seen(monkeypatch):
    plain = Gated.loss

    def twice(self, x, dead=None):
        found = plain(self, x, dead)
        found.terms["auxiliary"] = 1.001 * found.terms["auxiliary"]
        return found

    monkeypatch.setattr(Gated, "loss", twice)
    found = gradient_routes.routes("gated", *gradient_routes.trial("gated", BUDGET, 0))
    assert set(found[~found.right].term) == {"auxiliary"} and "something else" in set(found.found)


def test_two_parameters_more_per_latent():
    assert gradient_routes.parameters_per_latent(BUDGET) == [2.0, 2.0, 2.0]


def test_an_unknown_fault_is_one_line():
    with pytest.raises(UserError, match="no fault is called 'other'"):
        gradient_routes.trial("gated", BUDGET, 0, "other")


def test_the_figure_colours_what_is_wrong():
    sound = gradient_routes.routes("gated", *gradient_routes.trial("gated", BUDGET, 0))
    collapsed = gradient_routes.routes("gated", *gradient_routes.trial("gated", BUDGET, 0, "decoder not frozen"))
    left, right = toys.routes({"a": sound, "b": collapsed}).axes
    assert (left.images[0].get_array() == 2).sum() == 0 and (right.images[0].get_array() == 2).sum() == 2
    assert (left.images[0].get_array() == 1).sum() == (sound.found != "-").sum()
