"""JumpReLU against its equations, written out. `test_base` asks of it what it asks of every architecture."""

import math

import pytest
import torch
from torch.nn import functional as F

from saebook.common.errors import UserError
from saebook.formats import saelens
from saebook.sae.base import Member
from saebook.sae.jump_relu import JumpReLU
from saebook.sae.relu import ReLU
from saebook.training.config import TrainConfig
from saebook.training.loop import TrainState

D, M, B = 12, 40, 64
LAMBDAS = (0.05, 0.4)
EPSILON = 0.3


def made(dtype=torch.float64, **options):
    members = tuple(Member(seed, weight) for seed, weight in enumerate(LAMBDAS))
    stack = JumpReLU(D, M, members, dtype=dtype, **{"bandwidth": EPSILON, "initial_threshold": 0.4} | options)
    generator = torch.Generator().manual_seed(9)
    for parameter in stack.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
    stack.constrain_weights()
    return stack


def data(dtype=torch.float64, n=B, seed=5):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype) + 0.5


def test_gradients_are_those_of_the_equations():
    """The weights' gradients by autograd with the gates held fixed; the thresholds' by Eq. 11 and 12, one number at a time."""
    stack, x = made(), data()
    losses = stack.step_gradients(x)
    for i, weight in enumerate(LAMBDAS):
        theta = stack.log_threshold[i].exp().detach()
        z = (x @ stack.W_enc[i] + stack.b_enc[i]).relu()
        distance = (z - theta).detach()
        gate = (z > theta).double().detach()
        error = (z * gate) @ stack.W_dec[i] + stack.b_dec[i] - x
        reconstruction = error.square().sum(1).mean()
        assert losses.terms["reconstruction"][i].item() == pytest.approx(reconstruction.item(), rel=1e-12)
        assert losses.terms["sparsity"][i].item() == pytest.approx(weight * gate.sum().item() / B, rel=1e-12)
        names = ("W_enc", "W_dec", "b_enc", "b_dec")
        for name, g in zip(names, torch.autograd.grad(reconstruction, [getattr(stack, n) for n in names]), strict=True):
            assert torch.allclose(getattr(stack, name).grad[i], g[i], rtol=1e-9, atol=1e-12), name
        d_f, expected, inside = 2 / B * error.detach() @ stack.W_dec[i].T.detach(), torch.zeros(M).double(), 0
        for b in range(B):
            for j in range(M):
                if abs(distance[b, j]) < EPSILON / 2:
                    inside += 1
                    expected[j] += -theta[j] / EPSILON * d_f[b, j] - weight / B / EPSILON
        assert inside > 20
        assert torch.allclose(stack.log_threshold.grad[i], expected * theta, rtol=1e-9, atol=1e-12)


def test_pseudo_derivative_estimates_how_the_expected_penalty_changes():
    """Section 4: the mean of Eq. 12 is the slope of the expected L0 in theta, which finite differences give as well."""
    stack, x = made(bandwidth=0.2), data(n=200_000)
    one = stack.member(0)
    one.loss(x).terms["sparsity"].sum().backward()
    estimated = one.log_threshold.grad[0, :8]
    step, slopes = 0.1, []
    for sign in (1, -1):
        moved = one.member(0)
        moved.log_threshold.data = (one.threshold() + sign * step).log()
        slopes.append((moved.encode(x) > 0).double().mean(1)[0, :8])
    expected = LAMBDAS[0] * (slopes[0] - slopes[1]) / (2 * step) * one.threshold()[0, :8]
    assert expected.max() < 0 and torch.allclose(estimated, expected, rtol=1e-6)


def test_with_thresholds_of_zero_it_is_relu():
    stack, x = made(), data()
    stack.log_threshold.data.fill_(-math.inf)
    relu = ReLU(D, M, stack.members, dtype=torch.float64)
    for name in ("W_enc", "W_dec", "b_dec"):
        getattr(relu, name).data.copy_(getattr(stack, name))
    # ReLU subtracts b_dec before it encodes, JumpReLU does not.
    relu.b_enc.data.copy_(stack.b_enc + torch.bmm(stack.b_dec[:, None], stack.W_enc)[:, 0])
    assert torch.allclose(stack.encode(x), relu.encode(x), rtol=1e-9, atol=1e-12)
    assert torch.allclose(stack.reconstruct(x), relu.reconstruct(x), rtol=1e-9)
    stack.log_threshold.data.fill_(math.log(0.4))
    assert not torch.allclose(stack.encode(x), relu.encode(x))


def test_no_latent_lies_below_its_threshold():
    stack, x = made(), data()
    f = stack.encode(x)
    assert (torch.where(f > 0, f, torch.inf) > stack.threshold()[:, None]).all()
    assert ((f > 0) & (f < 0.6)).any()  # a jump, and not a shift: what passes is not reduced


