"""Every registered architecture: each loss term reaches the parameters it should, and hand-written gradients are true.

An architecture that is added is tested here by itself, from its registration alone.
"""

import copy

import pytest
import torch
from torch import nn

from saebook.common.errors import UserError
from saebook.sae.base import Member, SAEStack, geometric_median
from saebook.sae.gated import Gated
from saebook.sae.kernels import active
from saebook.sae.losses import Losses
from saebook.sae.registry import build, get, names
from saebook.sae.topk import TopK

D, M, B = 12, 40, 64
SPARSITIES = {kind: (3, 7) if "topk" in kind else (0.3, 1.5) for kind in names()}  # k, or lambda
SPHERE = [
    kind for kind in names() if kind not in ("normalised_relu", "topk_free_norm")
]  # those whose decoder rows are kept at unit norm
SMOOTH = (
    "relu",
    "gated",
    "topk",
    "batch_topk",
    "multi_topk",
    "normalised_relu",
    "gated_no_r_mag",
    "gated_untied",
    "topk_no_bias",
    "topk_free_norm",
)  # those whose gradient is that of a function; ProLU's are synthetic


def marked(*latents):
    """Which latents are dead [S, M], from their numbers for each member."""
    return torch.stack(
        [
            torch.zeros(M, dtype=torch.bool).index_fill_(0, torch.tensor(some, dtype=torch.long), True)
            for some in latents
        ]
    )


DEAD = marked(range(9), [])  # nine of the first member, none of the second
FEW = marked([3, 30], range(20, 26))  # fewer than k_aux of each


def data(dtype=torch.float64, n=B):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(5), dtype=dtype) + 0.5


def stack(kind, dtype=torch.float64, seeds=(1, 2)):
    """A stack whose every parameter is moved off its special starting value."""
    members = tuple(Member(s, v) for s, v in zip(seeds, SPARSITIES[kind], strict=True))
    made = build(kind, D, M, members, dtype=dtype)
    generator = torch.Generator().manual_seed(9)
    for parameter in made.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
    made.constrain_weights()
    return made


def gradients(made):
    return {name: p.grad.clone() for name, p in made.named_parameters()}


@pytest.mark.parametrize("form", ["grid", "entries"])
@pytest.mark.parametrize("kind", names())
@pytest.mark.parametrize("dead", [None, DEAD, FEW])
def test_step_gradients_equal_autograd(kind, dead, form, monkeypatch):
    monkeypatch.setattr(active, "_CROSSOVER", dict.fromkeys(active._CROSSOVER, 1.0 if form == "entries" else -1.0))
    made, x = stack(kind), data()
    plain = made.loss(x, dead)
    plain.total.sum().backward()
    expected = gradients(made)
    for parameter in made.parameters():
        parameter.grad.fill_(float("nan"))  # whatever was there must be overwritten
    fast = made.step_gradients(x, dead)
    for name, value in gradients(made).items():
        assert torch.allclose(value, expected[name], rtol=1e-9, atol=1e-12), name
    assert torch.allclose(fast.total, plain.total, rtol=1e-12)
    for name, value in plain.terms.items():
        assert torch.allclose(fast.terms[name], value, rtol=1e-12), name
    assert torch.equal(fast.fired, plain.fired) and torch.allclose(fast.l0, plain.l0)


@pytest.mark.parametrize("kind", names())
def test_error_unit_is_what_the_loss_divides_squared_errors_by(kind):
    made, x = stack(kind), data()
    squared = (made.reconstruct(x) - x).square().sum(-1).mean(-1)
    assert torch.allclose(made.loss(x).terms["reconstruction"] * made.error_unit(), squared, rtol=1e-10)


class Minimal(SAEStack):
    """An architecture with nothing but `encode` and `loss`."""

    def encode(self, x):
        return torch.bmm(x - self.b_dec[:, None], self.W_enc).relu()

    def loss(self, x, dead=None):
        f = self.encode(x)
        terms = {
            "reconstruction": (self.decode(f) - x).square().sum(-1).mean(-1),
            "sparsity": f.new_tensor(self.sparsity) * f.sum(-1).mean(-1),
        }
        return Losses(sum(terms.values()), terms, (f > 0).sum(-1).to(x.dtype).mean(-1), (f > 0).any(1))


