"""The one training loop: a single pass of the subject feeds every SAE of a sweep.

A batch is a function of the buffer and its number alone, so a killed run goes on from its checkpoint and ends at the very
numbers of an undisturbed one. Letters: B tokens in a batch, D d_in, M d_sae, S members.
"""

import functools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from saebook.common.errors import UserError
from saebook.common.progress import bar
from saebook.sae.base import Losses, SAEStack, geometric_median
from saebook.training import objectives
from saebook.training.checkpoint import Checkpoint
from saebook.training.config import Objective, TrainConfig
from saebook.training.objectives import Reference

_LOG_EVERY = 20  # steps between two readings of the losses: each reading waits for the device
_DEAD_EVERY = 16  # steps between two looks at which latents are dead: each waits for the device
_SCORED = 8192  # activations whose loss decides what a dead latent is pointed at


class Buffer(Protocol):
    """The interface of the batches for `train`; `training.buffers` has two implementations."""

    batch: int
    seed: int

    def sample(self, count: int) -> Tensor:
        """About `count` activations [n, D] for initialisation and resampling."""
        ...

    def batches(self, start: int, steps: int) -> Iterator[Tensor] | Iterator[Reference]:
        """Batches number `start` to `steps`: activations [B, D], or whole rows of text."""
        ...


