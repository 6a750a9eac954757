"""Each form of AuxK against its own formula, written out; `test_base` holds its gradients by hand to autograd."""

import pytest
import torch

from saebook.sae.base import Member
from saebook.sae.registry import build

D, M, B = 12, 40, 64
KINDS = ("topk_aux_bias", "topk_aux_decoder", "topk_aux_share", "topk_aux_attached", "topk_aux_plain")
MEMBERS = (Member(1, 3.0), Member(2, 7.0))
MANY, FEW = range(9), (3, 30)  # k_aux is 8
WEIGHT = 1 / 32


def data():
    return torch.randn(B, D, generator=torch.Generator().manual_seed(5), dtype=torch.float64) + 0.5


def stack(kind, **options):
    made = build(kind, D, M, MEMBERS, dtype=torch.float64, **options)
    generator = torch.Generator().manual_seed(9)
    for parameter in made.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    made.variance.fill_(7.0)
    return made


def marked(latents):
    return torch.zeros(2, M, dtype=torch.bool).index_fill_(1, torch.tensor(list(latents)), True)


def textbook(kind, made, i, x, latents):
    """Member i's loss as one would write it on paper: the k strongest, then the strongest of the dead, token by token."""
    pre = (x - made.b_dec[i]) @ made.W_enc[i] + made.b_enc[i]
    strongest = pre.topk(int(made.members[i].sparsity), dim=1)
    xhat = made.b_dec[i] + torch.stack(
        [v.relu() @ made.W_dec[i, at] for v, at in zip(strongest.values, strongest.indices, strict=True)]
    )
    e = x - xhat
    held = e if kind == "topk_aux_attached" else e.detach()
    some = torch.tensor(list(latents))
    weak = pre[:, some].topk(min(made.k_aux, len(some)), dim=1)
    codes = weak.values.relu()
    if kind == "topk_aux_decoder":
        codes = codes.detach()
    guess = torch.stack([v @ made.W_dec[i, some[at]] for v, at in zip(codes, weak.indices, strict=True)])
    if kind == "topk_aux_bias":
        guess = guess + made.b_dec[i]
    missed = (held - guess).square().sum()
    spread = (e - e.mean(0)).square().sum().detach()
    auxiliary = missed / (B * made.variance if kind == "topk_aux_plain" else spread)
    if kind == "topk_aux_share":
        auxiliary = auxiliary * min(1.0, len(some) / made.k_aux)
    return e.square().sum() / (B * made.variance), made.aux_weight * auxiliary


@pytest.mark.parametrize("latents", [MANY, FEW])
@pytest.mark.parametrize("kind", ["topk", *KINDS])
def test_loss_and_gradients_are_those_of_the_formula(kind, latents):
    made, x, dead = stack(kind), data(), marked(latents)
    terms = [textbook(kind, made, i, x, latents) for i in range(2)]
    expected = torch.autograd.grad(sum(a + b for a, b in terms), list(made.parameters()))
    for gradients in (made.plain_gradients, made.step_gradients):
        losses = gradients(x, dead)
        for i, (reconstruction, auxiliary) in enumerate(terms):
            assert losses.terms["reconstruction"][i].item() == pytest.approx(reconstruction.item(), rel=1e-10)
            assert losses.terms["auxiliary"][i].item() == pytest.approx(auxiliary.item(), rel=1e-10)
        for (name, parameter), value in zip(made.named_parameters(), expected, strict=True):
            assert torch.allclose(parameter.grad, value, rtol=1e-9, atol=1e-12), name


def gradients(made, dead):
    losses = made.step_gradients(data(), dead)
    return losses, {name: parameter.grad.clone() for name, parameter in made.named_parameters()}


@pytest.mark.parametrize("dead", [None, torch.zeros(2, M, dtype=torch.bool)])
@pytest.mark.parametrize("kind", KINDS)
def test_without_dead_latents_each_is_topk_exactly(kind, dead):
    losses, own = gradients(stack(kind), dead)
    expected, topk = gradients(stack("topk"), dead)
    assert torch.equal(losses.total, expected.total) and torch.equal(losses.fired, expected.fired)
    assert all(torch.equal(own[name], value) for name, value in topk.items())
    made = stack(kind)
    assert made.has_own_gradients() and torch.equal(made.encode(data()), stack("topk").encode(data()))
    assert made.options() == stack("topk").options()


@pytest.mark.parametrize("kind", KINDS)
def test_with_dead_latents_each_differs_from_topk_where_it_says(kind):
    changed = {
        "topk_aux_bias": {"W_enc", "W_dec", "b_enc", "b_dec"}, "topk_aux_decoder": {"W_enc", "b_enc", "b_dec"},
        "topk_aux_share": {"W_enc", "W_dec", "b_enc", "b_dec"}, "topk_aux_attached": {"W_enc", "W_dec", "b_enc", "b_dec"},
        "topk_aux_plain": {"W_enc", "W_dec", "b_enc", "b_dec"},
    }  # fmt: skip
    _, own = gradients(stack(kind), marked(FEW))
    _, topk = gradients(stack("topk"), marked(FEW))
    assert {n for n, value in topk.items() if not torch.allclose(own[n], value, rtol=1e-9)} == changed[kind]


def test_share_is_one_where_enough_latents_are_dead():
    _, own = gradients(stack("topk_aux_share"), marked(MANY))
    _, topk = gradients(stack("topk"), marked(MANY))
    assert all(torch.allclose(own[name], value, rtol=1e-12) for name, value in topk.items())


def test_bias_twice_is_topk_where_there_is_no_bias_but_for_its_own_gradient():
    made, topk = stack("topk_aux_bias"), stack("topk")
    for one in (made, topk):
        one.b_dec.data.zero_()
    (_, own), (_, expected) = gradients(made, marked(MANY)), gradients(topk, marked(MANY))
    assert all(torch.allclose(own[n], expected[n], rtol=1e-9, atol=1e-12) for n in ("W_enc", "W_dec", "b_enc"))
    assert not torch.allclose(own["b_dec"], expected["b_dec"], rtol=1e-3)
