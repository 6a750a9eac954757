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
from saebook.sae.base import SAEStack, geometric_median
from saebook.sae.kernels import threads
from saebook.sae.kernels.active import Source
from saebook.sae.kernels.precision import Precision
from saebook.sae.losses import Losses, MemberGradients
from saebook.training.adam import Adam, Rate
from saebook.training.checkpoint import Checkpoint
from saebook.training.config import Objective, TrainConfig

_LOG_EVERY = 20  # steps between two readings of the losses: each reading waits for the device
DEAD_EVERY = 16  # steps between two looks at which latents are dead: each waits for the device
_SCORED, _SCORED_AT_ONCE = 8192, 512  # activations whose loss decides what a dead latent is pointed at


class Text(Protocol):
    """A batch that is whole rows of text, for objectives that look past the site: `training.objectives` has the implementation."""

    def step_gradients(self, stack: SAEStack, objective: Objective, dead: Tensor | None = None) -> Losses:
        """Gradients of the objective for every member of `stack` into `.grad`."""
        ...


class Buffer(Protocol):
    """The interface of the batches for `train`: of `training.buffers`, and of `training.objectives` for whole rows."""

    batch: int
    seed: int

    def sample(self, count: int) -> Tensor:
        """About `count` activations [n, D] for initialisation and resampling."""
        ...

    def batches(self, start: int, steps: int) -> Iterator[Tensor] | Iterator[Text]:
        """Batches number `start` to `steps`: activations [B, D], or whole rows of text."""
        ...


