"""Gradient norms of trained SAEs, and their slopes against the number of elements alive."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from saebook.common.errors import UserError
from saebook.papers.e2e.comparison import ALIVE, CE
from saebook.papers.e2e.measured import gradient_norms, picking
from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.training.config import Method, TrainConfig
from saebook.training.objectives import Objective

TRAINING = TrainConfig(lr=0.01, tokens=64, batch=64)
METHODS = [
    Method("normalised_relu", 24, (1.0,), TRAINING, name="local", objective=Objective(reconstruction=1.0)),
    Method("normalised_relu", 24, (1.0,), TRAINING, name="e2e", objective=Objective(kl=1.0)),
]


def plain_norm(subject, sae, rows, objective):
    """By autograd, with all logits written down."""
    parameters = {name: p.detach().clone().requires_grad_() for name, p in sae.named_parameters()}

    def reconstruct(x):
        f = (x @ parameters["W_enc"][0] + parameters["b_enc"][0]).relu()
        return f, f @ F.normalize(parameters["W_dec"][0], dim=-1) + parameters["b_dec"][0]

    name, kept = "blocks.1.hook_resid_pre", {}

    def write(value, hook):
        kept["x"] = value.detach().clone()
        kept["f"], new = reconstruct(kept["x"])
        kept["error"] = (new - kept["x"]).square().mean()
        return new

    with torch.no_grad():
        clean = subject.bridge(rows, return_type="logits").log_softmax(-1)
    with subject.bridge.hooks(fwd_hooks=[(name, write)]):
        logits = subject.bridge(rows, return_type="logits").log_softmax(-1)
    kl = F.kl_div(logits.flatten(0, 1), clean.flatten(0, 1), log_target=True, reduction="batchmean")
    loss = (kept["error"] if objective == "local" else kl) + kept["f"].sum(-1).mean() / 32
    grads = torch.autograd.grad(loss, list(parameters.values()))
    return float(torch.stack([g.norm() for g in grads]).norm())


def test_norm_is_that_of_autograd_over_whole_batches(small_subject):
    site, rows = (
        small_subject.site("resid_pre", 1),
        torch.randint(300, (5, 32), generator=torch.Generator().manual_seed(2)),
    )
    saes = [build("normalised_relu", 32, 24, (Member(seed, 1.0),)) for seed in (0, 1)]
    for sae in saes:
        sae.W_dec.data = F.normalize(sae.W_dec.data, dim=-1)
    table = pd.DataFrame(
        [{"method": m, "seed": 0, "sparsity": 1.0, CE: 0.5, "l0": 3.0, ALIVE: 20} for m in ("local", "e2e")]
    )
    made = gradient_norms.gradient_norms(table, saes, METHODS, small_subject, site, rows, 64)
    for i, method in enumerate(("local", "e2e")):
        first, second = (plain_norm(small_subject, saes[i], rows[at : at + 2], method) for at in (0, 2))
        assert made.gradient_norm[i] == pytest.approx(first, rel=2e-3)
        assert made.gradient_norm_elsewhere[i] == pytest.approx(second, rel=2e-3)
    assert made.log_alive.tolist() == pytest.approx([np.log(20)] * 2)
    none = gradient_norms.gradient_norms(table.assign(**{ALIVE: [20, 0]}), saes, METHODS, small_subject, site, rows, 64)
    assert none.method.tolist() == ["local"]
    with pytest.raises(UserError, match="eval_rows"):
        gradient_norms.gradient_norms(table, saes, METHODS, small_subject, site, rows[:3], 64)


def planted(by_l0: float, by_gradient: float) -> pd.DataFrame:
    """Elements alive that depend on L0 and on gradients, which depend on L0 in part."""
    generator = np.random.default_rng(0)
    rows = []
    for seed in range(3):
        for method, level in (("local", 0.0), ("e2e", 2.0)):
            for l0 in (10.0, 20.0, 40.0, 80.0):
                log_g = level - 0.5 * np.log(l0) + generator.normal(0, 0.3)
                log_alive = 5 + level + by_l0 * np.log(l0) + by_gradient * log_g
                rows.append(
                    {"method": method, "seed": seed, "l0": l0, "gradient_norm": np.exp(log_g), "log_alive": log_alive}
                )
    return pd.DataFrame(rows)


def test_slope_at_equal_l0_leaves_out_what_l0_explains():
    names = gradient_norms.LOG_ALIVE, gradient_norms.GRADIENT
    both = planted(0.4, -0.3)
    assert gradient_norms.slopes_at_equal(both, *names) == pytest.approx([-0.3] * 3)
    only_l0 = planted(0.4, 0.0)
    assert np.mean(picking.slopes_within(only_l0, *names)) < -0.2
    assert gradient_norms.slopes_at_equal(only_l0, *names) == pytest.approx([0.0] * 3, abs=1e-9)
    assert np.isnan(gradient_norms.slopes_at_equal(both[both.l0 < 30], *names)).all()


def test_exchanged_runs_have_no_slope():
    runs = planted(0.0, -0.5)
    slopes = gradient_norms.exchanged(runs, gradient_norms.LOG_ALIVE, gradient_norms.GRADIENT, draws=99)
    own = np.mean(picking.slopes_within(runs, gradient_norms.LOG_ALIVE, gradient_norms.GRADIENT))
    assert own == pytest.approx(-0.5) and len(slopes) == 99
    assert abs(slopes.mean()) < 0.1 and (slopes <= own + 1e-9).mean() < 0.05