def test_starts_as_an_architecture_that_subtracts_b_dec():
    members, x = (Member(1, 0.1), Member(2, 0.1)), data()
    stack = JumpReLU(D, M, members, dtype=torch.float64, initial_threshold=1e-9)
    relu = ReLU(D, M, members, dtype=torch.float64)
    stack.init_bias(x)
    relu.init_bias(x)
    assert torch.allclose(stack.encode(x), relu.encode(x), rtol=1e-9, atol=1e-8)


def test_resampled_latents_begin_anew():
    stack, x = made(), data()
    others = [m for m in range(M) if m not in (3, 8)]
    before = stack.log_threshold.clone()
    stack.resample(1, torch.tensor([3, 8]), x[:2])
    assert torch.allclose(stack.W_dec[1, [3, 8]], F.normalize(x[:2] - stack.b_dec[1], dim=1))
    assert torch.allclose(stack.threshold()[1, [3, 8]], torch.tensor(0.4).double(), rtol=1e-6)
    pre = (stack.b_dec[1] @ stack.W_enc[1] + stack.b_enc[1])[[3, 8]]
    assert torch.allclose(pre, torch.zeros(2).double(), atol=1e-12)  # zero at b_dec, as with centred inputs
    assert torch.equal(stack.log_threshold[1, others], before[1, others])
    assert torch.equal(stack.log_threshold[0], before[0])


def test_files_and_folding_keep_function_and_training():
    stack, x = made(torch.float32), data(torch.float32)
    before = stack.encode(2 * x) / 2
    losses = stack.step_gradients(2 * x)
    gradient = stack.log_threshold.grad.clone()
    stack.fold_scale(2.0)
    assert torch.allclose(stack.encode(x), before, rtol=1e-5) and stack.bandwidth == EPSILON / 2
    cfg, tensors = saelens.to_saelens(stack, 1)
    assert cfg["architecture"] == "jumprelu" and not cfg["apply_b_dec_to_input"]
    again = saelens.from_saelens(cfg, tensors)
    assert again.options() == stack.options()
    assert torch.equal(again.encode(x)[0], stack.member(1).encode(x)[0])
    # In the new unit the penalty alone is what it was: it counts, and counts have no unit.
    folded = stack.step_gradients(x)
    assert torch.allclose(folded.terms["sparsity"], losses.terms["sparsity"], rtol=1e-5)
    assert torch.allclose(folded.terms["reconstruction"], losses.terms["reconstruction"] / 4, rtol=1e-4)
    assert gradient.abs().sum() > 0


def test_a_file_of_another_project_with_shifts_is_read():
    """Gemma Scope's convention in SAELens: jumprelu, b_dec not subtracted from the input, any b_enc, thresholds from zero."""
    generator = torch.Generator().manual_seed(3)
    tensors = {
        "W_enc": torch.randn(D, M, generator=generator), "b_enc": torch.randn(M, generator=generator),
        "W_dec": F.normalize(torch.randn(M, D, generator=generator), dim=1), "b_dec": torch.randn(D, generator=generator),
        "threshold": torch.rand(M, generator=generator),
    }  # fmt: skip
    tensors["threshold"][0] = 0.0
    cfg = {
        "architecture": "jumprelu", "d_in": D, "d_sae": M, "apply_b_dec_to_input": False, "normalize_activations": "none",
        "metadata": {"sae_lens_version": "6.54.12"},
    }  # fmt: skip
    stack, x = saelens.from_saelens(cfg, tensors), data(torch.float32)
    pre = x @ tensors["W_enc"] + tensors["b_enc"]
    assert stack.architecture == "jump_relu"
    assert torch.allclose(stack.encode(x)[0], pre.relu() * (pre > tensors["threshold"]), atol=1e-5)


def test_training_reconstructs_and_a_heavier_penalty_is_sparser():
    stack = JumpReLU(D, M, (Member(1, 0.02), Member(1, 0.5)), bandwidth=0.5, initial_threshold=0.1)
    state = TrainState(stack, TrainConfig(lr=2e-2, tokens=256 * 150, batch=256, resample_at=()))
    x = data(torch.float32, 256)
    stack.init_bias(x)
    first = stack.loss(x)
    for step in range(150):
        state.step(data(torch.float32, 256, seed=step), step)
    last = stack.loss(x)
    assert last.terms["reconstruction"][0] < 0.8 * first.terms["reconstruction"][0]
    assert last.l0[1] < 0.7 * last.l0[0] and stack.threshold().mean(1)[1] > stack.threshold().mean(1)[0]


@pytest.mark.parametrize("name", ["bandwidth", "initial_threshold"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf])
def test_impossible_widths_of_the_kernel_are_refused(name, value):
    with pytest.raises(UserError, match=name):
        made(**{name: value})
