"""The authors' way to a step and ours have one loss and one gradient; times are compared round by round."""

import pandas as pd
import pytest
import torch

from saebook.common.errors import UserError
from saebook.papers.e2e import reference_path
from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.training.config import Method, Objective, TrainConfig

OBJECTIVES = {
    "local": Objective(reconstruction=1.0),
    "e2e": Objective(kl=1.0),
    "e2e+ds": Objective(kl=0.5, downstream=2.5),
    "e2e+ds, massive": Objective(kl=0.5, downstream=2.5, massive=1.1),
}


@pytest.fixture
def tokens():
    return torch.randint(300, (4, 32), generator=torch.Generator().manual_seed(3))


def an_sae(sparsity=2.0):
    sae = build("normalised_relu", 32, 48, (Member(0, sparsity),))
    with torch.no_grad():
        sae.b_enc.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
    return sae


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_both_paths_have_the_same_loss_and_gradients(small_subject, tokens, objective):
    site = small_subject.site("resid_pre", 1)
    assert reference_path.difference(an_sae(), small_subject, tokens, site, objective) < 2e-4


def test_another_objective_has_another_gradient(small_subject, tokens, monkeypatch):
    site, sae = small_subject.site("resid_pre", 1), an_sae()
    right = reference_path.gradients
    monkeypatch.setattr(reference_path, "gradients", lambda *args: right(*args[:-1], Objective(kl=0.9)))
    assert reference_path.difference(sae, small_subject, tokens, site, Objective(kl=1.0)) > 0.01


def test_downstream_term_needs_a_later_layer(small_subject, tokens):
    site = small_subject.site("resid_pre", 2)
    with pytest.raises(UserError, match="choose an earlier layer"):
        reference_path.loss(an_sae(), small_subject, tokens, site, OBJECTIVES["e2e+ds"])


def test_every_path_and_objective_is_timed_in_every_round(small_subject, tokens):
    site, training = small_subject.site("resid_pre", 1), TrainConfig(lr=1e-3, tokens=4096, batch=128, clip_norm=10.0)
    names = ("local", "e2e", "e2e+ds")
    methods = {n: Method("normalised_relu", 48, (2.0,), training, objective=OBJECTIVES[n]) for n in names}
    saes = {name: an_sae() for name in names}
    before = {name: sae.W_enc.clone() for name, sae in saes.items()}
    table = reference_path.timed(saes, methods, small_subject, site, [tokens], 3)
    assert len(table) == 2 * 4 * 3 and (table.seconds > 0).all() and set(table["round"]) == {1, 2, 3}
    assert all(torch.equal(before[name], sae.W_enc) for name, sae in saes.items())  # copies are trained


def test_ratios_pair_the_rounds():
    rows = [
        {"path": path, "method": method, "round": number, "seconds": factor * number}
        for path, shift in ((reference_path.HERE, 1.0), (reference_path.THEIRS, 2.0))
        for method, factor in (("local", 1.0), ("e2e", 3.0 * shift))
        for number in (1, 2, 3)
    ]
    assert reference_path.ratios(pd.DataFrame(rows), reference_path.THEIRS, "e2e") == pytest.approx([6.0] * 3)
