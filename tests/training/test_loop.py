"""The training loop: its batches, resuming after a kill, and sweeps that equal their parts."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from saebook.common.errors import UserError
from saebook.sae.base import Member
from saebook.sae.kernels import threads
from saebook.sae.registry import build
from saebook.training.buffers import ActivationBuffer
from saebook.training.checkpoint import Checkpoint
from saebook.training.loop import TrainConfig, TrainState, _init_biases, train
from saebook.training.store import Store
from saebook.training.sweep import Data, Method, histories, sweep

TRAINING = TrainConfig(lr=3e-3, tokens=2560, batch=64, resample_at=(0.5,), dead_share=0.1)


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).integers(0, 300, (40, 32)).astype(np.uint16)


@pytest.fixture(scope="module")
def site(small_subject):
    return small_subject.site("resid_post", 0)


def buffer(small_subject, site, rows, **options):
    return ActivationBuffer(small_subject, site, rows, batch=64, block=16, skip=1, **options)


def states(*kinds, sparsities=(0.5, 2.0)):
    members = tuple(Member(seed, sparsity) for seed, sparsity in enumerate(sparsities))
    return [TrainState(build(kind, 32, 48, members), TRAINING) for kind in kinds]


def test_training_lowers_the_loss(small_subject, site, rows):
    group = states("relu", "gated")
    train(buffer(small_subject, site, rows), group)
    for state in group:
        first, last = state.history[0]["loss"], state.history[-1]["loss"]
        assert all(b < 0.8 * a for a, b in zip(first, last, strict=True))
        assert state.history[-1]["step"] == TRAINING.steps - 1
        assert torch.allclose(state.stack.W_dec.norm(dim=-1), torch.ones(2, 48), atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["relu", "gated", "gated_untied", "topk"])
def test_one_sae_learns_the_same_on_two_threads(kind, precision, monkeypatch):
    monkeypatch.setattr(threads, "_WAKING", 1e-9)  # so that every loop is shared, however short
    batches = list(torch.randn(12, 64, 32, generator=torch.Generator().manual_seed(0)))
    before, weights = torch.get_num_threads(), []
    for count in (1, 2):
        state = TrainState(build(kind, 32, 48, (Member(0, 4.0),)), TRAINING, precision=precision)
        try:
            torch.set_num_threads(count)
            state.steps(batches, 0)
            assert torch.get_num_threads() == count
        finally:
            torch.set_num_threads(before)
        weights.append(state.stack.W_enc.detach())
    assert (
        torch.allclose(*weights, rtol=1e-3, atol=1e-5)
        and (weights[0] - build(kind, 32, 48, (Member(0, 4.0),)).W_enc).norm() > 0.1
    )


def test_training_together_equals_training_apart(small_subject, site, rows):
    together = states("relu", "gated")
    train(buffer(small_subject, site, rows), together)
    for number, kind in enumerate(("relu", "gated")):
        (alone,) = states(kind)
        train(buffer(small_subject, site, rows), [alone])
        for name, value in alone.stack.state_dict().items():
            assert torch.equal(value, together[number].stack.state_dict()[name]), (kind, name)


class Killed(Exception):
    pass


def test_checkpoint_resume_is_bit_equal(small_subject, site, rows, tmp_path, monkeypatch):
    whole = states("gated", "topk", sparsities=(2, 4))
    train(buffer(small_subject, site, rows), whole)
    for cut in (3, 20, 32):  # blocks begin at 0, 16, 20 (resampling) and 32
        checkpoint = Store(tmp_path / str(cut)).checkpoint("run")
        cut_off = states("gated", "topk", sparsities=(2, 4))
        plain_steps = TrainState.steps

        def steps(self, batches, first, cut=cut, plain_steps=plain_steps):
            if first >= cut:
                raise Killed
            plain_steps(self, batches, first)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(TrainState, "steps", steps)
            train(buffer(small_subject, site, rows), cut_off, checkpoint, save_every=0.0)
        resumed = states("gated", "topk", sparsities=(2, 4))
        train(buffer(small_subject, site, rows), resumed, checkpoint, save_every=0.0)
        for a, b in zip(whole, resumed, strict=True):
            assert a.history == b.history
            for name, value in a.stack.state_dict().items():
                assert torch.equal(value, b.stack.state_dict()[name]), (cut, name)


def test_resampled_latents_get_fresh_optimiser_moments(small_subject, site, rows):
    (state,) = states("relu")
    source = buffer(small_subject, site, rows)
    x = source.sample(400)
    for step in range(3):
        state.step(x[step * 64 : step * 64 + 64], step)
    state.silent[1, 7] = 10_000
    before = state.stack.W_dec[1].clone()
    state.resample(x, 20, seed=0)
    _, moments = state.adam.moments["W_enc"]
    assert moments[1, :, 7].abs().max() == 0 and moments[0, :, 7].abs().max() > 0
    changed = (state.stack.W_dec[1] != before).any(1).nonzero().flatten().tolist()
    assert changed == [7] and state.silent[1, 7] == 0
    direction = x @ state.stack.W_dec[1, 7].detach() / x.norm(dim=1)
    assert direction.max() == pytest.approx(1.0, abs=1e-4)


def test_rate_warms_up_decays_and_rewarms_after_resampling():
    t = TrainConfig(lr=1.0, tokens=1000, batch=1)
    assert t.rate(0) < 0.05 and t.rate(500) == 1.0 and 0 < t.rate(999) < 0.01
    assert t.rate(500, resampled=500) == pytest.approx(0.1)
    assert t.rate(525, resampled=500) == pytest.approx(0.55, abs=0.01)
    assert t.rate(560, resampled=500) == 1.0


def test_non_finite_loss_names_the_stack(small_subject, site, rows):
    (state,) = states("relu")
    with torch.no_grad():
        state.stack.b_enc += float("nan")
    with pytest.raises(UserError, match="ReLU is not finite"):
        train(buffer(small_subject, site, rows), [state])


def test_sweep_is_stored_and_each_run_equals_the_run_trained_alone(
    small_subject, site, text_folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "cache"))
    method = Method("gated", 48, (0.5, 2.0), TRAINING)
    data = Data(source=f"folder:{text_folder}", eval_rows=2, block=16)
    result = sweep(small_subject, site, [method], [0, 1], data, Store(tmp_path / "a"))
    grid = result.table
    assert result.trained == 4
    assert len(grid) == 4 and grid.l0.between(0, 48).all() and grid.loss_recovered.notna().all()
    alone = sweep(small_subject, site, [Method("gated", 48, (2.0,), TRAINING)], [1], data, Store(tmp_path / "b")).table
    assert alone.iloc[0].to_dict() == grid[(grid.sparsity == 2.0) & (grid.seed == 1)].iloc[0].to_dict()

    def never(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr("saebook.training.sweep.train_and_measure", never)
    again = sweep(small_subject, site, [method], [0, 1], data, Store(tmp_path / "a"))
    assert again.table.equals(grid) and again.trained == 0
    with pytest.raises(UserError, match="nothing to train"):
        sweep(small_subject, site, [method], [], data, Store(tmp_path / "a"))


_SCRIPT = """
import sys, numpy as np, torch
from saebook.sae.registry import build
from saebook.sae.base import Member
from saebook.training.store import Store
from saebook.subject.model import Subject
from saebook.training.buffers import ActivationBuffer
from saebook.training.checkpoint import Checkpoint
from saebook.training.loop import TrainConfig, TrainState, train
torch.set_num_threads(1)
folder, store, out = sys.argv[1:]
subject = Subject.load(folder, device="cpu")
rows = np.random.default_rng(0).integers(0, 300, (40, 32)).astype(np.uint16)
buffer = ActivationBuffer(subject, subject.site("resid_post", 0), rows, batch=64, block=16)
state = TrainState(build("gated", 32, 48, (Member(0, 1.0),)), TrainConfig(lr=3e-3, tokens=64 * 600, batch=64))
plain = TrainState.steps
def steps(self, batches, first):
    print(first, flush=True)
    plain(self, batches, first)
