"""Training on a GPU: a step of all members together that has static shapes and never waits, captured as a CUDA graph.

`GraphedState` is `TrainState` with another step. Which latents are dead is a mask, rates are read from a table on the device,
losses are left there until they are read. Products are bfloat16 with single precision sums, weights and moments; what else
multiplies matrices may use TF32. TopK works on padded entries by Triton kernels (`sae.kernels.padded`); every other
architecture takes its own `loss` through autograd with dense products, because how many latents of a token are active is not
known before. A CPU runs the same step uncaptured, and so it is tested. It has not run on a GPU yet.
"""

import contextlib
import functools
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from saebook.sae.base import SAEStack
from saebook.sae.kernels import plain
from saebook.sae.kernels.padded import topk_gradients
from saebook.sae.kernels.plain import Adam, Matrices
from saebook.sae.kernels.products import Products
from saebook.sae.losses import Losses
from saebook.training.loop import DEAD_EVERY, Text, TrainState

if TYPE_CHECKING:
    from saebook.sae.topk import TopK

_LATENTS = 2**28  # [s, B, M] of the members that go through a step together: 1 GiB in single precision
_WARM = 3  # steps before the capture: libraries choose their kernels and Triton compiles its own in them


@dataclass
class _Part:
    """Some members that go through a step together. All tensors are views of the whole stack's."""

    members: slice
    stack: SAEStack
    matrices: Matrices
    moments: dict[str, tuple[Tensor, Tensor]]


