"""saebook with its subject: a sweep, an end-to-end step, and evaluation, as the book's chapters call them."""

import os
import tempfile
from typing import Any

import numpy as np
import torch
from libraries.ours import TOKENS, about, precision
from libraries.training import batch_of, quality, raw_start
from transformer_lens import model_bridge  # noqa: F401 - now rather than with the subject: it is no task's memory

from saebook.evaluation.metrics import measure
from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.subject.model import Subject
from saebook.training.buffers import ActivationBuffer
from saebook.training.config import Objective, TrainConfig
from saebook.training.loop import TrainState, train
from saebook.training.objectives import Reference

__all__ = ["EndToEnd", "Evaluation", "Sweep", "about"]


class Sweep:
    """A whole sweep: from rows of text to trained SAEs, one pass of the subject for all of them."""

    def __init__(self, task: dict[str, Any]):
        os.environ["SAEBOOK_PRECISION"] = precision()  # so that no run probes the processor again
        self.task, self.rows, self.subject = task, np.load(task["rows"]), Subject.load(task["subject"])

    def run(self, n: int) -> None:
        for _ in range(n):
            # A cache of its own: activations that an earlier run kept would spare this one its subject.
            with tempfile.TemporaryDirectory() as cache:
                os.environ["SAEBOOK_CACHE"] = cache
                self._sweep()

    def _sweep(self) -> None:
        task = self.task
        members = tuple(Member(seed, penalty) for penalty in task["penalties"] for seed in range(task["seeds"]))
        stack = build(task["kind"], task["d_in"], task["d_sae"], members)
        training = TrainConfig(
            lr=task["lr"], tokens=task["tokens"], batch=task["batch"], beta1=task["beta1"], beta2=task["beta2"]
        )
        rows = self.rows[: task["tokens"] // self.rows.shape[1]]
        buffer = ActivationBuffer(
            self.subject, self.subject.site("resid_post", task["layer"]), rows, task["batch"], block=len(rows)
        )
        train(buffer, [TrainState(stack, training, precision=precision())])
        stack.fold_scale(buffer.scale)
        self.stack = stack

    def report(self) -> dict[str, float]:
        return quality(
            [(one.encode, one.decode) for one in map(self.stack.member, range(len(self.stack.members)))], self.task
        )


class EndToEnd:
    """Steps of one SAE that is judged by the subject's predictions."""

    def __init__(self, task: dict[str, Any]):
        self.rows, self.task = torch.from_numpy(np.load(task["rows"])), task
        self.subject = Subject.load(task["subject"])
        self.site = self.subject.site("resid_pre", task["layer"])
        stack = build("normalised_relu", self.site.d_in, task["d_sae"], (Member(0, task["penalty"]),))
        training = TrainConfig(
            lr=task["lr"],
            tokens=TOKENS,
            batch=task["count"] * self.rows.shape[1],
            beta1=0.9,
            warmup_share=0.0,
            resample_at=(),
        )
        self.state, self.number = TrainState(stack, training, Objective(kl=1.0), precision=precision()), 0

    def run(self, n: int) -> None:
        for _ in range(n):
            tokens = batch_of(self.rows, self.number, self.task["count"])
            self.state.step(Reference(self.subject, tokens, self.site), self.number)
            self.number += 1

    def report(self) -> dict[str, float]:
        stack, tokens = self.state.stack, self.rows[: self.task["count"]]
        reference = Reference(self.subject, tokens, self.site)
        losses = reference.step_gradients(stack, Objective(kl=1.0))
        return {"kl": float(losses.terms["kl"][0]), "l0": float(losses.l0[0])}


class Evaluation:
    """All metrics of a stack of SAEs on validation rows."""

    def __init__(self, task: dict[str, Any]):
        self.rows, self.subject = torch.from_numpy(np.load(task["validation"])), Subject.load(task["subject"])
        self.site = self.subject.site("resid_post", task["layer"])
        members = tuple(Member(seed, 1.0) for seed in range(task["members"]))
        self.stack, self.measured = build("relu", task["d_in"], task["d_sae"], members), []
        for i in range(task["members"]):
            start, scale = raw_start(task, i)
            with torch.no_grad():
                self.stack.W_enc[i].copy_(start.W_enc)
                self.stack.W_dec[i].copy_(start.W_dec)
                self.stack.get_parameter("b_enc")[i].copy_(start.bias / scale)
                self.stack.b_dec[i].copy_(start.b_dec / scale)

    def run(self, n: int) -> None:
        for _ in range(n):
            (self.measured,) = measure([self.stack], self.subject, self.site, self.rows)

    def report(self) -> dict[str, float]:
        return {name: sum(one[name] for one in self.measured) / len(self.measured) for name in ("l0", "ce")}
