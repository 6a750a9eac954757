"""The step for a GPU, run uncaptured on a CPU: it trains as `TrainState` does, waits for nothing, and its shapes never change.

No test here has seen a GPU: capture and replay are written for one, and not checked.
"""

import importlib.util
import io
import os

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from saebook.sae.base import Member
from saebook.sae.kernels import plain
from saebook.sae.registry import build, names
from saebook.training import graphed
from saebook.training.config import Objective
from saebook.training.graphed import GraphedState
from saebook.training.loop import TrainConfig, TrainState, train
from saebook.training.objectives import Reference

D_IN, D_SAE, BATCH, STEPS = 12, 40, 32, 60


def training(**changed):
    given = {"lr": 3e-3, "tokens": STEPS * BATCH, "batch": BATCH, "resample_at": (0.5,), "dead_share": 0.1}
    return TrainConfig(**given | changed)


def stack(kind, dtype=torch.float64, sparsities=(2.0, 1.0, 4.0), **options):
    members = tuple(Member(seed, sparsity) for seed, sparsity in enumerate(sparsities))
    return build(kind, D_IN, D_SAE, members, dtype=dtype, **options)


def batches(dtype=torch.float64):
    """Few directions and a mean that is not zero, so that some latents die."""
    generator = torch.Generator().manual_seed(5)
    directions = torch.randn(10, D_IN, generator=generator, dtype=torch.float64)
    active = torch.rand(STEPS, BATCH, 10, generator=generator) < 0.2
    strength = torch.rand(STEPS, BATCH, 10, generator=generator, dtype=torch.float64)
    return ((active * strength) @ directions + 0.3).to(dtype)


def run(state, dtype=torch.float64):
    """A whole run: the biases' start, every step, and resampling where the configuration has it."""
    data = batches(dtype).to(state.stack.W_dec.device)
    sample = data[:20].flatten(0, 1)
    state.stack.init_bias(state.stack.prepare(sample)[0])
    dead = []
    for step, batch in enumerate(data):
        if step in state.training.resample_steps():
            state.resample(sample, step, seed=3)
        state.step(batch, step)
        dead.append(int(state.dead.sum()))
    return dead


def assert_same_run(mine, theirs, **tolerance):
    for name, value in theirs.stack.state_dict().items():
        torch.testing.assert_close(mine.stack.state_dict()[name], value, **tolerance)
    assert torch.equal(mine.silent, theirs.silent) and torch.equal(mine.dead, theirs.dead)
    assert [entry["step"] for entry in mine.history] == [entry["step"] for entry in theirs.history]
    for one, other in zip(mine.history, theirs.history, strict=True):
        for name in ("loss", "l0", "dead"):
            assert one[name] == pytest.approx(other[name], rel=1e-6), name


CASES = [(kind, {}, {}) for kind in names()] + [
    ("relu", {"clip_norm": 0.5}, {}),
    ("relu", {"beta1": 0.9, "cosine_to": 0.1}, {}),
    ("gated", {"clip_norm": 0.5, "beta1": 0.9}, {}),
    ("normalised_relu", {"clip_norm": 0.1}, {}),
    ("relu", {}, {"per_token": True}),
    ("topk", {"clip_norm": 0.05}, {"k_aux": 4}),
    ("topk", {"resample_at": ()}, {"k_aux": 30, "aux_weight": 0.5}),
    ("topk", {"beta1": 0.9}, {"aux_weight": 0.0}),
]


@pytest.mark.parametrize(("kind", "changed", "options"), CASES)
def test_a_whole_run_is_that_of_train_state(kind, changed, options):
    tolerance = {"rtol": 1e-7, "atol": 1e-9}
    reference = TrainState(stack(kind, **options), training(**changed), compiled=False)
    dead = run(reference)
    dense = GraphedState(stack(kind, **options), training(**changed))
    run(dense)
    assert_same_run(dense, reference, **tolerance)
    if kind == "topk":
        assert max(dead) > 0, "AuxK has something to revive"
        sparse = GraphedState(stack(kind, **options), training(**changed), entries=True)
        run(sparse)
        assert_same_run(sparse, reference, **tolerance)
    if changed.get("clip_norm"):
        free = GraphedState(stack(kind, **options), training(**{**changed, "clip_norm": None}))
        run(free)
        assert not torch.allclose(free.stack.W_enc, dense.stack.W_enc, rtol=1e-3), "clipping changes the run"


class Batches:
    """`batches` as the buffer that `train` takes."""

    batch, seed = BATCH, 3

    def sample(self, count):
        return batches().flatten(0, 1)[:count]

    def batches(self, start, steps):
        return iter(batches()[start:steps])