def test_encode_and_loss_are_enough():
    made, x = Minimal(D, M, (Member(1, 0.3), Member(2, 1.5)), dtype=torch.float64), data()
    assert not made.has_own_gradients()
    expected = torch.autograd.grad(made.loss(x).total.sum(), list(made.parameters()))
    losses = made.step_gradients(x)
    assert all(torch.equal(p.grad, g) for p, g in zip(made.parameters(), expected, strict=True))
    assert torch.equal(losses.total, made.loss(x).total) and not losses.total.requires_grad
    assert torch.equal(made.encode(x), stack_without_bias(made).encode(x))


def stack_without_bias(made):
    relu = build("relu", D, M, made.members, dtype=torch.float64)
    assert torch.equal(relu.W_enc, made.W_enc)
    return relu


def test_hand_written_gradients_are_not_used_for_another_loss():
    class Doubled(Gated):
        def loss(self, x, dead=None):
            losses = super().loss(x, dead)
            return Losses(2 * losses.total, {n: 2 * t for n, t in losses.terms.items()}, losses.l0, losses.fired)

    written = {
        "relu",
        "gated",
        "topk",
        "topk_no_bias",
        "topk_scaled",
        "gated_no_r_mag",
        "prolu_ste",
        "normalised_relu",
    }
    assert Gated.has_own_gradients() and not Doubled.has_own_gradients()
    assert all(get(kind).has_own_gradients() for kind in written)
    assert not get("topk_free_norm").has_own_gradients()  # whose decoder the compiled step would project
    plain, twice = stack("gated"), Doubled(D, M, stack("gated").members, dtype=torch.float64)
    twice.load_state_dict(plain.state_dict())
    plain.step_gradients(data())
    twice.step_gradients(data())
    assert torch.allclose(twice.W_enc.grad, 2 * plain.W_enc.grad, rtol=1e-9)


@pytest.mark.parametrize("kind", SMOOTH)
def test_autograd_agrees_with_finite_differences(kind):
    """The twin that the fast gradients are held to is itself right; frozen copies make Gated's no gradient of a function."""
    made, x = stack(kind), data(n=8)
    terms = [name for name in made.loss(x).terms if name in ("reconstruction", "sparsity", "wider")]
    made.loss(x).total.sum()
    for name, parameter in made.named_parameters():
        total = sum(made.loss(x).terms[t].sum() for t in terms)
        (analytic,) = torch.autograd.grad(total, parameter, allow_unused=True)
        if analytic is None:
            continue
        place = (0,) * (parameter.ndim - 1) + (3,)
        kept, step = parameter.data[place].item(), 1e-6
        around = []
        for offset in (step, -step):
            parameter.data[place] = kept + offset
            around.append(sum(made.loss(x).terms[t].sum().item() for t in terms))
        parameter.data[place] = kept
        assert analytic[place].item() == pytest.approx((around[0] - around[1]) / (2 * step), rel=1e-5, abs=1e-7), name


ROUTES = {
    ("relu", "reconstruction"): {"W_enc", "W_dec", "b_enc", "b_dec"},
    ("relu", "sparsity"): {"W_enc", "b_enc", "b_dec"},
    ("gated", "reconstruction"): {"W_enc", "W_dec", "b_dec", "b_mag", "r_mag"},
    ("gated", "sparsity"): {"W_enc", "b_gate", "b_dec"},
    ("gated", "auxiliary"): {"W_enc", "b_gate", "b_dec"},
    ("topk", "reconstruction"): {"W_enc", "W_dec", "b_enc", "b_dec"},
    ("prolu_relu", "reconstruction"): {"W_enc", "W_dec", "b_enc", "b_dec"},
    ("prolu_relu", "sparsity"): {"W_enc", "b_enc", "b_dec"},
    ("prolu_ste", "reconstruction"): {"W_enc", "W_dec", "b_enc", "b_dec"},
    ("prolu_ste", "sparsity"): {"W_enc", "b_enc", "b_dec"},
    ("topk", "auxiliary"): {"W_enc", "W_dec", "b_enc", "b_dec"},
    ("batch_topk", "reconstruction"): {"W_enc", "W_dec", "b_enc", "b_dec"},
    ("batch_topk", "auxiliary"): {"W_enc", "W_dec", "b_enc", "b_dec"},
    ("multi_topk", "wider"): {"W_enc", "W_dec", "b_enc", "b_dec"},
    ("gated_unfrozen", "reconstruction"): {"W_enc", "W_dec", "b_dec", "b_mag", "r_mag"},
    ("gated_unfrozen", "sparsity"): {"W_enc", "b_gate", "b_dec"},
    ("gated_unfrozen", "auxiliary"): {"W_enc", "W_dec", "b_gate", "b_dec"},
    ("gated_no_r_mag", "reconstruction"): {"W_enc", "W_dec", "b_dec", "b_mag"},
    ("gated_no_r_mag", "auxiliary"): {"W_enc", "b_gate", "b_dec"},
    ("gated_untied", "reconstruction"): {"W_mag", "W_dec", "b_dec", "b_mag"},
    ("gated_untied", "sparsity"): {"W_enc", "b_gate", "b_dec"},
    ("gated_untied", "auxiliary"): {"W_enc", "b_gate", "b_dec"},
}


