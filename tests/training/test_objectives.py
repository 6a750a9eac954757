"""The objectives that look past the site, held to plain twins that keep every logit, in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from saebook.common.errors import UserError
from saebook.sae.base import Member
from saebook.sae.registry import build, names
from saebook.sae.topk import TopK
from saebook.subject import blocks, unembedding
from saebook.subject.model import Subject
from saebook.subject.unembedding import Unembedding
from saebook.training import objectives
from saebook.training.checkpoint import Checkpoint
from saebook.training.config import Data, Method, Objective, TrainConfig
from saebook.training.loop import TrainState, train
from saebook.training.objectives import Reference, RowBuffer
from saebook.training.store import Store
from saebook.training.sweep import runs, sweep

KINDS = {"local": Objective(reconstruction=1.0), "e2e": Objective(kl=1.0), "e2e+ds": Objective(kl=0.5, downstream=2.5)}
MEMBERS = (Member(0, 0.5), Member(1, 2.0), Member(2, 1.0))
TRAINING = TrainConfig(
    lr=3e-3, tokens=640, batch=64, beta1=0.9, resample_at=(), warmup_share=0.1, cosine_to=0.1, clip_norm=10.0
)


@pytest.fixture(scope="module")
def exact(small_subject_folder):
    return Subject.load(str(small_subject_folder), device="cpu", dtype=torch.float64)


@pytest.fixture(scope="module")
def tokens():
    return torch.randint(300, (3, 32), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def pieces(monkeypatch):
    """Pieces that divide neither the tokens nor the vocabulary, and members that do not fill their groups."""
    monkeypatch.setitem(unembedding.CHUNK, "cpu", (40, 77))
    monkeypatch.setitem(objectives._TOKENS, "cpu", 200)


def made(site, dtype=torch.float64):
    stack = build("normalised_relu", site.d_in, 48, MEMBERS, dtype=dtype)
    generator = torch.Generator().manual_seed(4)
    for parameter in stack.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
    return stack


def test_chunked_kl_equals_kl_of_all_logits(pieces):
    generator = torch.Generator().manual_seed(0)
    hidden, clean, W_U, b_U = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((2, 90, 8), (90, 8), (8, 300), (300,))
    )
    hidden.requires_grad_()
    plain = [
        F.kl_div(
            (h @ W_U + b_U).log_softmax(-1), (clean @ W_U + b_U).log_softmax(-1), log_target=True, reduction="batchmean"
        )
        for h in hidden
    ]
    weights = torch.tensor([1.0, 3.0], dtype=torch.float64)
    (expected,) = torch.autograd.grad((torch.stack(plain) * weights).sum(), hidden)
    head = Unembedding(W_U, b_U)
    chunked = objectives.kl(hidden, clean, *head.log_partition(clean), head)
    (gradient,) = torch.autograd.grad((chunked * weights).sum(), hidden)
    assert torch.allclose(chunked, torch.stack(plain), rtol=1e-10)
    assert torch.allclose(gradient, expected, rtol=1e-9, atol=1e-14)
    # The other direction is another number: the paper's docstring names it, its code does not compute it.
    other = F.kl_div(
        (clean @ W_U + b_U).log_softmax(-1),
        (hidden[0] @ W_U + b_U).log_softmax(-1),
        log_target=True,
        reduction="batchmean",
    )
    assert abs(other - plain[0]) > 1e-3


def plain_loss(subject, tokens, site, stack, objective):
    """The e2e paper's objectives as its text has them: whole passes of the model, whole logits, autograd through all of it."""
    later = [subject.site("resid_pre", layer) for layer in range(site.layer + 1 + (site.kind == "resid_post"), 3)]

    def passed(i, replace):
        seen = {}

        def write(name, value):
            seen[name] = value
            if name == site.hook_name and replace:
                f = (value.flatten(2) @ stack.W_enc[i] + stack.b_enc[i]).relu()
                new = f @ (stack.W_dec[i] / stack.W_dec[i].norm(dim=-1, keepdim=True)) + stack.b_dec[i]
                seen["f"], seen["new"] = f, new
                return new.view_as(value)
            return value

        names = [site.hook_name, *(one.hook_name for one in later)]
        hooks = [(name, lambda value, hook, name=name: write(name, value)) for name in names]
        with subject.bridge.hooks(fwd_hooks=hooks):
            logits = subject.bridge(tokens, return_type="logits")
        return logits.flatten(0, 1).log_softmax(-1), seen

    total = 0.0
    with torch.no_grad():
        original, clean = passed(0, False)
    for i, member in enumerate(stack.members):
        new, seen = passed(i, True)
        total = total + member.sparsity / site.d_in * seen["f"].sum(-1).mean()
        x = clean[site.hook_name].flatten(2)
        total = total + objective.reconstruction * F.mse_loss(seen["new"], x)
        total = total + objective.kl * F.kl_div(new, original, log_target=True, reduction="batchmean")
        for one in later:
            error = F.mse_loss(seen[one.hook_name], clean[one.hook_name])
            total = total + objective.downstream / len(later) * error
    return total


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("where", "layer"), [("resid_pre", 1), ("resid_post", 0), ("mlp_out", 1), ("attn_z", 0), ("mlp_post", 1)]
)
def test_normalised_relu_under_every_objective_matches_whole_model_autograd(exact, tokens, pieces, kind, where, layer):
    site, objective = exact.site(where, layer), KINDS[kind]
    stack = made(site)
    plain = plain_loss(exact, tokens, site, stack, objective)
    plain.backward()
    expected = {name: p.grad.clone() for name, p in stack.named_parameters()}
    gradients = Reference(exact, tokens, site).step_gradients(stack, objective)
    assert gradients.total.sum().item() == pytest.approx(plain.item(), rel=1e-9)
    for name, parameter in stack.named_parameters():
        assert torch.allclose(parameter.grad, expected[name], rtol=1e-7, atol=1e-11), name
    assert all(p.grad is None for p in exact.bridge.parameters())