@dataclass
class TrainState:
    """One stack in training: its optimiser, and how long each latent has been silent.

    Without an `objective` the stack's own loss is taken, on activations; with one, each batch is a `Text`. Parameters
    named in `fixed` are held at zero. `precision` is that of products (`sae.kernels.precision`). `compiled` says whether
    steps go through `sae.kernels`, which need a CPU; plain PyTorch is the alternative. Raises `UserError` for a `fixed`
    parameter that the stack does not have.
    """

    stack: SAEStack
    training: TrainConfig
    objective: Objective | None = None
    name: str = ""
    fixed: tuple[str, ...] = ()
    precision: Precision = "fp32"
    compiled: bool = True
    adam: Adam = field(init=False)
    silent: Tensor = field(init=False)  # [S, M] tokens since a latent last fired
    dead: Tensor = field(init=False)  # [S, M] the latents that AuxK is to revive
    average: dict[str, Tensor] = field(init=False)  # of each parameter over the steps, from zero; empty without it
    resampled: int | None = None
    history: list[dict] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in set(self.fixed) - set(dict(self.stack.named_parameters())):
            raise UserError(f"{self.stack.architecture} has no parameter {name} to hold at zero")
        self.stack.precision = self.precision
        self.compiled = self.compiled and self.stack.W_enc.device.type == "cpu"
        self.adam = Adam(self.stack)
        shape = (len(self.stack.members), self.stack.d_sae)
        self.silent = torch.zeros(shape, dtype=torch.long, device=self.stack.W_enc.device)
        self.dead = torch.zeros_like(self.silent, dtype=torch.bool)
        averaged = self.stack.named_parameters() if self.training.weight_average else ()
        self.average = {name: torch.zeros_like(p, requires_grad=False) for name, p in averaged}
        self._hold_fixed(slice(None))

    @torch.no_grad()
    def steps(self, batches: Sequence[Tensor | Text], first: int) -> None:
        """Steps `first` and following, one a batch: gradients, projection, Adam, renormalisation (Bricken's order).

        Only the first of them may be a multiple of `DEAD_EVERY`, at which the dead latents are looked up. Where the loss is
        of the site alone, each member takes all steps before the next begins: its weights stay in the cache.
        """
        if first % DEAD_EVERY == 0:
            self.dead = self.silent > self.training.dead_share * self.training.tokens
        if self.compiled and self.stack.has_own_gradients() and isinstance(batches[0], Tensor):
            inputs = [self.stack.prepare(batch)[0] for batch in batches if isinstance(batch, Tensor)]
            with threads.resting():
                members = threads.each(lambda i: self._member_steps(i, inputs, first), range(len(self.stack.members)))
            readings = {step: [member[step] for member in members] for step in members[0]}
        else:
            readings = {step: self._step(batch, step) for step, batch in enumerate(batches, first)}
        for step in filter(self._is_read, readings):
            loss, l0, dead = zip(*readings[step], strict=True)
            read = {"loss": loss, "l0": l0, "dead": dead}
            self.history.append({"step": step, **{name: [float(one) for one in value] for name, value in read.items()}})

    def step(self, batch: Tensor | Text, step: int) -> None:
        """One step on a batch."""
        self.steps([batch], step)

    @torch.no_grad()
    def _member_steps(self, i: int, inputs: Sequence[Tensor], first: int) -> dict[int, tuple[Tensor, Tensor, Tensor]]:
        """All `steps` of member i; loss, L0 and share of dead latents at those that are read."""
        readings, dead = {}, self.dead[i] if bool(self.dead[i].any()) else None
        for step, z in enumerate(inputs, first):
            gradients = self.stack.member_gradients(i, z, dead)
            self.adam.member(i, gradients, self._rate(step), self.training.clip_norm)
            self._hold_fixed(i)
            self._add_to_average(i)
            self.silent[i].add_(self.training.batch).masked_fill_(gradients.fired, 0)
            if self._is_read(step):
                total = functools.reduce(torch.add, gradients.terms.values())
                readings[step] = total, gradients.l0(len(z)), self._dead_share(self.silent[i])
        return readings

    def _step(self, batch: Tensor | Text, step: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """One step of all members together; loss, L0 and share of dead latents of each."""
        losses = self._gradients(batch)
        if self.compiled:
            threads.each(lambda i: self._member_update(i, step), range(len(self.stack.members)))
        else:
            self.adam.stack(self._rate(step), self.training.clip_norm)
        self._hold_fixed(slice(None))
        self._add_to_average(slice(None))
        self.silent.add_(self.training.batch).masked_fill_(losses.fired, 0)
        if not self._is_read(step):
            return []
        return list(zip(losses.total, losses.l0, self._dead_share(self.silent), strict=True))

    def _member_update(self, i: int, step: int) -> None:
        """Adam on member i by what `.grad` holds."""
        matrices: dict[str, Tensor | list[Source]] = {}
        vectors = {}
        for name, parameter in self.stack.named_parameters():
            assert parameter.grad is not None
            if name in self.stack.latent_slices() and parameter.ndim == 3:
                matrices[name] = self.stack.latent_rows(parameter.grad[i], name)
            else:
                vectors[name] = parameter.grad[i]
        gradients = MemberGradients({}, self.silent.new_empty(0), matrices, vectors)
        self.adam.member(i, gradients, self._rate(step), self.training.clip_norm)

    def _rate(self, step: int) -> Rate:
        t = self.training
        return Rate(t.rate(step, self.resampled), step + 1, t.beta1, t.beta2, t.eps)

    def _is_read(self, step: int) -> bool:
        return step % _LOG_EVERY == 0 or step == self.training.steps - 1

    def _dead_share(self, silent: Tensor) -> Tensor:
        return (silent > self.training.dead_share * self.training.tokens).float().mean(-1)

    @torch.no_grad()
    def _hold_fixed(self, members: int | slice) -> None:
        for name in self.fixed:
            getattr(self.stack, name)[members].zero_()

    @torch.no_grad()
    def _add_to_average(self, members: int | slice) -> None:
        for name, average in self.average.items():
            decay = self.training.weight_average
            assert decay is not None
            average[members].lerp_(getattr(self.stack, name)[members], 1 - decay)

    @torch.no_grad()
    def take_average(self) -> None:
        """After the last step: the weights become their average, which began at zero and is corrected for it as Adam's are.

        Without `weight_average` nothing changes. Decoder rows are left as they come out, a little shorter than one: to
        lengthen them would change reconstructions.
        """
        for name, average in self.average.items():
            decay = self.training.weight_average
            assert decay is not None
            getattr(self.stack, name).copy_(average / (1 - decay**self.training.steps))

    def _gradients(self, batch: Tensor | Text) -> Losses:
        if not isinstance(batch, Tensor):
            assert self.objective is not None
            return batch.step_gradients(self.stack, self.objective, self.dead)
        z = self.stack.prepare(batch)[0]
        return (self.stack.step_gradients if self.compiled else self.stack.plain_gradients)(z, self.dead)

    def resample(self, x: Tensor, step: int, seed: int) -> None:
        """Give every latent that was silent for `dead_share` of the run a new direction (Bricken's recipe).

        `x` [n, D] are activations to choose from, by their squared loss.
        """
        dead, x = self.silent >= self.training.dead_share * self.training.tokens, self.stack.prepare(x)[0]

        def of_member(i: int) -> None:
            latents = dead[i].nonzero().flatten()
            if not len(latents):
                return
            chance = self._losses(i, x).double().square().cpu().numpy()
            rng = np.random.default_rng([seed, self.stack.members[i].seed, step])
            drawn = rng.choice(len(x), len(latents), p=chance / chance.sum())
            self.stack.resample(i, latents, x[torch.from_numpy(drawn).to(x.device)])
            self.adam.forget(i, latents)
            self.silent[i, latents] = 0

        threads.each(of_member, range(len(self.stack.members)))
        self.resampled = step

    @torch.no_grad()
    def _losses(self, i: int, x: Tensor) -> Tensor:
        """Member i's squared error of each of `x` [n, D]; few at a time, so that their latents stay in the cache."""
        single = self.stack.part(slice(i, i + 1))
        return torch.cat([(single.reconstruct(few)[0] - few).square().sum(-1) for few in x.split(_SCORED_AT_ONCE)])

    def state(self) -> dict:
        """Everything that a checkpoint must keep."""
        return {
            "stack": self.stack.state_dict(), "adam": self.adam.state(), "silent": self.silent, "dead": self.dead,
            "resampled": self.resampled, "history": self.history, "average": self.average,
        }  # fmt: skip

    def restore(self, state: dict) -> None:
        """Go back to a `state`."""
        self.stack.load_state_dict(state["stack"])
        self.adam.restore(state["adam"])
        self.silent, self.dead = state["silent"], state["dead"]
        self.resampled, self.history, self.average = state["resampled"], state["history"], state["average"]


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
        for step, batches in _blocks(buffer.batches(start, total), start, states):
            for state in states:
                if step in state.training.resample_steps():
                    state.resample(buffer.sample(_SCORED), step, buffer.seed)
                state.steps(batches, step)
            progress.update(buffer.batch * len(batches))
            progress.set_postfix_str(_summary(states))
            done = step + len(batches)
            if checkpoint and done < total and time.monotonic() - saved > save_every:
                checkpoint.save({"step": done, "jobs": [state.state() for state in states]})
                saved = time.monotonic()
    for state in states:
        state.take_average()


def _blocks(
    batches: Iterator[Tensor] | Iterator[Text], start: int, states: Sequence[TrainState]
) -> Iterator[tuple[int, list[Tensor] | list[Text]]]:
    """`batches`, the first of number `start`, in blocks of those that a state may take at one call, each with its first number.

    A block ends before a step that resamples or that looks up which latents are dead. A `Text` holds the rows' whole
    way through the model and goes alone.
    """
    resampled = {step for state in states for step in state.training.resample_steps()}
    first, block = start, []
    for step, batch in enumerate(batches, start):
        if block and (not isinstance(batch, Tensor) or step % DEAD_EVERY == 0 or step in resampled):
            yield first, block
            first, block = step, []
        block.append(batch)
    yield first, block


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
