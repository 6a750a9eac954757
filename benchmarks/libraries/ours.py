"""saebook: the steps of `training.loop`, on our batches."""

import contextlib
import importlib.metadata
from typing import Any

import torch
from libraries.training import Batches

from saebook.sae.base import Member
from saebook.sae.kernels import precision as chosen
from saebook.sae.kernels.precision import Precision
from saebook.sae.registry import build
from saebook.training.config import TrainConfig
from saebook.training.loop import DEAD_EVERY, TrainState

with contextlib.suppress(ImportError):
    import numba  # noqa: F401 - here rather than at the first step: memory of a library is not memory of a step

TOKENS = 10**9  # of the run that a timed step belongs to: its rate stays what it is


def about() -> dict[str, str]:
    return {"version": importlib.metadata.version("saebook"), "torch": torch.__version__, "precision": precision()}


def precision() -> Precision:
    """What products are computed in here: by the environment, or by the probe of this processor."""
    return chosen.current()


class Training:
    """Steps of one stack; `members` of it, by default one SAE."""

    def __init__(self, task: dict[str, Any]):
        self.batches = Batches(task)
        start, kind, count = self.batches.start, task["kind"], task.get("members", 1)
        members = tuple(Member(seed, float(task["k"] if kind == "topk" else task["penalty"])) for seed in range(count))
        options = {"k_aux": task["d_in"] // 2} if kind == "topk" else {}
        stack = build(kind, task["d_in"], task["d_sae"], members, **options)
        stack.init_bias(self.batches.held_out)  # TopK's variance; b_dec is set below
        with torch.no_grad():
            stack.W_enc.copy_(start.W_enc.expand_as(stack.W_enc))
            stack.W_dec.copy_(start.W_dec.expand_as(stack.W_dec))
            stack.b_dec.copy_(start.b_dec.expand_as(stack.b_dec))
            for name in ("b_gate", "b_mag") if kind == "gated" else ("b_enc",):
                getattr(stack, name).copy_(start.bias.expand(count, -1))
        dead_after = task.get("dead_after", TOKENS // 8)
        training = TrainConfig(
            lr=task["lr"], tokens=TOKENS, batch=task["batch"], beta1=task.get("beta1", 0.9), warmup_share=0.0,
            decay_share=0.0, resample_at=(), dead_share=dead_after / TOKENS,
        )  # fmt: skip
        self.state, self.number = TrainState(stack, training, precision=precision()), 0
        self.state.silent[:, start.dead] = TOKENS

    def run(self, n: int) -> None:
        while n:  # in blocks that end where dead latents are looked up, as `training.loop.train` takes them
            block = min(n, DEAD_EVERY - self.number % DEAD_EVERY)
            self.state.steps([self.batches.next() for _ in range(block)], self.number)
            self.number, n = self.number + block, n - block

    def report(self) -> dict[str, float]:
        t = self.state.training
        dead = float((self.state.silent[0] > t.dead_share * t.tokens).float().mean())
        return self.batches.report(self._read) | {"dead": dead}

    def _read(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        single = self.state.stack.member(0)
        f = single.encode(x)
        return f[0], single.decode(f)[0]