@pytest.mark.parametrize("kind", ["gated", "topk"])
def test_the_training_loop_takes_it_for_a_train_state(kind):
    mine, theirs = (
        GraphedState(stack(kind), training(), entries=True),
        TrainState(stack(kind), training(), compiled=False),
    )
    train(Batches(), [mine])
    train(Batches(), [theirs])
    assert mine.resampled == STEPS // 2
    assert_same_run(mine, theirs, rtol=1e-7, atol=1e-9)


def test_resampling_changes_the_run_that_is_compared():
    with_it, without = GraphedState(stack("relu"), training()), GraphedState(stack("relu"), training(resample_at=()))
    run(with_it)
    run(without)
    assert with_it.resampled == STEPS // 2 and without.resampled is None
    assert not torch.allclose(with_it.stack.W_dec, without.stack.W_dec, rtol=1e-3)


@pytest.mark.parametrize("kind", ["gated", "topk"])
def test_members_in_parts_train_as_together(kind, monkeypatch):
    together = GraphedState(stack(kind), training(), entries=True)
    run(together)
    monkeypatch.setattr(graphed, "_LATENTS", 2 * BATCH * D_SAE)
    parts = GraphedState(stack(kind), training(), entries=True)
    assert [part.members for part in parts._parts] == [slice(0, 2), slice(2, 3)]
    run(parts)
    assert_same_run(parts, together, rtol=1e-9, atol=1e-12)


def test_fixed_parameters_stay_at_zero():
    state = GraphedState(stack("gated"), training(), fixed=("b_mag",))
    run(state)
    assert state.stack.b_mag.abs().max() == 0 and state.stack.b_gate.abs().max() > 0


@pytest.mark.parametrize("kind", ["relu", "topk"])
def test_a_restored_run_goes_on_bit_by_bit_in_the_same_tensors(kind):
    data = batches()
    whole = GraphedState(stack(kind), training(beta1=0.9), entries=True)
    kept = None
    for step, batch in enumerate(data):
        if step == 33:
            kept = torch.load(_saved(whole.state()), weights_only=True)
        whole.step(batch, step)
    again = GraphedState(stack(kind), training(beta1=0.9), entries=True)
    places = [t.data_ptr() for t in (*again.stack.parameters(), again.silent, again.dead)]
    again.restore(kept)
    assert places == [t.data_ptr() for t in (*again.stack.parameters(), again.silent, again.dead)]
    for step in range(33, STEPS):
        again.step(data[step], step)
    assert again.history == whole.history
    assert all(torch.equal(a, b) for a, b in zip(again.stack.parameters(), whole.stack.parameters(), strict=True))


