"""Every metric reads the truth where the truth is known."""

import pytest
import torch

from saebook.evaluation import metrics
from saebook.sae.base import Member
from saebook.sae.registry import build


@pytest.fixture(scope="module")
def site(small_subject):
    return small_subject.site("resid_post", 1)


@pytest.fixture(scope="module")
def rows():
    return torch.randint(0, 300, (40, 32), generator=torch.Generator().manual_seed(3))


def identity(d: int, shrink: float = 1.0, offset: float = 0.0):
    """A ReLU SAE with latents for +e_i and -e_i: its reconstruction is `shrink` times its input, exactly d active."""
    stack = build("relu", d, 2 * d, (Member(0, 1.0),))
    with torch.no_grad():
        stack.W_enc[0] = torch.cat([torch.eye(d), -torch.eye(d)], 1) * shrink
        stack.W_dec[0] = torch.cat([torch.eye(d), -torch.eye(d)], 0)
        stack.b_enc.fill_(offset)
        stack.b_dec.zero_()
    return stack


def test_perfect_sae_recovers_everything(small_subject, site, rows):
    ((row,),) = metrics.measure([identity(32)], small_subject, site, rows, skip=1)
    assert row["l0"] == pytest.approx(32)
    assert row["normalised_mse"] == pytest.approx(0, abs=1e-10)
    assert row["loss_recovered"] == pytest.approx(1, abs=1e-6)
    assert row["loss_recovered_mean"] == pytest.approx(1, abs=1e-6)
    assert row["relative_reconstruction_bias"] == pytest.approx(1)
    assert row["alive"] == 1 and row["eval_tokens"] == 40 * 31


def test_known_shrinkage_is_read_back(small_subject, site, rows):
    ((row,),) = metrics.measure([identity(32, shrink=0.7)], small_subject, site, rows)
    assert row["relative_reconstruction_bias"] == pytest.approx(0.7, rel=1e-6)
    assert row["loss_recovered"] < 1 - 1e-3


def test_silent_sae_equals_zero_ablation(small_subject, site, rows):
    ((row,),) = metrics.measure([identity(32, offset=-1e6)], small_subject, site, rows, skip=1)
    assert row["l0"] == 0 and row["alive"] == 0
    assert row["loss_recovered"] == pytest.approx(0, abs=1e-9)
    assert row["ce"] == pytest.approx(row["ce_zero"], abs=1e-9)


def test_losses_equal_those_of_the_subject(small_subject, site, rows):
    ((row,),) = metrics.measure([identity(32)], small_subject, site, rows, skip=0)
    assert row["ce_clean"] == pytest.approx(small_subject.loss(rows).mean().item(), rel=1e-6)
    zero = small_subject.loss(rows, site, torch.zeros_like).mean().item()
    assert row["ce_zero"] == pytest.approx(zero, rel=1e-6)
    mean = small_subject.activations(rows, site).flatten(0, 1).mean(0)
    assert row["ce_mean"] == pytest.approx(
        small_subject.loss(rows, site, lambda x: mean.expand_as(x)).mean().item(), rel=1e-5
    )


def test_expectations_are_taken_before_ratios(small_subject, site, rows):
    """Seventy rows in passes of 32: a mean of per-pass ratios would differ from the ratio of means."""
    stack = build("relu", 32, 64, (Member(0, 1.0),))
    ((row,),) = metrics.measure([stack], small_subject, site, rows, skip=2)
    x = small_subject.activations(rows, site)[:, 2:].flatten(0, 1).double()
    xhat = stack.reconstruct(x.float())[0].double()
    gamma = xhat.square().sum() / (xhat * x).sum()
    error = (x - xhat).square().sum() / (x - x.mean(0)).square().sum()
    assert row["relative_reconstruction_bias"] == pytest.approx(gamma.item(), rel=1e-6)
    assert row["normalised_mse"] == pytest.approx(error.item(), rel=1e-6)
    # Eq. 10 is the argmin of E||xhat / g - x||^2.
    around = [((xhat / g) - x).square().sum().item() for g in (gamma * 0.99, gamma, gamma * 1.01)]
    assert around[1] < min(around[0], around[2])


def test_skipped_positions_keep_their_own_activations(small_subject, site, rows):
    """With all but the last two positions skipped, even a silent SAE can only hurt the last prediction."""
    ((row,),) = metrics.measure([identity(32, offset=-1e6)], small_subject, site, rows, skip=30)
    own = small_subject.activations(rows, site)
    collapsed = own.clone()
    collapsed[:, 30:] = 0
    expected = small_subject.intervene(rows, site).loss(collapsed)[:, 30:].mean().item()
    assert row["ce"] == pytest.approx(expected, rel=1e-6)
    assert row["eval_tokens"] == 80


def test_per_token_sae_is_measured_in_its_space_and_intervenes_as_an_activation(small_subject, site, rows):
    passing, silent = identity(32), identity(32, offset=-1e6)
    for stack in (passing, silent):
        stack.per_token = True
    plain = identity(32, shrink=0.7)
    ((whole,), (nothing,), (beside,)) = metrics.measure([passing, silent, plain], small_subject, site, rows, skip=1)
    assert whole["loss_recovered"] == pytest.approx(1, abs=1e-5) and whole["normalised_mse"] < 1e-9
    x = small_subject.activations(rows, site)[:, 1:].flatten(0, 1).double()
    z = (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-5)
    error = z.square().sum() / (z - z.mean(0)).square().sum()
    assert nothing["normalised_mse"] == pytest.approx(error.item(), rel=1e-5)
    # Nothing is said, but each token keeps its own mean: that is not zero ablation.
    flat = small_subject.loss(
        rows, site, lambda a: torch.cat([a[:, :1], a[:, 1:].mean(-1, keepdim=True).expand_as(a[:, 1:])], 1)
    )
    assert nothing["ce"] == pytest.approx(flat[:, 1:].mean().item(), rel=1e-5)
    # A stack beside them in the same call keeps its own space.
    assert beside["relative_reconstruction_bias"] == pytest.approx(0.7, rel=1e-6)
    alone = metrics.measure([identity(32, shrink=0.7)], small_subject, site, rows, skip=1)[0][0]
    assert beside["normalised_mse"] == pytest.approx(alone["normalised_mse"], rel=1e-9)
