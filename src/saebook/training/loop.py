"""The one training loop: a single pass of the subject feeds every SAE of a sweep.

A batch is a function of the stream and its number alone, so a run that was killed goes on from its checkpoint and ends at the very
numbers of an undisturbed one. Letters: B tokens in a batch, D d_in, M d_sae, S members.
"""

import math
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from saebook.common.errors import UserError
from saebook.common.progress import bar
from saebook.sae.base import Losses, SAEStack, geometric_median
from saebook.training import objectives
from saebook.training.buffers import ActivationBuffer, RowBuffer
from saebook.training.objectives import Objective, Reference
from saebook.training.store import Checkpoint

_LOG_EVERY = 20  # steps between two readings of the losses: each reading waits for the device
_DEAD_EVERY = 16  # steps between two looks at which latents are dead: each waits for the device
_SCORED = 8192  # activations whose loss decides what a dead latent is reborn as


@dataclass(frozen=True)
class TrainConfig:
    """How one architecture is trained. Rates are of Adam; shares are of all steps.

    `resample_at`: when dead latents of the L1 kinds are reborn (Gated paper, appendix D, after Bricken et al. 2023);
    dead means silent for `dead_share` of all steps. `rewarm_share`: after it the rate climbs again from a tenth.
    `cosine_to`: instead of a constant and a linear decay to zero, a cosine down to this share (e2e paper, appendix D).
    `clip_norm`: the largest norm that the gradient of one SAE may have.
    """

    lr: float
    tokens: int
    batch: int = 1024
    beta1: float = 0.0
    beta2: float = 0.999
    eps: float = 1e-8
    warmup_share: float = 0.05
    decay_share: float = 0.25
    resample_at: tuple[float, ...] = (0.25, 0.5)
    dead_share: float = 0.125
    rewarm_share: float = 0.05
    cosine_to: float | None = None
    clip_norm: float | None = None

    @property
    def steps(self) -> int:
        return self.tokens // self.batch

    def rate(self, step: int, resampled: int | None = None) -> float:
        """Learning rate at `step`; `resampled` is the last step at which latents were reborn."""
        warm = max(1, round(self.warmup_share * self.steps))
        decay = max(1, round(self.decay_share * self.steps))
        share = min(1.0, (step + 1) / warm)
        if self.cosine_to is None:
            share = min(share, (self.steps - step) / decay)
        else:
            done = max(0.0, (step - warm) / max(1, self.steps - warm))
            share *= self.cosine_to + (1 - self.cosine_to) * (1 + math.cos(math.pi * done)) / 2
        if resampled is not None:
            done = min(1.0, (step - resampled) / max(1, round(self.rewarm_share * self.steps)))
            share *= 0.1 + 0.9 * (1 - math.cos(math.pi * done)) / 2
        return self.lr * share

    def resample_steps(self) -> tuple[int, ...]:
        return tuple(round(share * self.steps) for share in self.resample_at)