@dataclass
class GraphedState(TrainState):
    """`TrainState` for a GPU. With `captured` false its steps are launched one kernel at a time.

    `entries` says whether TopK works on padded entries, by default where Triton runs on the device. A stack under an
    objective trains in single precision and is not captured: its batches go through the language model. Raises
    `UserError` as `TrainState` does.
    """

    captured: bool = True
    entries: bool | None = None
    kernels: ModuleType = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        t, stack = self.training, self.stack
        self.compiled = False
        W = stack.W_dec
        triton_runs = W.device.type == "cuda" and importlib.util.find_spec("triton") is not None
        self.kernels = _triton_kernels() if triton_runs and W.dtype == torch.float32 else plain
        if self.entries is None:
            self.entries = self.kernels is not plain
        at_once = max(1, _LATENTS // (t.batch * stack.d_sae))
        self._parts = [self._part(i, i + at_once) for i in range(0, len(stack.members), at_once)]
        self._products = Products(self.precision)
        self._number = torch.zeros(1, dtype=torch.long, device=W.device)
        self._rates, self._rated = torch.empty(t.steps, 3, dtype=W.dtype, device=W.device), (False, None)
        self._input = torch.empty(t.batch, stack.d_in, dtype=W.dtype, device=W.device)
        self._reading = torch.zeros(
            3, len(stack.members), dtype=W.dtype, device=W.device
        )  # loss, L0, share of dead latents
        self._graph: torch.cuda.CUDAGraph | None = None
        self._launched = 0

    def _part(self, first: int, last: int) -> _Part:
        members = slice(first, min(last, len(self.stack.members)))
        part, with_first = self.stack.part(members), self.training.beta1 > 0
        moments = {name: (m[members], v[members]) for name, (m, v) in self.adam.moments.items()}
        (m_dec, v_dec), (m_enc, v_enc) = moments["W_dec"], moments["W_enc"]
        matrices = Matrices(
            part.W_dec.detach(), _rows(part.W_enc.detach()),
            m_dec if with_first else None, _rows(m_enc) if with_first else None, v_dec, _rows(v_enc),
        )  # fmt: skip
        return _Part(members, part, matrices, moments)

    # The interface of `TrainState` ------------------------------------------------------------------------------------

    @torch.no_grad()
    def steps(self, batches: Sequence[Tensor | Text], first: int) -> None:
        for step, batch in enumerate(batches, first):
            self._write_rates()
            self._number.fill_(step)  # a number travels with the launch: nothing is copied from the host
            if isinstance(batch, Tensor):
                self._input.copy_(batch, non_blocking=True)
                self._launch()
            else:
                self._end_to_end_step(batch)
            self._add_to_average(slice(None))
            if self._is_read(step):
                loss, l0, dead = self._reading.tolist()
                self.history.append({"step": step, "loss": loss, "l0": l0, "dead": dead})

    def restore(self, state: dict) -> None:
        silent, dead = self.silent, self.dead
        super().restore(state)
        self.silent, self.dead = (
            silent.copy_(self.silent),
            dead.copy_(self.dead),
        )  # a graph knows tensors by their places

    def _write_rates(self) -> None:
        """Into `_rates` [steps, 3]: what `Adam.scales` holds at each step, and whether to look up which latents are dead."""
        if self._rated == (True, self.resampled):
            return
        t, rows = self.training, []
        for step in range(t.steps):
            rate = self._rate(step)
            first, second = 1 - t.beta1**rate.step, 1 - t.beta2**rate.step
            rows.append((rate.lr / first, second**-0.5, float(step % DEAD_EVERY == 0)))
        self._rates.copy_(torch.tensor(rows, dtype=torch.float64))
        self._rated = True, self.resampled

    # Capture ----------------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        """Run the step: some times as it is, on a stream of its own, then as a graph."""
        if self._input.device.type != "cuda" or not self.captured:
            self._step_body()
            return
        if self._graph is None and self._launched < _WARM:
            here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
            aside.wait_stream(here)
            with torch.cuda.stream(aside):
                self._step_body()
            here.wait_stream(aside)
            self._launched += 1
            return
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            # Another thread may copy the next batch meanwhile (`prefetch`): that is no part of the graph, and no error.
            with torch.cuda.graph(self._graph, pool=_pool(), capture_error_mode="thread_local"):
                self._step_body()
        self._graph.replay()

    # The step: nothing in it may wait for the device or have a shape that depends on the data -------------------------

    @torch.no_grad()
    def _step_body(self) -> None:
        """One step on `_input`, of every member."""
        adam = self._begin()
        with _tf32(self.precision == "bf16"):
            z = self.stack.prepare(self._input)[0]
            for part in self._parts:
                self._end(part, self._part_step(part, z, adam))

    def _end_to_end_step(self, batch: Text) -> None:
        """One step under an objective, from gradients that were taken for the whole stack."""
        assert self.objective is not None
        losses = batch.step_gradients(self.stack, self.objective, self.dead)
        adam = self._begin()
        for part in self._parts:
            m, gradients = part.members, {}
            for name, parameter in self.stack.named_parameters():
                assert parameter.grad is not None
                gradients[name] = parameter.grad[m]
            self._update(part, gradients, adam)
            self._end(part, Losses(losses.total[m], {}, losses.l0[m], losses.fired[m]))

    def _begin(self) -> Adam:
        """Look up the dead latents, if it is time, and this step's rates."""
        t = self.training
        *_, looks = row = self._rates.index_select(0, self._number)[0].unbind()
        self.dead.copy_(torch.where(looks > 0, self.silent > t.dead_share * t.tokens, self.dead))
        return Adam(t.beta1, t.beta2, t.eps, torch.stack(row[:2]))

    def _part_step(self, part: _Part, z: Tensor, adam: Adam) -> Losses:
        """Gradients and update of `part`, for prepared inputs `z` [B, D]."""
        stack, dead = part.stack, self.dead[part.members]
        if self.entries and stack.architecture == "topk":
            sparse = topk_gradients(cast("TopK", stack), z, dead, self.kernels, self._products)
            if self.training.clip_norm:
                d_dec, d_enc = self.kernels.gradients(sparse.entries, stack.d_sae)
                self._update(part, {"W_dec": d_dec, "W_enc": d_enc.transpose(1, 2), **sparse.vectors}, adam)
            else:
                self._update(part, sparse.vectors, adam)
                self.kernels.fused_step(part.matrices, adam, sparse.entries, stack.unit_rows, stack.unit_rows)
            return sparse.losses
        parameters = dict(stack.named_parameters())
        with torch.enable_grad(), self._products:
            losses = stack.loss(z, dead)
            taken = torch.autograd.grad(
                losses.total.sum(), list(parameters.values()), materialize_grads=True, allow_unused=True
            )
        self._update(part, dict(zip(parameters, taken, strict=True)), adam)
        return losses.detached()

    def _update(self, part: _Part, gradients: dict[str, Tensor], adam: Adam) -> None:
        """Projection, clipping and Adam of the parameters that `gradients` names; renormalisation of the decoder's rows."""
        stack, factors = part.stack, None
        project = stack.unit_rows
        if self.training.clip_norm:
            if project:  # the norm is that of the projected gradient
                gradients["W_dec"] = _projected(gradients["W_dec"], stack.W_dec)
                project = False
            norms = functools.reduce(torch.add, (g.flatten(1).square().sum(1) for g in gradients.values())).sqrt()
            factors = (self.training.clip_norm / norms.clamp_min(1e-12)).clamp_max(1.0)
        for name, gradient in gradients.items():
            if name in ("W_dec", "W_enc"):
                continue
            if factors is not None:
                gradient = gradient * factors.view(-1, *[1] * (gradient.ndim - 1))
            first, second = part.moments[name]
            adam.apply(getattr(stack, name).detach(), gradient, first if adam.beta1 > 0 else None, second)
        if "W_dec" in gradients:
            d_dec, d_enc = gradients["W_dec"], _rows(gradients["W_enc"])
            self.kernels.step(part.matrices, adam, d_dec, d_enc, factors, project, stack.unit_rows)

    def _end(self, part: _Part, losses: Losses) -> None:
        """Hold what is fixed at zero, count silence, and leave what may be read."""
        for name in self.fixed:
            getattr(part.stack, name).detach().zero_()
        silent = self.silent[part.members]
        silent.add_(self.training.batch).masked_fill_(losses.fired, 0)
        for row, value in zip(self._reading, (losses.total, losses.l0, self._dead_share(silent)), strict=True):
            row[part.members].copy_(value)


def _triton_kernels() -> ModuleType:
    from saebook.sae.kernels import triton_entries  # Triton exists for Linux only, and takes its time to import

    return triton_entries


def _rows(columns: Tensor) -> Tensor:
    """[S, M, D] of a tensor [S, D, M] that lies in memory latent by latent."""
    return columns.transpose(1, 2)


def _projected(gradient: Tensor, W: Tensor) -> Tensor:
    along = (gradient * W).sum(-1, keepdim=True) / W.square().sum(-1, keepdim=True)
    return gradient - along * W


@functools.cache
def _pool() -> Any:
    """One pool of memory for all graphs: they run one after the other, and keep nothing in it from step to step."""
    return torch.cuda.graph_pool_handle()


@contextlib.contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    """Products of single precision in TF32 or not, whatever the process has set."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
