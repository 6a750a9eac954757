"""BatchTopK against its formula, written out, and its threshold. `test_base` holds its gradients to autograd and finite differences."""

import pytest
import torch
from torch.nn import functional as F

from saebook.common.errors import UserError
from saebook.formats import saelens
from saebook.sae.base import Member
from saebook.sae.batch_topk import BatchTopK
from saebook.sae.topk import TopK
from saebook.training.config import TrainConfig
from saebook.training.loop import TrainState

D, M, B = 12, 40, 64
KS = (3, 7)
DEAD = torch.zeros(len(KS), M, dtype=torch.bool).index_fill_(1, torch.arange(9), True)


def made(architecture=BatchTopK, dtype=torch.float64, **options):
    stack = architecture(D, M, tuple(Member(seed, k) for seed, k in enumerate(KS)), dtype=dtype, **options)
    generator = torch.Generator().manual_seed(9)
    for parameter in stack.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
    stack.constrain_weights()
    stack.init_bias(data(dtype))
    return stack


def data(dtype=torch.float64, n=B, seed=5):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype) + 0.5


def plain_latents(stack, i, x):
    """Latents [B, M] of member i, as a textbook would choose them: all of the batch in one row, sorted."""
    pre = ((x - stack.b_dec[i]) @ stack.W_enc[i] + stack.b_enc[i]).relu()
    kept = pre.flatten().sort(descending=True).indices[: len(x) * KS[i]]
    return torch.zeros(pre.numel(), dtype=x.dtype).index_copy(0, kept, pre.flatten()[kept]).view_as(pre)


def plain_loss(stack, i, x, dead):
    f = plain_latents(stack, i, x)
    error = x - f @ stack.W_dec[i] - stack.b_dec[i]
    target = error.detach()
    pre = ((x - stack.b_dec[i]) @ stack.W_enc[i] + stack.b_enc[i])[:, dead]
    values, latents = pre.topk(stack.k_aux)
    weak = torch.zeros_like(pre).scatter(1, latents, values.relu()) @ stack.W_dec[i][dead]
    auxiliary = (target - weak).square().sum() / (target - target.mean(0)).square().sum()
    return error.square().sum(1).mean() / stack.variance + auxiliary / 32


@pytest.mark.parametrize("by_hand", [True, False])
def test_loss_and_gradients_are_those_of_the_formula(by_hand):
    stack, x = made(), data()
    losses = (stack.step_gradients if by_hand else stack.plain_gradients)(x, DEAD)
    for i in range(len(KS)):
        expected = plain_loss(stack, i, x, DEAD[i])
        assert losses.total[i].item() == pytest.approx(expected.item(), rel=1e-12)
        taken = torch.autograd.grad(expected, list(stack.parameters()))
        for (name, parameter), gradient in zip(stack.named_parameters(), taken, strict=True):
            assert torch.allclose(parameter.grad[i], gradient[i], rtol=1e-9, atol=1e-12), name
    assert losses.l0.tolist() == list(KS)
    assert losses.terms["auxiliary"].min() > 0


def test_gradients_in_single_precision_are_those_of_the_loss():
    stack, x = made(dtype=torch.float32), data(torch.float32)
    stack.plain_gradients(x, DEAD)
    expected = {name: parameter.grad.clone() for name, parameter in stack.named_parameters()}
    stack.step_gradients(x, DEAD)
    for name, parameter in stack.named_parameters():
        assert torch.allclose(parameter.grad, expected[name], rtol=1e-4, atol=1e-5), name


def test_a_batch_of_one_token_is_topk():
    stack, topk = made(), made(TopK)
    for token in data().split(1):
        assert torch.allclose(stack.encode(token), topk.encode(token), rtol=1e-12)
    assert not torch.allclose(stack.encode(data()), topk.encode(data()))


def test_tokens_share_the_latents_of_a_batch_unevenly():
    f = made().encode(data())
    assert (f > 0).sum((1, 2)).tolist() == [B * k for k in KS]
    assert len((f[0] > 0).sum(1).unique()) > 2
    few = made()
    few.b_enc.data.fill_(-100.0)  # no positive latent: none is chosen, and none sets a threshold
    few.loss(data())
    assert not few.encode(data()).any() and (few.threshold < 0).all()


def test_threshold_follows_the_smallest_active_latent():
    stack, theta = made(threshold_rate=0.25), None
    for number in range(4):
        x = data(seed=number)
        smallest = torch.stack([(f := plain_latents(stack, i, x))[f > 0].min() for i in range(len(KS))])[:, None]
        theta = smallest if theta is None else theta + 0.25 * (smallest - theta)
        (stack.step_gradients if number % 2 else stack.loss)(x)
        assert torch.allclose(stack.threshold, theta, rtol=1e-10)
    assert theta[0] > theta[1] > 0  # the fewer, the stronger