def _saved(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file


@pytest.mark.parametrize("kind", ["relu", "gated", "topk"])
def test_bfloat16_products_train_to_the_same_quality_from_single_precision_weights(kind):
    """Not the same run: products are rounded to eight bits. Its losses are those of single precision to some percent."""
    states = [
        GraphedState(stack(kind, torch.float32), training(), precision=precision, entries=True)
        for precision in ("fp32", "bf16")
    ]
    for state in states:
        run(state, torch.float32)
    exact, rounded = states
    assert all(p.dtype == torch.float32 for p in rounded.stack.parameters())
    assert not torch.equal(exact.stack.W_enc, rounded.stack.W_enc)
    assert rounded.history[-1]["loss"] == pytest.approx(exact.history[-1]["loss"], rel=0.05)
    assert (rounded.stack.W_dec.norm(dim=-1) - 1).abs().max() < 1e-6


@pytest.mark.skipif(
    not importlib.util.find_spec("triton"), reason="Triton is not installed: pip install triton==3.7.1 (Linux)"
)
@pytest.mark.parametrize("changed", [{}, {"clip_norm": 0.05}])
def test_triton_kernels_take_the_same_steps(changed):
    """Three steps, by Triton's interpreter, with dead latents from the start.

    Adam's `eps` is large: with the usual one a gradient of zero up to rounding moves a weight as far as any other.
    """
    from saebook.sae.kernels import triton_entries

    states = []
    for kernels in (plain, triton_entries):
        state = GraphedState(
            stack("topk", torch.float32, (2.0, 4.0), k_aux=4), training(eps=1e-3, **changed), entries=True
        )
        state.kernels = kernels
        state.silent[:, :7] = 10_000
        for step in range(3):
            state.step(batches(torch.float32)[step], step)
        states.append(state)
    assert states[0].dead.any()
    for name, value in states[0].stack.state_dict().items():
        torch.testing.assert_close(states[1].stack.state_dict()[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["relu", "topk", "normalised_relu"])
def test_an_objective_trains_as_by_train_state(small_subject, kind):
    """Gradients come from the language model, for the whole stack; the update is that of this module."""
    site, steps = small_subject.site("resid_post", 0), 4
    tokens = torch.randint(300, (steps, 2, 32), generator=torch.Generator().manual_seed(0))
    config = TrainConfig(lr=3e-3, tokens=steps * 64, batch=64, clip_norm=0.1, eps=1e-3, resample_at=())
    states = []
    for state_type, options in ((TrainState, {"compiled": False}), (GraphedState, {})):
        sae = build(kind, 32, 48, (Member(0, 2), Member(1, 4)))
        state = state_type(sae, config, Objective(kl=1.0, reconstruction=0.5), **options)
        for step in range(steps):
            state.step(Reference(small_subject, tokens[step], site), step)
        states.append(state)
    assert_same_run(states[1], states[0], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(states[1].stack.W_enc, build(kind, 32, 48, sae.members).W_enc, atol=1e-5)


@pytest.mark.skipif(
    not torch.cuda.is_available() or os.environ["TRITON_INTERPRET"] == "1", reason="needs a GPU, and TRITON_INTERPRET=0"
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["relu", "gated", "topk"])
def test_a_captured_run_is_the_uncaptured_one(kind, precision):
    states = []
    for captured in (True, False):
        sae = stack(kind, torch.float32).to("cuda")
        states.append(GraphedState(sae, training(eps=1e-3), precision=precision, captured=captured))
        run(states[-1], torch.float32)
    assert states[0]._graph is not None and states[1]._graph is None
    for one, other in zip(*(state.history for state in states), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)


# Nothing in the step waits, and no shape depends on the data ----------------------------------------------------------

# Operators that wait for the device, bring data from the host, or make shapes of data. `index` and `index_put_` with a mask do too.
FORBIDDEN = {
    "_local_scalar_dense", "item", "nonzero", "nonzero_static", "masked_select", "unique_dim", "_unique", "_unique2",
    "unique_consecutive", "unique_dim_consecutive", "bincount", "repeat_interleave", "lift_fresh", "equal",
    "is_nonzero", "_assert_async", "allclose", "histc",
}  # fmt: skip


class Watch(TorchDispatchMode):
    """Records every operator with the shapes that it returns, and what it must not do in `wrong`."""

    def __init__(self, device):
        super().__init__()
        self.device, self.calls, self.wrong = device, [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        given = [t for t in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        made = [t for t in torch.utils._pytree.tree_leaves(out) if isinstance(t, torch.Tensor)]
        if name in FORBIDDEN:
            self.wrong.append(name)
        if name.startswith("index") and any(t.dtype == torch.bool for t in given[1:]) and name != "index_fill_":
            self.wrong.append(f"{name} with a mask")
        if any(t.device.type != self.device for t in given + made):
            self.wrong.append(f"{name} on another device")
        self.calls.append((name, *(tuple(t.shape) for t in made)))
        return out


def watched(state, device="cpu"):
    with Watch(device) as watch:
        state._step_body()
    return watch


KINDS = [(kind, False) for kind in names()] + [("topk", True)]


@pytest.mark.parametrize("clip_norm", [None, 0.1])
@pytest.mark.parametrize(("kind", "entries"), KINDS)
def test_the_step_waits_for_nothing_and_its_shapes_do_not_depend_on_the_data(kind, entries, clip_norm):
    state = GraphedState(stack(kind), training(clip_norm=clip_norm), entries=entries, fixed=("b_dec",))
    state.step(batches()[0], 0)  # constants are made in the first step
    first = watched(state)
    state.silent[:, ::3] = 10_000
    state._number.fill_(16)
    state._input.mul_(-5.0)
    second = watched(state)
    assert state.dead.any()
    assert first.wrong == second.wrong == [] and len(first.calls) > 20
    assert first.calls == second.calls


@pytest.mark.parametrize(("kind", "entries"), KINDS)
def test_everything_in_the_step_is_on_its_device(kind, entries):
    """On PyTorch's device without data, on which anything that reads a number fails, and with no tensor of another device."""
    state = GraphedState(stack(kind).to("meta"), training(clip_norm=0.1), entries=entries)
    state._step_body()
    assert watched(state, "meta").wrong == []


def test_the_watch_notices_what_it_is_there_for():
    x, mask = torch.ones(4), torch.tensor([True, False, True, True])
    for wrong in (lambda: x.sum().item(), lambda: mask.nonzero(), lambda: x[mask], lambda: torch.tensor([1.0, 2.0])):
        with Watch("cpu") as watch:
            wrong()
        assert watch.wrong
    with Watch("meta") as watch:
        x.to("meta")
    assert watch.wrong == ["_to_copy on another device"]


def test_train_state_would_not_pass_the_watch():
    state = TrainState(stack("topk"), training(), compiled=False)
    with Watch("cpu") as watch:
        state.step(batches()[0], 0)
    assert watch.wrong