# Every architecture under every objective, against whole passes of the model and autograd through all of it -------------


def shaken(architecture, site, dtype=torch.float64, **options):
    """A stack of three whose every parameter is off its starting value."""
    members = tuple(Member(seed, k if "topk" in architecture else 0.3 * k) for seed, k in enumerate((4, 7, 2)))
    stack = build(architecture, site.d_in, 48, members, dtype=dtype, **options)
    generator = torch.Generator().manual_seed(4)
    for parameter in stack.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
    stack.init_bias(torch.randn(200, site.d_in, generator=generator, dtype=torch.float64).to(dtype))
    return stack


DEAD = torch.zeros(3, 48, dtype=torch.bool)
DEAD[0, :9] = DEAD[2, 30] = DEAD[2, 41] = True


def whole_model_loss(subject, tokens, site, stack, objective):
    """O(xhat) + c P per member [S]: one pass of the model for each, whole logits; c by the architecture's own equation."""
    later = [subject.site("resid_pre", layer) for layer in range(site.layer + 1, 3)]
    seen = {}

    def passed(new=None):
        def write(name, value):
            seen[name] = value if new is None or name != site.hook_name else new.view_as(value)
            return seen[name]

        names_ = [site.hook_name, *(one.hook_name for one in later)]
        hooks = [(name, lambda value, hook, name=name: write(name, value)) for name in names_]
        with subject.bridge.hooks(fwd_hooks=hooks):
            logits = subject.bridge(tokens, return_type="logits")
        return logits.flatten(0, 1).log_softmax(-1), dict(seen)

    with torch.no_grad():
        original, clean = passed()
    x = clean[site.hook_name].flatten(0, 1)
    z, mean, spread = x, torch.zeros(()), torch.ones((), dtype=x.dtype)
    if stack.per_token:
        mean, spread = x.mean(-1, keepdim=True), x.std(-1, keepdim=True) + 1e-5
        z = (x - mean) / spread
    xhats = stack.decode(stack.encode(z)) * spread + mean  # before the loss, after which BatchTopK has a threshold
    own = stack.loss(z, DEAD).terms
    # The own loss' reconstruction term is a sum over D, a mean over D, or a sum over the variance.
    units = {"normalised_relu": 1.0}
    c = stack.variance / site.d_in if isinstance(stack, TopK) else units.get(stack.architecture, 1 / site.d_in)
    totals = sum(c * spread.square().mean() * term for name, term in own.items() if name != "reconstruction")
    totals = totals + torch.zeros(3, dtype=x.dtype)
    extra = []
    for xhat in xhats:
        predictions, reached = passed(xhat)
        value = objective.reconstruction * F.mse_loss(xhat, x)
        value = value + objective.kl * F.kl_div(predictions, original, log_target=True, reduction="batchmean")
        for one in later:
            error = F.mse_loss(reached[one.hook_name], clean[one.hook_name])
            value = value + objective.downstream / len(later) * error
        extra.append(value)
    return totals + torch.stack(extra)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("architecture", names())