def test_after_training_a_token_is_encoded_alike_in_any_company():
    stack, x = made(), data()
    stack.loss(x)
    alone = torch.cat([stack.encode(token) for token in x.split(1)], 1)
    assert torch.allclose(stack.encode(x), alone, rtol=1e-12)
    pre = torch.bmm(x - stack.b_dec[:, None], stack.W_enc) + stack.b_enc[:, None]
    assert torch.allclose(alone, pre * (pre > stack.threshold[:, None]), rtol=1e-10)
    assert torch.allclose(stack.reconstruct(x), stack.decode(alone), rtol=1e-10)


def test_a_trained_threshold_keeps_l0_near_k_on_other_tokens():
    stack = BatchTopK(D, M, tuple(Member(seed, k) for seed, k in enumerate(KS)))
    state = TrainState(stack, TrainConfig(lr=1e-2, tokens=256 * 500, batch=256, resample_at=()))
    stack.init_bias(data(torch.float32, 256))
    for step in range(500):
        state.step(data(torch.float32, 256, seed=step), step)
    l0 = (stack.encode(data(torch.float32, 512, seed=999)) > 0).float().sum(-1).mean(-1)
    assert torch.allclose(l0, torch.tensor(KS, dtype=torch.float32), rtol=0.1)


@pytest.mark.parametrize("form", ["member", "part"])
def test_thresholds_go_with_their_members(form):
    stack, x = made(), data()
    stack.loss(x)
    one = stack.member(1) if form == "member" else stack.part(slice(1, 2))
    assert torch.equal(one.threshold, stack.threshold[1:])
    one.step_gradients(data(seed=8))
    assert torch.equal(one.threshold, stack.threshold[1:]) == (form == "part")


def test_files_and_folding_keep_the_threshold():
    stack, x = made(dtype=torch.float32), data(torch.float32)
    stack.loss(x)
    before = stack.encode(2 * x) / 2
    stack.fold_scale(2.0)
    assert torch.equal(stack.encode(x), before)  # by a power of two, bit-equal
    again = saelens.from_saelens(*saelens.pack(stack, 1))
    assert torch.equal(again.threshold, stack.threshold[1:]) and again.options() == stack.options()
    assert torch.equal(again.encode(x)[0], stack.member(1).encode(x)[0])


def test_as_a_jump_relu_it_is_the_same_function_and_saelens_has_it():
    stack, x = made(per_token=True), data()
    with pytest.raises(UserError, match="train it first"):
        stack.as_jump_relu()
    for seed in (5, 8):  # of one batch, the threshold is one of its latents, which rounding puts on either side
        stack.loss(data(seed=seed))
    jump = stack.as_jump_relu()
    assert torch.allclose(jump.encode(x), stack.encode(x), rtol=1e-9, atol=1e-12) and jump.per_token
    cfg, tensors = saelens.to_saelens(jump, 0)
    assert cfg["architecture"] == "jumprelu" and torch.allclose(tensors["threshold"], stack.threshold[0].expand(M))
    with pytest.raises(UserError, match="SAELens has no architecture"):
        saelens.to_saelens(stack, 0)


def test_an_objective_pulls_latents_chosen_in_the_batch():
    stack, x = made(), data()
    stack.loss(data(seed=8))  # a threshold that is another batch's must not matter

    def pull(xhat):
        error = xhat - x
        return {"error": error.square().mean((1, 2))}, 2 * error / x.numel()

    losses = stack.pulled(x, pull, 1, DEAD)
    pulled = {name: parameter.grad.clone() for name, parameter in stack.named_parameters()}
    unit = stack.error_unit() / D
    assert torch.allclose(losses.total, unit * stack.loss(x, DEAD).total, rtol=1e-10)
    stack.step_gradients(x, DEAD)
    for name, parameter in stack.named_parameters():
        assert torch.allclose(pulled[name], unit * parameter.grad, rtol=1e-9, atol=1e-12), name


def test_resampling_points_latents_at_inputs_and_leaves_the_threshold():
    stack, x = made(), data()
    stack.loss(x)
    theta = stack.threshold.clone()
    stack.resample(1, torch.tensor([3, 8]), x[:2])
    assert torch.allclose(stack.W_dec[1, [3, 8]], F.normalize(x[:2] - stack.b_dec[1], dim=1))
    assert not stack.b_enc[1, [3, 8]].any() and torch.equal(stack.threshold, theta)
