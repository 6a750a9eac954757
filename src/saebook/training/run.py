"""Train and measure a group of SAEs: everything between a configuration and a run's numbers.

A run's key covers the source of this module and of all that it imports, so nothing that only stores, names or shows runs
belongs here (`training.sweep`).
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from saebook.evaluation import metrics
from saebook.sae.base import Member, SAEStack
from saebook.sae.kernels import precision
from saebook.subject.model import Site, Subject
from saebook.text.held_out import held_out
from saebook.text.tokens import tokens
from saebook.training.buffers import ActivationBuffer
from saebook.training.checkpoint import Checkpoint
from saebook.training.config import Data, Method
from saebook.training.loop import TrainState, train

ON_CUDA = "saebook.training.graphed"  # imported by name: its source is in the keys of runs on a GPU and in no others
END_TO_END = "saebook.training.objectives"  # likewise, of runs with an objective


@dataclass(frozen=True)
class Trained:
    """Member `index` of a trained `stack`, which takes raw activations; `scale` is what they were multiplied by in training.

    `metrics` as `evaluation.metrics.measure` gives them; `history` has one entry per reading: step, loss, l0, dead.
    """

    stack: SAEStack
    index: int
    scale: float
    metrics: dict
    history: list[dict]


def train_and_measure(
    subject: Subject, site: Site, runs: Sequence[tuple[Method, Member]], data: Data, checkpoint: Checkpoint | None = None,
    compiled: bool = True,
) -> list[Trained]:  # fmt: skip
    """Train `runs` on the same batches and measure each on the validation text, in the order given.

    Runs of one method are one stack. With a `checkpoint`, a killed call goes on from there; clear it when the results are
    safe. `compiled` is as in `TrainState`. Raises `UserError` when a loss is not finite.
    """
    length = data.row_length(subject.context)
    rows = tokens(data.source, subject.tokenizer, "train", length)
    validation = held_out(data.source, subject.tokenizer, length, data.eval_rows, data.eval_part)
    training = runs[0][0].training
    if runs[0][0].objective is None:
        buffer = ActivationBuffer.for_run(subject, site, rows, training, data)
    else:
        buffer = importlib.import_module(END_TO_END).RowBuffer(
            subject, site, rows, training.batch, data.order_seed or 0
        )
    groups: dict[Method, list[int]] = {}
    for number, (method, _) in enumerate(runs):
        groups.setdefault(method, []).append(number)
    states, products = [], precision.current(subject.device.type)
    for method, numbers in groups.items():
        stack = method.build(site.d_in, tuple(runs[number][1] for number in numbers), subject.device)
        name = method.name or method.architecture
        states.append(
            _state(subject.device.type)(
                stack, method.training, method.objective, name, precision=products, compiled=compiled
            )
        )
    train(buffer, states, checkpoint)
    for state in states:
        if not state.stack.per_token:  # a token that the SAE itself normalises has no scale to fold
            state.stack.fold_scale(buffer.scale)
    stacks = [state.stack for state in states]
    measured = metrics.measure(stacks, subject, site, torch.from_numpy(validation.astype(np.int64)), data.skip)
    trained: dict[int, Trained] = {}
    for state, numbers, values in zip(states, groups.values(), measured, strict=True):
        for i, (number, of_member) in enumerate(zip(numbers, values, strict=True)):
            trained[number] = Trained(state.stack, i, buffer.scale, of_member, _history(state, i))
    return [trained[number] for number in range(len(runs))]


def _history(state: TrainState, i: int) -> list[dict]:
    return [
        {"step": entry["step"], **{name: entry[name][i] for name in ("loss", "l0", "dead")}} for entry in state.history
    ]


def _state(device: str) -> type[TrainState]:
    return importlib.import_module(ON_CUDA).GraphedState if device == "cuda" else TrainState