def routes(made, term, x, dead):
    made.zero_grad()
    made.loss(x, dead).terms[term].sum().backward()
    return {n for n, p in made.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}


@pytest.mark.parametrize(("kind", "term"), ROUTES)
def test_each_loss_term_reaches_its_parameters_and_no_others(kind, term):
    assert routes(stack(kind), term, data(), DEAD) == ROUTES[kind, term]


def test_gated_auxiliary_loss_reaches_b_dec_only_through_centring():
    made, x = stack("gated"), data()
    made.loss(x).terms["auxiliary"].sum().backward()
    # d/db_dec = -W_enc (d/dh summed over tokens), and d/dh summed is exactly b_gate's gradient.
    expected = -torch.einsum("sdm,sm->sd", made.W_enc, made.b_gate.grad)
    assert torch.allclose(made.b_dec.grad, expected, rtol=1e-9)


def test_route_check_detects_an_unfrozen_decoder(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "detach", lambda self: self)
    assert "W_dec" in routes(stack("gated"), "auxiliary", data(), None)


@pytest.mark.parametrize("kind", [kind for kind in names() if kind.startswith("gated_")])
def test_gated_variants_differ_from_gated_in_one_thing_only(kind):
    """Where all variants are the same function (no rescale, one encoder), only the ablated part may differ."""
    gated, other, x = stack("gated"), stack(kind), data()
    gated.r_mag.data.zero_()
    for name, parameter in other.named_parameters():
        parameter.data.copy_(getattr(gated, "W_enc" if name == "W_mag" else name))
    assert torch.allclose(other.encode(x), gated.encode(x), rtol=1e-12)
    losses, expected = other.step_gradients(x), gated.step_gradients(x)
    assert torch.allclose(losses.total, expected.total, rtol=1e-12)
    changed = {
        n for n, p in other.named_parameters() if not torch.allclose(p.grad, getattr(gated, n, p).grad, rtol=1e-9)
    }
    assert changed == {"gated_unfrozen": {"W_dec", "b_dec"}, "gated_no_r_mag": set(), "gated_untied": {"W_enc"}}[kind]
    if kind == "gated_untied":
        assert torch.allclose(other.W_enc.grad + other.W_mag.grad, gated.W_enc.grad, rtol=1e-9)


def test_untied_gated_resamples_both_encoders_and_has_no_threshold():
    made, x = stack("gated_untied"), data()
    made.resample(1, torch.tensor([3, 8]), x[:2])
    assert torch.equal(made.W_mag[1][:, [3, 8]], made.W_enc[1][:, [3, 8]]) and made.latent_slices()["W_mag"] == 2
    assert not torch.equal(made.W_mag[1], made.W_enc[1])
    with pytest.raises(UserError, match="not a JumpReLU"):
        made.threshold()


def test_auxk_trains_dead_latents_only():
    made, x = stack("topk"), data()
    made.loss(x, DEAD).terms["auxiliary"].sum().backward()
    assert made.W_enc.grad[0][:, :9].abs().sum() > 0 and made.W_dec.grad[0][:9].abs().sum() > 0
    assert made.W_enc.grad[0][:, 9:].abs().max() == 0 and made.W_enc.grad[1].abs().max() == 0
    assert made.loss(x).terms["auxiliary"].abs().max() == 0 and made.loss(x, DEAD).terms["auxiliary"][1] == 0


def test_auxk_matches_the_paper():
    made, x = stack("topk"), data()
    assert (made.k_aux, build("topk", 768, 3072, (Member(0, 32),)).k_aux) == (8, 512)
    auxiliary = made.loss(x, DEAD).terms["auxiliary"][0]
    f = made.encode(x)[0]
    error = x - f @ made.W_dec[0] - made.b_dec[0]
    pre = ((x - made.b_dec[0]) @ made.W_enc[0] + made.b_enc[0])[:, :9]  # nine dead ones, of which the 8 strongest
    values, latents = pre.topk(8)
    guess = torch.zeros_like(pre).scatter(1, latents, values.relu()) @ made.W_dec[0, :9]
    expected = (error - guess).square().sum() / (error - error.mean(0)).square().sum() / 32
    assert auxiliary.item() == pytest.approx(expected.item(), rel=1e-9)