def test_every_architecture_works_under_every_objective(exact, tokens, pieces, architecture, per_token, kind):
    site, objective = exact.site("resid_pre", 1), KINDS[kind]
    stack = shaken(architecture, site, per_token=per_token)
    plain = whole_model_loss(exact, tokens, site, stack, objective)
    expected = torch.autograd.grad(plain.sum(), list(stack.parameters()))
    for parameter in stack.parameters():
        parameter.grad = torch.full_like(parameter, float("nan"))  # whatever was there must be overwritten
    losses = Reference(exact, tokens, site).step_gradients(stack, objective, DEAD)
    assert torch.allclose(losses.total, plain, rtol=1e-9) and not losses.total.requires_grad
    for (name, parameter), gradient in zip(stack.named_parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, rtol=1e-7, atol=1e-11), name


@pytest.mark.parametrize("architecture", names())
def test_local_objective_is_the_own_loss_in_other_units(exact, tokens, architecture):
    """So that lambda means the same: the gradients differ by the factor c alone."""
    site = exact.site("resid_pre", 1)
    stack, reference = shaken(architecture, site), Reference(exact, tokens, site)
    stack.step_gradients(reference.x, DEAD)
    own = {name: p.grad.clone() for name, p in stack.named_parameters()}
    reference.step_gradients(stack, KINDS["local"], DEAD)
    for name, parameter in stack.named_parameters():
        assert torch.allclose(parameter.grad, own[name] * stack.error_unit() / site.d_in, rtol=1e-7, atol=1e-12), name


def test_dead_latents_reach_auxk_under_an_objective(small_subject, rows):
    site = small_subject.site("resid_pre", 1)
    training = TrainConfig(lr=3e-3, tokens=2560, batch=64, beta1=0.9, resample_at=(), dead_share=0.1)
    state = TrainState(build("topk", 32, 256, (Member(0, 2), Member(1, 2))), training, KINDS["e2e"])
    train(RowBuffer(small_subject, site, rows, 64), [state])
    assert state.dead.any(1).all()
    (reference,) = RowBuffer(small_subject, site, rows, 64).batches(40, 41)
    terms = reference.step_gradients(state.stack, KINDS["e2e"], state.dead).terms
    assert set(terms) == {"kl", "auxiliary"} and (terms["auxiliary"] > 0).all()
    assert reference.step_gradients(state.stack, KINDS["e2e"]).terms["auxiliary"].abs().max() == 0
    assert state.history[-1]["loss"] < state.history[0]["loss"]


class Largest(TorchDispatchMode):
    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        self.numel = max([self.numel, *(t.numel() for t in tree_leaves(out) if isinstance(t, torch.Tensor))])
        return out


def test_logits_never_exist_whole_and_lower_blocks_run_once(small_subject, tokens, monkeypatch):
    monkeypatch.setitem(unembedding.CHUNK, "cpu", (32, 50))
    site = small_subject.site("resid_pre", 2)
    stack = made(site, torch.float32)
    lowest, ran, z = small_subject.forward.model.blocks[0].attention, [], blocks.Attention.z

    def counted(self, x):
        ran.append(self is lowest)
        return z(self, x)

    monkeypatch.setattr(blocks.Attention, "z", counted)
    with Largest() as largest:
        reference = Reference(small_subject, tokens, site)
        reference.step_gradients(stack, KINDS["e2e"])
    assert sum(ran) == 1 < len(ran)
    attention = 3 * len(tokens) * 4 * 32 * 32  # scores of three members and four heads
    assert largest.numel <= max(attention, 32 * 300) < 3 * tokens.numel() * 300