@dataclass
class TrainState:
    """One stack in training: its optimiser and what is known of each latent.

    Without an `objective` the stack's own loss is taken, on activations; with one, batches are `Reference`s.
    """

    stack: SAEStack
    training: TrainConfig
    objective: Objective | None = None
    name: str = ""
    optimiser: torch.optim.Optimizer = field(init=False)
    silent: Tensor = field(init=False)  # [S, M] tokens since a latent last fired
    dead: list[Tensor] = field(init=False)  # latents [n] of each member that AuxK is to revive
    resampled: int | None = None
    history: list[dict] = field(default_factory=list)

    def __post_init__(self) -> None:
        t = self.training
        parameters = list(self.stack.parameters())
        self.optimiser = torch.optim.Adam(parameters, lr=t.lr, betas=(t.beta1, t.beta2), eps=t.eps, fused=True)
        shape = (len(self.stack.members), self.stack.d_sae)
        self.silent = torch.zeros(shape, dtype=torch.long, device=parameters[0].device)
        self.dead = [self.silent.new_empty(0) for _ in self.stack.members]

    def step(self, batch: Tensor | Reference, step: int) -> None:
        """One step on a batch: gradients, projection, Adam, renormalisation (Bricken's order)."""
        t = self.training
        self.optimiser.param_groups[0]["lr"] = t.rate(step, self.resampled)
        if step % _DEAD_EVERY == 0:
            self.dead = [row.nonzero().flatten() for row in self.silent > t.dead_share * t.tokens]
        losses = self._gradients(batch)
        self.stack.constrain_gradient()
        if t.clip_norm:
            self._clip(t.clip_norm)
        self.optimiser.step()
        self.stack.constrain_weights()
        self.silent = torch.where(losses.fired, 0, self.silent + t.batch)
        if step % _LOG_EVERY == 0 or step == t.steps - 1:
            dead = (self.silent > t.dead_share * t.tokens).float().mean(1)
            read = {"loss": losses.total, "l0": losses.l0, "dead": dead}
            self.history.append({"step": step, **{name: value.tolist() for name, value in read.items()}})

    def _gradients(self, batch: Tensor | Reference) -> Losses:
        if isinstance(batch, Reference):
            return objectives.step_gradients(self.stack, batch, self.objective)
        return self.stack.step_gradients(self.stack.prepare(batch)[0], self.dead)

    @torch.no_grad()
    def _clip(self, most: float) -> None:
        """Each member's gradient by itself: a stack must not couple its members."""
        gradients = [p.grad for p in self.stack.parameters()]
        norms = sum(g.flatten(1).square().sum(1) for g in gradients).sqrt()
        factors = (most / norms.clamp_min(1e-12)).clamp_max(1.0)
        for g in gradients:
            g.mul_(factors.view(-1, *[1] * (g.ndim - 1)))

    def resample(self, x: Tensor, step: int, seed: int) -> None:
        """Give every latent that was silent for `dead_share` of the run a new direction (Bricken's recipe)."""
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
        return {
            "stack": self.stack.state_dict(), "optimiser": self.optimiser.state_dict(), "silent": self.silent, "dead": self.dead,
            "resampled": self.resampled, "history": self.history,
        }  # fmt: skip

    def restore(self, state: dict) -> None:
        self.stack.load_state_dict(state["stack"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.silent, self.dead = state["silent"], state["dead"]
        self.resampled, self.history = state["resampled"], state["history"]


def train(
    stream: ActivationBuffer | RowBuffer,
    jobs: list[TrainState],
    checkpoint: Checkpoint | None = None,
    save_every: float = 30.0,
) -> None:
    """Train every job to its end on one stream, in place. All jobs have the same number of steps and batch size.

    With a `checkpoint`, state is kept every `save_every` seconds and a killed run goes on from there, bit-equal.
    Raises `UserError` when a loss is not finite, naming the stack.
    """
    steps = {job.training.steps for job in jobs}
    if len(steps) != 1 or {job.training.batch for job in jobs} != {stream.batch}:
        raise UserError("stacks that share a stream need the same tokens and batch size")
    total, start = steps.pop(), 0
    state = checkpoint.load() if checkpoint else None
    if state is None:
        _init_biases(jobs, stream.sample(32_768))
    else:
        start = state["step"]
        for job, kept in zip(jobs, state["jobs"], strict=True):
            job.restore(kept)
    saved = time.monotonic()
    count = sum(len(job.stack.members) for job in jobs)
    with bar(total * stream.batch, f"training {count} SAEs", "token", initial=start * stream.batch) as progress:
        for step, batch in enumerate(stream.batches(start, total), start):
            for job in jobs:
                if step in job.training.resample_steps():
                    job.resample(stream.sample(_SCORED), step, stream.seed)
                job.step(batch, step)
            progress.update(stream.batch)
            if step % _LOG_EVERY == 0:
                progress.set_postfix_str(_summary(jobs))
            if checkpoint and step + 1 < total and time.monotonic() - saved > save_every:
                checkpoint.save({"step": step + 1, "jobs": [job.state() for job in jobs]})
                saved = time.monotonic()


def _init_biases(jobs: list[TrainState], sample: Tensor) -> None:
    """Start every stack at the geometric median of the activations as it takes them, sought once for all that take the same."""
    starts: dict[bool, tuple[Tensor, Tensor]] = {}
    for job in jobs:
        if job.stack.per_token not in starts:
            x = job.stack.prepare(sample)[0]
            starts[job.stack.per_token] = x, geometric_median(x)
        job.stack.init_bias(*starts[job.stack.per_token])


def _summary(jobs: list[TrainState]) -> str:
    parts = []
    for job in jobs:
        last, name = job.history[-1], job.name or type(job.stack).__name__
        if not all(map(math.isfinite, last["loss"])):
            raise UserError(f"the loss of {name} is not finite at step {last['step']}: lower its lr")
        mean_loss = sum(last["loss"]) / len(last["loss"])
        parts.append(f"{name} loss {mean_loss:.3g} L0 {sum(last['l0']) / len(last['l0']):.1f}")
    return ", ".join(parts)
