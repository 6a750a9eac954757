"""Adam by compiled loops and in plain PyTorch: the same step, and torch.optim's."""

import copy

import pytest
import torch

from saebook.sae.base import Member
from saebook.sae.kernels import active
from saebook.sae.registry import build, names
from saebook.training.adam import Adam, Rate

D, M, B = 12, 40, 64
BY_HAND = [kind for kind in names() if type(build(kind, D, M, (Member(0, 2),))).has_own_gradients()]


def stack(kind):
    made = build(kind, D, M, (Member(1, 2), Member(2, 5)), dtype=torch.float64)
    generator = torch.Generator().manual_seed(9)
    for parameter in made.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    made.constrain_weights()
    return made


def batches(count):
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(B, D, generator=generator, dtype=torch.float64) + 0.5 for _ in range(count)]


def rate(step):
    return Rate(lr=0.01 / step, step=step, beta1=0.3, beta2=0.9, eps=1e-8)


@pytest.mark.parametrize("form", ["grid", "entries"])
@pytest.mark.parametrize("clip_norm", [None, 0.05])
@pytest.mark.parametrize("kind", BY_HAND)
def test_compiled_steps_equal_plain_ones(kind, clip_norm, form, monkeypatch):
    monkeypatch.setattr(active, "_CROSSOVER", {"fp32": 9.0 if form == "entries" else -1.0})
    fast, plain = stack(kind), stack(kind)
    by_member, by_stack = Adam(fast), Adam(plain)
    dead = torch.zeros(2, M, dtype=torch.bool)
    dead[0, :9] = True
    for step, x in enumerate(batches(4), 1):
        for i in range(2):
            with torch.no_grad():
                gradients = fast.member_gradients(i, x, dead[i])
            by_member.member(i, gradients, rate(step), clip_norm)
        plain.plain_gradients(x, dead)
        by_stack.stack(rate(step), clip_norm)
        for name, value in plain.state_dict().items():
            assert torch.allclose(fast.state_dict()[name], value, rtol=1e-8, atol=1e-10), (step, name)
        for name, moments in by_stack.moments.items():
            for one, other in zip(by_member.moments[name], moments, strict=True):
                assert torch.allclose(one, other, rtol=1e-8, atol=1e-12), (step, name)


def test_a_step_is_that_of_torch_optim():
    made, twin = stack("normalised_relu"), stack("normalised_relu")  # its rows have no constraint
    mine = Adam(made)
    theirs = torch.optim.Adam(twin.parameters(), lr=0.01, betas=(0.3, 0.9), eps=1e-8)
    for step, x in enumerate(batches(3), 1):
        for one in (made, twin):
            one.plain_gradients(x)
        mine.stack(Rate(0.01, step, 0.3, 0.9, 1e-8))
        theirs.step()
    for name, value in twin.state_dict().items():
        assert torch.allclose(made.state_dict()[name], value, rtol=1e-10, atol=1e-13), name


def test_rows_of_the_decoder_keep_unit_norm_and_move_along_the_sphere():
    made = stack("relu")
    adam, before = Adam(made), copy.deepcopy(made.W_dec.data)
    with torch.no_grad():
        adam.member(0, made.member_gradients(0, batches(1)[0]), rate(1))
    assert torch.allclose(made.W_dec.norm(dim=-1), torch.ones(2, M, dtype=torch.float64), atol=1e-12)
    assert not torch.allclose(made.W_dec[0], before[0]) and torch.equal(made.W_dec[1], before[1])


def test_clipping_is_of_each_member_alone():
    free, clipped = stack("relu"), stack("relu")
    x = batches(1)[0] * 50
    for made, clip_norm in ((free, None), (clipped, 1e-3)):
        adam = Adam(made)
        with torch.no_grad():
            adam.member(
                1, made.member_gradients(1, x), Rate(1.0, 1, 0.0, 0.0, 1.0), clip_norm
            )  # Adam with eps 1: SGD, nearly
        assert torch.equal(made.W_enc[0], stack("relu").W_enc[0])
    moved = [float((made.W_enc[1] - stack("relu").W_enc[1]).detach().norm()) for made in (free, clipped)]
    assert 0 < moved[1] < 1e-3 < moved[0]


def test_forgotten_latents_begin_anew():
    made = stack("gated_untied")
    adam = Adam(made)
    with torch.no_grad():
        for i in range(2):
            adam.member(i, made.member_gradients(i, batches(1)[0]), rate(1))
    adam.forget(0, torch.tensor([3, 5]))
    for name, axis in made.latent_slices().items():
        for moment in adam.moments[name]:
            assert moment[0].select(axis - 1, 3).abs().max() == 0 and moment[1].select(axis - 1, 3).abs().max() > 0
    assert adam.moments["b_dec"][1][0].abs().min() > 0


def test_state_comes_back():
    made = stack("topk")
    adam, again = Adam(made), Adam(made)
    with torch.no_grad():
        adam.member(0, made.member_gradients(0, batches(1)[0]), rate(1))
    again.restore(adam.state())
    assert all(torch.equal(a, b) for n in adam.moments for a, b in zip(adam.moments[n], again.moments[n], strict=True))