@dataclass
class TrainState:
    """One stack in training: its optimiser, and how long each latent has been silent.

    Without an `objective` the stack's own loss is taken, on activations; with one, each batch is a `Reference`. Parameters
    named in `fixed` are held at zero. Raises `UserError` for a `fixed` parameter that the stack does not have.
    """

    stack: SAEStack
    training: TrainConfig
    objective: Objective | None = None
    name: str = ""
    fixed: tuple[str, ...] = ()
    optimiser: torch.optim.Optimizer = field(init=False)
    silent: Tensor = field(init=False)  # [S, M] tokens since a latent last fired
    dead: list[Tensor] = field(init=False)  # latents [n] of each member that AuxK is to revive
    resampled: int | None = None
    history: list[dict] = field(default_factory=list)

    def __post_init__(self) -> None:
        t = self.training
        parameters = list(self.stack.parameters())
        for name in set(self.fixed) - set(dict(self.stack.named_parameters())):
            raise UserError(f"{self.stack.architecture} has no parameter {name} to hold at zero")
        self.optimiser = torch.optim.Adam(parameters, lr=t.lr, betas=(t.beta1, t.beta2), eps=t.eps, fused=True)
        shape = (len(self.stack.members), self.stack.d_sae)
        self.silent = torch.zeros(shape, dtype=torch.long, device=parameters[0].device)
        self.dead = [self.silent.new_empty(0) for _ in self.stack.members]

    def step(self, batch: Tensor | Reference, step: int) -> None:
        """One step on a batch: gradients, projection, Adam, renormalisation (Bricken's order)."""
        t = self.training
        self._hold_fixed()
        self.optimiser.param_groups[0]["lr"] = t.rate(step, self.resampled)
        if step % _DEAD_EVERY == 0:
            self.dead = [row.nonzero().flatten() for row in self.silent > t.dead_share * t.tokens]
        losses = self._gradients(batch)
        self.stack.constrain_gradient()
        if t.clip_norm:
            self._clip(t.clip_norm)
        self.optimiser.step()
        self.stack.constrain_weights()
        self._hold_fixed()
        self.silent = torch.where(losses.fired, 0, self.silent + t.batch)
        if step % _LOG_EVERY == 0 or step == t.steps - 1:
            dead = (self.silent > t.dead_share * t.tokens).float().mean(1)
            read = {"loss": losses.total, "l0": losses.l0, "dead": dead}
            self.history.append({"step": step, **{name: value.tolist() for name, value in read.items()}})

    @torch.no_grad()
    def _hold_fixed(self) -> None:
        for name in self.fixed:
            getattr(self.stack, name).zero_()

    def _gradients(self, batch: Tensor | Reference) -> Losses:
        if isinstance(batch, Reference):
            assert self.objective is not None
            return objectives.step_gradients(self.stack, batch, self.objective, self.dead)
        return self.stack.step_gradients(self.stack.prepare(batch)[0], self.dead)

    @torch.no_grad()
    def _clip(self, most: float) -> None:
        """Each member's gradient by itself: a stack must not couple its members."""
        gradients = [p.grad for p in self.stack.parameters() if p.grad is not None]
        norms = functools.reduce(torch.add, (g.flatten(1).square().sum(1) for g in gradients)).sqrt()
        factors = (most / norms.clamp_min(1e-12)).clamp_max(1.0)
        for g in gradients:
            g.mul_(factors.view(-1, *[1] * (g.ndim - 1)))

    def resample(self, x: Tensor, step: int, seed: int) -> None:
        """Give every latent that was silent for `dead_share` of the run a new direction (Bricken's recipe).

        `x` [n, D] are activations to choose from, by their squared loss.
        """
        dead, x = self.silent >= self.training.dead_share * self.training.tokens, self.stack.prepare(x)[0]
        for i, member in enumerate(self.stack.members):
            latents = dead[i].nonzero().flatten()
            if not len(latents):
                continue
            with torch.no_grad():  # one after the other: the latents of all members together take gigabytes
                error2 = (self.stack.member(i).reconstruct(x)[0] - x).square().sum(-1)
            chance = error2.double().square().cpu().numpy()
            rng = np.random.default_rng([seed, member.seed, step])
            drawn = rng.choice(len(x), len(latents), p=chance / chance.sum())
            self.stack.resample(i, latents, x[torch.from_numpy(drawn).to(x.device)])
            for name, axis in self.stack.latent_slices().items():
                moments = self.optimiser.state.get(getattr(self.stack, name), {})
                for key in ("exp_avg", "exp_avg_sq"):
                    if key in moments:
                        moments[key][i].index_fill_(axis - 1, latents, 0.0)
            self.silent[i, latents] = 0
        self.resampled = step

    def state(self) -> dict:
        """Everything that a checkpoint must keep."""
        return {
            "stack": self.stack.state_dict(), "optimiser": self.optimiser.state_dict(), "silent": self.silent, "dead": self.dead,
            "resampled": self.resampled, "history": self.history,
        }  # fmt: skip

    def restore(self, state: dict) -> None:
        """Go back to a `state`."""
        self.stack.load_state_dict(state["stack"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.silent, self.dead = state["silent"], state["dead"]
        self.resampled, self.history = state["resampled"], state["history"]


def train(
    buffer: Buffer,
    states: Sequence[TrainState],
    checkpoint: Checkpoint | None = None,
    save_every: float = 30.0,
) -> None:
    """Train every stack to its end on one buffer, in place. All have the same number of steps and batch size.

    With a `checkpoint`, state is kept every `save_every` seconds and a killed run goes on from there, bit-equal.
    Raises `UserError` when a loss is not finite, naming the stack.
    """
    steps = {state.training.steps for state in states}
    if len(steps) != 1 or {state.training.batch for state in states} != {buffer.batch}:
        raise UserError("stacks that share a buffer need the same tokens and batch size")
    total, start = steps.pop(), 0
    kept = checkpoint.load() if checkpoint else None
    if kept is None:
        _init_biases(states, buffer.sample(32_768))
    else:
        start = kept["step"]
        for state, before in zip(states, kept["jobs"], strict=True):
            state.restore(before)
    saved = time.monotonic()
    count = sum(len(state.stack.members) for state in states)
    with bar(total * buffer.batch, f"training {count} SAEs", "token", initial=start * buffer.batch) as progress:
        for step, batch in enumerate(buffer.batches(start, total), start):
            for state in states:
                if step in state.training.resample_steps():
                    state.resample(buffer.sample(_SCORED), step, buffer.seed)
                state.step(batch, step)
            progress.update(buffer.batch)
            if step % _LOG_EVERY == 0:
                progress.set_postfix_str(_summary(states))
            if checkpoint and step + 1 < total and time.monotonic() - saved > save_every:
                checkpoint.save({"step": step + 1, "jobs": [state.state() for state in states]})
                saved = time.monotonic()


def _init_biases(states: Sequence[TrainState], sample: Tensor) -> None:
    """Start every stack at the geometric median of the activations as it takes them, sought once for all that take the same."""
    starts: dict[bool, tuple[Tensor, Tensor]] = {}
    for state in states:
        if state.stack.per_token not in starts:
            x = state.stack.prepare(sample)[0]
            starts[state.stack.per_token] = x, geometric_median(x)
        state.stack.init_bias(*starts[state.stack.per_token])


def _summary(states: Sequence[TrainState]) -> str:
    parts = []
    for state in states:
        last, name = state.history[-1], state.name or type(state.stack).__name__
        if not all(map(math.isfinite, last["loss"])):
            raise UserError(f"the loss of {name} is not finite at step {last['step']}: lower its lr")
        mean_loss = sum(last["loss"]) / len(last["loss"])
        parts.append(f"{name} loss {mean_loss:.3g} L0 {sum(last['l0']) / len(last['l0']):.1f}")
    return ", ".join(parts)