@pytest.mark.parametrize("kind", ["e2e", "e2e+ds"])
@pytest.mark.parametrize("site", [("resid_pre", 1), ("mlp_out", 0), ("attn_z", 0)])
def test_rounded_blocks_leave_terms_and_gradients_close(small_subject, tokens, monkeypatch, kind, site):
    monkeypatch.setattr(objectives, "_WIDE", 32)
    monkeypatch.setenv("SAEBOOK_PRECISION", "bf16")
    place, rounded = small_subject.site(*site), objectives.rounded(small_subject)
    whole, short = (Reference(small_subject, tokens, place, one) for one in (None, rounded))
    assert short.x.dtype == torch.float32 and 0 < (short.x - whole.x).norm() < 0.02 * whole.x.norm()
    noise = torch.randn(3, *whole.x.shape, generator=torch.Generator().manual_seed(5)) * whole.x.std()
    (terms, exact), (others, close) = (objectives.pull(one.x + 0.5 * noise, one, KINDS[kind]) for one in (whole, short))
    for name, term in terms.items():
        assert torch.allclose(others[name], term, rtol=0.05)
    assert close.dtype == torch.float32 and not torch.equal(close, exact)
    assert torch.cosine_similarity(close.flatten(), exact.flatten(), 0) > 0.99
    same = objectives.pull(short.x[None], short, KINDS[kind])[0]
    assert all(abs(float(term)) < 1e-6 for term in same.values())  # both passes are rounded alike


@pytest.mark.parametrize(
    ("width", "precision", "rounds"), [(33, "bf16", False), (32, "fp32", False), (32, "bf16", True)]
)
def test_only_a_wide_model_in_training_is_rounded(small_subject, rows, monkeypatch, width, precision, rounds):
    monkeypatch.setattr(objectives, "_WIDE", width)
    monkeypatch.setenv("SAEBOOK_PRECISION", precision)
    site = small_subject.site("resid_pre", 1)
    source = RowBuffer(small_subject, site, rows, 64)
    assert (source.blocks is not None) == rounds
    (batch,) = source.batches(0, 1)
    own = small_subject.activations(batch.tokens, site).flatten(0, 1)
    assert torch.equal(batch.x, own) != rounds
    assert torch.equal(source.sample(64), batch.x)
    assert torch.equal(Reference(small_subject, batch.tokens, site).x, own)  # as chapters measure, always


def test_downstream_term_needs_a_later_position(small_subject, tokens):
    site = small_subject.site("resid_pre", 2)
    with pytest.raises(UserError, match="earlier layer"):
        Reference(small_subject, tokens, site).step_gradients(made(site, torch.float32), KINDS["e2e+ds"])


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).integers(0, 300, (41, 32)).astype(np.uint16)


def test_row_buffer_keeps_rows_whole_and_visits_each_once_a_pass(small_subject, rows):
    site = small_subject.site("resid_pre", 1)
    source = RowBuffer(small_subject, site, rows, 64)
    batches = list(source.batches(0, 40))
    for pass_ in (batches[:20], batches[20:]):
        seen = torch.cat([one.tokens for one in pass_])
        assert len({tuple(row.tolist()) for row in seen}) == 40
    assert not torch.equal(batches[0].tokens, batches[20].tokens)
    again = next(RowBuffer(small_subject, site, rows, 64).batches(7, 8))
    assert torch.equal(again.tokens, batches[7].tokens) and torch.equal(again.x, batches[7].x)
    assert source.sample(100).shape == (128, 32)
    for batch in (65, 32 * 42):
        with pytest.raises(UserError, match="rows"):
            RowBuffer(small_subject, site, rows, batch)


def test_gradients_are_clipped_per_member(small_subject):
    site = small_subject.site("resid_pre", 1)
    state = TrainState(made(site, torch.float32), TRAINING, KINDS["e2e"])
    sizes = (0.1, 5.0, 0.001)
    for parameter in state.stack.parameters():
        parameter.grad = torch.stack([torch.full(parameter.shape[1:], size) for size in sizes])
    before = [p.grad.clone() for p in state.stack.parameters()]
    state.adam._clip(10.0)
    norms = [torch.cat([p.grad[i].flatten() for p in state.stack.parameters()]).norm().item() for i in range(3)]
    assert norms[1] == pytest.approx(10.0, rel=1e-5) and max(norms[0], norms[2]) < 10.0
    for old, parameter in zip(before, state.stack.parameters(), strict=True):
        assert torch.equal(parameter.grad[0], old[0]) and torch.equal(parameter.grad[2], old[2])


def test_cosine_schedule_ends_at_its_share_of_the_peak():
    rates = [TRAINING.rate(step) / TRAINING.lr for step in range(TRAINING.steps + 1)]
    assert rates[0] == 1.0 and rates[-1] == pytest.approx(0.1) and rates == sorted(rates, reverse=True)
    assert rates[5] == pytest.approx(0.1 + 0.9 * (1 + np.cos(np.pi * 4 / 9)) / 2)