def test_prolu_forward_and_both_synthetic_gradients():
    m = torch.tensor([[-1.0, 0.5, 2.0, 3.0]], dtype=torch.float64)
    bias, d_f = torch.tensor([[0.0, -1.0, -1.0, 1.0]], dtype=torch.float64), torch.tensor([[1.0, 1.0, 0.5, -2.0]])
    for kind, at_m, at_b in (
        ("prolu_relu", [0.0, 0.0, 0.5, -2.0], [0.0, 0.0, 0.5, -2.0]),
        ("prolu_ste", [0.0, 0.0, 1.5, -8.0], [0.0, 0.0, 1.0, -6.0]),  # 1 + m times, and m times
    ):
        one = build(kind, 4, 4, (Member(0, 1.0),), dtype=torch.float64)
        one.W_enc.data[0] = torch.eye(4)
        one.b_enc.data[:] = bias
        x = m.clone().requires_grad_()
        f = one.encode(x)
        assert f[0].tolist() == [[0.0, 0.0, 2.0, 3.0]]
        f[0].backward(d_f.double())
        assert x.grad.tolist() == [at_m] and one.b_enc.grad.tolist() == [at_b]


@pytest.mark.parametrize("kind", names())
def test_per_token_normalisation_inverts(kind):
    x = 3 + 7 * data()
    made = build(kind, D, M, (Member(1, 2),), dtype=torch.float64, per_token=True)
    z, mean, spread = made.prepare(x)
    assert torch.allclose(z.mean(1), torch.zeros(B, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(z.norm(dim=1), torch.full((B,), (D - 1) ** 0.5, dtype=torch.float64), rtol=1e-4)
    assert torch.allclose(z * spread + mean, x) and torch.allclose(made.prepare(5 * x + 2)[0], z, atol=1e-4)
    assert made.options()["per_token"] and made.member(0).per_token
    plain, nothing, one = build(kind, D, M, (Member(1, 2),), dtype=torch.float64).prepare(x)
    assert plain is x and nothing == 0 and one == 1


@pytest.mark.parametrize("kind", SPHERE)
def test_untransposed_encoder_starts_apart_at_the_same_norm(kind):
    own = build(kind, D, M, (Member(1, 2), Member(2, 2)), transposed=False)
    tied = build(kind, D, M, (Member(1, 2), Member(2, 2)))
    assert torch.equal(own.W_dec, tied.W_dec) and torch.equal(tied.W_enc, tied.W_dec.transpose(1, 2))
    assert torch.allclose(own.W_enc.norm(dim=1), torch.ones(2, M)) and own.options()["transposed"] is False
    assert (own.W_enc * own.W_dec.transpose(1, 2)).sum(1).abs().mean() < 0.5
    assert torch.equal(own.member(1).W_enc, own.W_enc[1:])


def test_zero_aux_weight_switches_auxk_off():
    made, x = stack("topk"), data()
    made.aux_weight = 0.0
    made.step_gradients(x, DEAD)
    off = gradients(made)
    made.step_gradients(x)
    assert all(torch.equal(off[name], value) for name, value in gradients(made).items())


def test_gradients_of_one_token_with_dead_latents_are_finite():
    made = stack("topk")
    made.step_gradients(data(n=1), DEAD)
    assert all(p.grad.isfinite().all() for p in made.parameters())


@pytest.mark.parametrize("kind", names())
def test_stack_equals_its_members(kind):
    whole, x = stack(kind), data()
    whole.step_gradients(x, DEAD)
    for i, member in enumerate(whole.members):
        fresh = build(kind, D, M, (member,), dtype=torch.float64)
        original = build(kind, D, M, whole.members, dtype=torch.float64)
        for name, value in fresh.named_parameters():
            assert torch.equal(value[0], getattr(original, name)[i])
        single = whole.member(i)
        single.step_gradients(x, DEAD[i : i + 1])
        for name, parameter in single.named_parameters():
            assert torch.equal(parameter.grad[0], getattr(whole, name).grad[i]), name
        assert torch.equal(single.encode(x)[0], whole.encode(x)[i])


@pytest.mark.parametrize("kind", SPHERE)
def test_decoder_rows_keep_unit_norm(kind):
    made, x = stack(kind, torch.float32), data(torch.float32)
    made.step_gradients(x)
    made.constrain_gradient()
    along = (made.W_dec.grad * made.W_dec).sum(-1).abs().max()
    assert along < 1e-5 * made.W_dec.grad.norm(dim=-1).max()
    torch.optim.Adam(made.parameters(), lr=0.1).step()
    assert (made.W_dec.norm(dim=-1) - 1).abs().max() > 1e-3
    made.constrain_weights()
    assert torch.allclose(made.W_dec.norm(dim=-1), torch.ones(2, M), atol=1e-6)


@pytest.mark.parametrize("kind", names())
def test_fold_scale_is_exact(kind):
    made, x = stack(kind), data()
    before = made.reconstruct(3.0 * x) / 3.0
    latents = made.encode(3.0 * x) / 3.0
    made.fold_scale(3.0)
    assert torch.allclose(made.reconstruct(x), before, rtol=1e-10, atol=1e-12)
    assert torch.allclose(made.encode(x), latents, rtol=1e-10, atol=1e-12)


def test_gated_encoder_is_a_jumprelu():
    made, x = stack("gated"), data()
    z = torch.bmm(x - made.b_dec[:, None], made.W_enc) * made.r_mag[:, None].exp() + made.b_mag[:, None]
    jump = (z > made.threshold()[:, None]) * z.relu()
    assert torch.equal(jump > 0, made.encode(x) > 0) and torch.allclose(jump, made.encode(x))


def test_topk_keeps_k_per_member_and_decodes_them_sparsely():
    made, x = stack("topk"), data()
    f = made.encode(x)
    assert [int((row > 0).sum(-1).max()) for row in f] == [3, 7]
    assert torch.allclose(made.reconstruct(x), made.decode(f), rtol=1e-10)
    pre = torch.bmm(x - made.b_dec[:, None], made.W_enc) + made.b_enc[:, None]
    kept = torch.where(pre[1] >= pre[1].topk(7).values[:, -1:], pre[1].relu(), 0.0)
    assert torch.allclose(f[1], kept, rtol=1e-10)  # a processor may round a sum and its product once or twice


@pytest.mark.parametrize("k", [0, 2.5, M + 1])
def test_topk_refuses_an_impossible_k(k):
    with pytest.raises(UserError, match="whole number"):
        TopK(D, M, (Member(0, k),))


@pytest.mark.parametrize("kind", ["relu", "gated"])
def test_resampling_follows_the_recipe(kind):
    made, x = stack(kind), data()
    others = [m for m in range(M) if m not in (3, 8)]
    norm = made.W_enc[1][:, others].norm(dim=0).mean()
    before = made.W_dec.clone()
    made.resample(1, torch.tensor([3, 8]), x[:2])
    towards = torch.nn.functional.normalize(x[:2] - made.b_dec[1], dim=1)
    assert torch.allclose(made.W_dec[1, [3, 8]], towards)
    assert torch.allclose(made.W_enc[1][:, [3, 8]], 0.2 * norm * towards.T)
    assert all(getattr(made, name)[1, [3, 8]].abs().max() == 0 for name in made.per_latent)
    assert torch.equal(made.W_dec[0], before[0]) and torch.equal(made.W_dec[1, others], before[1, others])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_geometric_median_minimises_summed_distance_despite_an_outlier(dtype):
    x = data()
    x[0] = 1e6
    median = geometric_median(x.to(dtype)).double()
    assert torch.allclose(median, geometric_median(x), atol=1e-4)
    best = (x - median).norm(dim=1).sum()
    for i in range(D):
        moved = median.clone()
        moved[i] += 1e-3
        assert (x - moved).norm(dim=1).sum() > best
    assert median.norm() < 5


def test_gated_parameters_are_the_papers():
    assert set(dict(Gated(D, M, (Member(0, 1.0),)).named_parameters())) == {
        "W_enc",
        "W_dec",
        "b_dec",
        "b_gate",
        "b_mag",
        "r_mag",
    }


def test_normalised_relu_is_invariant_to_decoder_norm():
    """The e2e paper's re-parameterisation: any norm is one SAE, the gradient lies across the rows, and b_dec is not subtracted."""
    made, x = stack("normalised_relu"), data()
    made.step_gradients(x)
    assert (made.W_dec.grad * made.W_dec).sum(-1).abs().max() < 1e-12
    f, before = made.encode(x), made.reconstruct(x)
    assert torch.allclose(f, torch.relu(x @ made.W_enc + made.b_enc[:, None]), rtol=1e-12)
    made.W_dec.data.mul_(torch.rand(2, M, 1, dtype=torch.float64) + 0.5)
    assert torch.allclose(made.reconstruct(x), before, rtol=1e-10)
    made.b_dec.data += 1.0
    assert torch.equal(made.encode(x), f)
    fresh = build("normalised_relu", D, M, (Member(1, 2), Member(2, 2)), dtype=torch.float64)
    columns = fresh.W_dec[0].T @ fresh.W_dec[0]
    assert torch.allclose(columns, torch.eye(D, dtype=torch.float64), atol=1e-10)  # orthogonal before it is normalised
    assert fresh.W_enc.abs().max() <= (6 / D) ** 0.5 and not torch.equal(fresh.W_enc[0], fresh.W_enc[1])


@pytest.mark.parametrize("at_once", [1, 2])
def test_normalised_relu_pulls_any_reconstruction_gradient(at_once):
    made, x = stack("normalised_relu"), data()
    towards = torch.randn(D, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def pull(xhat):
        return {"along": (xhat @ towards).mean(1)}, towards.expand_as(xhat) / len(x)

    loss = (made.reconstruct(x) @ towards).mean(1) + made.encode(x).sum(-1).mean(-1) * x.new_tensor(made.sparsity) / D
    loss.sum().backward()
    expected = gradients(made)
    losses = made.pulled(x, pull, at_once)
    assert torch.allclose(losses.total, loss, rtol=1e-12)
    for name, value in gradients(made).items():
        assert torch.allclose(value, expected[name], rtol=1e-9, atol=1e-12), name


@pytest.mark.parametrize("kind", names())
def test_a_member_is_copied_without_drawing_an_initialisation(kind, monkeypatch):
    whole = build(kind, D, M, stack(kind).members, dtype=torch.float64, per_token=True, transposed=False)
    whole.load_state_dict(stack(kind).state_dict())
    x = data()
    whole.W_enc.data = whole.W_enc.data.transpose(1, 2).contiguous().transpose(1, 2)  # latent by latent in memory
    whole.register_buffer("counts", torch.arange(2 * M, dtype=torch.float64).view(2, M))
    whole.register_buffer("constant", torch.tensor(3.0))
    whole.step_gradients(x, DEAD)

    def refuse(*args, **options):
        raise AssertionError("something was drawn")

    for module, name in ((torch, "randn"), (nn.init, "orthogonal_"), (nn.init, "kaiming_uniform_")):
        monkeypatch.setattr(module, name, refuse)
    single = whole.member(1)
    assert type(single) is type(whole) and single.members == whole.members[1:]
    assert single.options() == whole.options() and single.per_token and not single.transposed
    assert single.W_enc.stride()[1:] == whole.W_enc.stride()[1:] == (1, D)
    state, expected = single.state_dict(), copy.deepcopy(whole.state_dict())
    assert list(state) == list(expected)
    assert all(torch.equal(state[n], t[1:] if t.ndim else t) for n, t in expected.items())
    assert all(isinstance(p, nn.Parameter) and p.requires_grad and p.grad is None for p in single.parameters())

    before = gradients(whole)
    single.step_gradients(x, DEAD[1:])
    for tensor in (*single.parameters(), *single.buffers(), *(p.grad for p in single.parameters())):
        with torch.no_grad():
            tensor.fill_(-1.0)
    assert all(torch.equal(gradient, before[n]) for n, gradient in gradients(whole).items())
    assert all(torch.equal(whole.get_parameter(n), expected[n]) for n, _ in whole.named_parameters())
    assert torch.equal(whole.counts[1], torch.arange(M, 2 * M).double()) and whole.constant == 3


@pytest.mark.parametrize("kind", names())
def test_a_part_of_a_stack_shares_its_tensors(kind):
    three = tuple(Member(seed, SPARSITIES[kind][seed % 2]) for seed in range(3))
    whole, x = build(kind, D, M, three, dtype=torch.float64), data()
    for parameter in whole.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    part = whole.part(slice(1, 3))
    assert part.members == whole.members[1:] and type(part) is type(whole)
    assert torch.allclose(part.encode(x), whole.encode(x)[1:], rtol=1e-12, atol=1e-12)
    assert torch.allclose(part.reconstruct(x), whole.reconstruct(x)[1:], rtol=1e-12, atol=1e-12)
    part.W_dec.data.zero_()
    assert not whole.W_dec[1:].any() and whole.W_dec[0].all()