TrainState.steps = steps
train(buffer, [state], Store(__import__("pathlib").Path(store)).checkpoint("run"), save_every=0.05)
torch.save(state.stack.state_dict(), out)
"""


def test_run_killed_by_sigkill_resumes_bit_equal(small_subject_folder, tmp_path):
    def command(name):
        return [
            sys.executable,
            "-c",
            _SCRIPT,
            str(small_subject_folder),
            str(tmp_path / name),
            str(tmp_path / f"{name}.pt"),
        ]

    process = subprocess.Popen(command("killed"), stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if int(line) >= 250:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    assert (tmp_path / "killed" / "checkpoints" / "run.pt").is_file()
    again = subprocess.run(command("killed"), capture_output=True, text=True, check=True)
    assert 0 < int(again.stdout.split()[0]) <= 256
    subprocess.run(command("whole"), capture_output=True, check=True)
    killed, whole = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("killed", "whole"))
    assert all(torch.equal(killed[name], whole[name]) for name in whole)


def test_histories_return_loss_and_dead_share_per_run(small_subject, site, tmp_path, text_folder, monkeypatch):
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "cache"))
    training = TrainConfig(lr=3e-3, tokens=4096, batch=64, dead_share=0.2)
    methods = [
        Method("topk", 256, (2,), training, options=(("aux_weight", 0.0),), name="without"),
        Method("topk", 256, (2,), training, name="with"),
    ]
    store = Store(tmp_path / "runs")
    table = sweep(
        small_subject, site, methods, [0, 1], Data(source=f"folder:{text_folder}", eval_rows=8, block=16), store
    ).table
    assert list(table.method) == ["without", "without", "with", "with"] and table.key.nunique() == 4
    curves = histories(table, store)
    assert set(curves) >= {"method", "seed", "step", "loss", "l0", "dead"} and curves.dead.between(0, 1).all()
    first, last = (curves[curves.step == step] for step in (curves.step.min(), curves.step.max()))
    assert (first.dead == 0).all() and (last.dead > 0).any()


def test_init_biases_equals_init_bias_of_each_stack():
    """The median is sought once for all that take activations alike, and a stack that normalises tokens has its own."""
    x = 3 + torch.randn(500, 8, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.5, 3, 8)
    kinds = [("relu", {}), ("topk", {}), ("relu", {"per_token": True}), ("topk", {"per_token": True})]
    training = TrainConfig(lr=1e-3, tokens=512, batch=128)
    made = [build(kind, 8, 16, (Member(0, 2), Member(1, 2)), **options) for kind, options in kinds]
    _init_biases([TrainState(stack, training) for stack in made], x)
    for (kind, options), stack in zip(kinds, made, strict=True):
        alone = build(kind, 8, 16, (Member(0, 2), Member(1, 2)), **options)
        alone.init_bias(alone.prepare(x)[0])
        assert all(torch.equal(value, stack.state_dict()[name]) for name, value in alone.state_dict().items())
    assert not torch.allclose(made[0].b_dec, made[2].b_dec)


def test_fixed_parameters_stay_at_zero(small_subject, site, rows):
    (state,) = states("gated")
    held = TrainState(build("gated", 32, 48, state.stack.members), TRAINING, fixed=("b_dec",))
    train(buffer(small_subject, site, rows), [held])
    assert held.stack.b_dec.abs().max() == 0 and held.stack.b_mag.abs().max() > 0
    assert held.history[-1]["loss"] < held.history[0]["loss"]
    with pytest.raises(UserError, match="gated has no parameter b_enc"):
        TrainState(state.stack, TRAINING, fixed=("b_enc",))


@pytest.mark.parametrize("kind", ["topk", "prolu_ste"])
@pytest.mark.parametrize("compiled", [True, False])
def test_average_of_the_weights_equals_its_plain_sum(small_subject, site, rows, kind, compiled, tmp_path):
    """sum of (1 - d) d^(T - t) W_t over (1 - d^T), whether the run was interrupted or not."""
    decay, seen = 0.9, []
    training = TrainConfig(lr=3e-3, tokens=1280, batch=64, resample_at=(), weight_average=decay)
    members = (Member(0, 2.0), Member(1, 4.0))
    state = TrainState(build(kind, 32, 48, members), training, compiled=compiled)
    for step, batch in enumerate(buffer(small_subject, site, rows).batches(0, training.steps)):
        state.step(batch, step)
        seen.append({name: p.detach().clone() for name, p in state.stack.named_parameters()})
    last = seen[-1]["W_dec"]
    state.take_average()
    for name, parameter in state.stack.named_parameters():
        total = sum((1 - decay) * decay ** (len(seen) - 1 - t) * one[name] for t, one in enumerate(seen))
        assert torch.allclose(parameter, total / (1 - decay ** len(seen)), atol=1e-6), name
    assert not torch.allclose(state.stack.W_dec, last, atol=1e-4)

    whole = TrainState(build(kind, 32, 48, members), training, compiled=compiled)
    train(buffer(small_subject, site, rows), [whole])
    half = TrainState(build(kind, 32, 48, members), training, compiled=compiled)
    _init_biases([half], buffer(small_subject, site, rows).sample(32_768))
    for step, batch in enumerate(buffer(small_subject, site, rows).batches(0, 10)):
        half.step(batch, step)
    checkpoint = Checkpoint(tmp_path / "half.pt")
    checkpoint.save({"step": 10, "jobs": [half.state()]})
    resumed = TrainState(build(kind, 32, 48, members), training, compiled=compiled)
    train(buffer(small_subject, site, rows), [resumed], checkpoint)
    # Blocks of steps go member by member and single ones do not; the numbers are the same.
    for a, b in zip(whole.stack.parameters(), resumed.stack.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_no_average_leaves_the_last_weights(small_subject, site, rows):
    (state,) = states("topk", sparsities=(2.0, 4.0))
    before = [p.clone() for p in state.stack.parameters()]
    state.take_average()
    assert all(torch.equal(a, b) for a, b in zip(before, state.stack.parameters(), strict=True))
    with pytest.raises(UserError, match="weight_average must be"):
        TrainConfig(lr=1e-3, tokens=64, batch=64, weight_average=1.0)