def test_objective_run_resumes_bit_equal_and_stack_equals_its_members(small_subject, rows, tmp_path):
    site = small_subject.site("resid_pre", 1)

    def states(members=MEMBERS):
        return [TrainState(build("normalised_relu", 32, 48, members), TRAINING, KINDS[kind]) for kind in KINDS]

    whole, cut = states(), states()
    train(RowBuffer(small_subject, site, rows, 64), whole)
    checkpoint = Checkpoint(tmp_path / "half.pt")

    class Stop(Exception):
        pass

    class Cut(RowBuffer):
        def batches(self, start, steps):
            for step, batch in enumerate(super().batches(start, steps), start):
                if step == 5:
                    raise Stop
                yield batch

    with pytest.raises(Stop):
        train(Cut(small_subject, site, rows, 64), cut, checkpoint, save_every=0.0)
    cut = states()
    train(RowBuffer(small_subject, site, rows, 64), cut, checkpoint)
    for a, b in zip(whole, cut, strict=True):
        assert all(torch.equal(p, q) for p, q in zip(a.stack.parameters(), b.stack.parameters(), strict=True))
        assert a.history[-1]["loss"] < a.history[0]["loss"]
    alone = states(MEMBERS[1:2])
    train(RowBuffer(small_subject, site, rows, 64), alone)
    for a, b in zip(whole, alone, strict=True):
        assert torch.allclose(a.stack.W_dec[1], b.stack.W_dec[0], atol=2e-5)


def test_sweep_of_objectives_is_stored_and_refuses_mixtures(small_subject, text_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "cache"))
    site = small_subject.site("resid_pre", 1)
    data = Data(source=f"folder:{text_folder}", eval_rows=8, skip=0)
    methods = [Method("normalised_relu", 48, (0.5, 2.0), TRAINING, (), kind, KINDS[kind]) for kind in KINDS]
    result = sweep(small_subject, site, methods, [0, 1], data, Store(tmp_path / "runs"))
    table = result.table
    assert result.trained == 12 and set(table.method) == set(KINDS) and table.key.nunique() == 12
    assert sweep(small_subject, site, methods, [0, 1], data, Store(tmp_path / "runs")).trained == 0
    plain = Method("relu", 48, (0.5,), TRAINING)
    with pytest.raises(UserError, match="apart"):
        runs(small_subject, site, [*methods, plain], [0], data)
    with pytest.raises(UserError, match="no position skipped"):
        runs(small_subject, site, methods, [0], Data(source=data.source, skip=1))


def test_massive_positions_count_in_no_downstream_error(exact, tokens):
    """The twin leaves them out by hand; a position that is just within the limit counts."""
    x = torch.tensor([[3.0, 4.0], [0.0, 5.0], [0.0, 50.0], [0.0, 50.1]], dtype=torch.float64)
    assert objectives.typical(x[:3], 10.0).tolist() == [1, 1, 1]
    assert objectives.typical(torch.cat([x, x[:2]]), 10.0).tolist() == [1, 1, 1, 0, 1, 1]
    assert objectives.typical(x, None) is None

    site, weight = exact.site("resid_pre", 0), Objective(downstream=1.5, massive=1.02)
    reference = Reference(exact, tokens, site)
    xhat = reference.x + 0.1 * torch.randn(2, *reference.x.shape, generator=torch.Generator().manual_seed(5)).double()
    terms, gradient = objectives.pull(xhat, reference, weight)
    errors = []
    _, clean = reference.intervene.onwards(reference.activations, reference.later_sites)
    for new in xhat:
        _, later = reference.intervene.onwards(new.view_as(reference.activations), reference.later_sites)
        of_sites = []
        for a, b in zip(later, clean, strict=True):
            length = b.norm(dim=-1)
            kept = length <= 1.02 * length.flatten().median()
            assert 0 < kept.sum() < kept.numel()
            of_sites.append((a - b)[kept].square().mean())
        errors.append(1.5 * torch.stack(of_sites).mean())
    assert torch.allclose(terms["downstream"], torch.stack(errors))
    (plain, _), whole = objectives.pull(xhat, reference, Objective(downstream=1.5)), terms["downstream"]
    assert not torch.allclose(plain["downstream"], whole) and gradient.shape == xhat.shape
    with pytest.raises(UserError, match="massive must be"):
        Objective(downstream=1.0, massive=0.5)
