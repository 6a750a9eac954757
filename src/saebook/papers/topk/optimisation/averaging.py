"""What a moving average of the weights does to an SAE at each learning rate (Top-k paper, appendix A.5, Figure 13).

The average of the weights W_1 to W_T with coefficient c is sum of c^(T - t) W_t over sum of c^(T - t): about the last
1 / (1 - c) steps count, its memory.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from saebook.papers.topk.optimisation.budgets import PAPER_MEMORY
from saebook.sae.base import Member, SAEStack
from saebook.training.config import Method
from saebook.training.loop import Buffer, TrainState, train

NONE, SHARE, PAPER = "no average", "average over a share of the run", "average with the paper's coefficient"
CONSTANT, DECAYING = "constant rate", "decaying rate"
DECAY_SHARE = 0.25  # of the run, over which a decaying rate falls to zero, as in the other chapters


def coefficient(memory: int) -> float:
    """The coefficient of an average over about `memory` steps."""
    return 1 - 1 / memory


def variants(method: Method, memory: int) -> list[Method]:
    """`method`, whose rate is constant, with each average, and with a rate that decays: without an average and with one of `memory`."""
    averages = {NONE: None, SHARE: coefficient(memory), PAPER: coefficient(PAPER_MEMORY)}
    made = []
    for schedule, share in ((CONSTANT, 0.0), (DECAYING, DECAY_SHARE)):
        for words in (NONE, SHARE, PAPER) if schedule == CONSTANT else (NONE, SHARE):
            training = replace(method.training, weight_average=averages[words], decay_share=share)
            name = f"{schedule}, {words}, {training.lr:g}"
            made.append(replace(method, training=training, name=name))
    return made


def labelled(table: pd.DataFrame, methods: Sequence[Method]) -> pd.DataFrame:
    """A sweep's table with the columns `schedule`, `average` and `lr` of each row's method."""
    rates = {method.name: method.training.lr for method in methods}
    words = [name.split(", ") for name in table.method]
    return table.assign(
        schedule=[schedule for schedule, *_ in words],
        average=[average for _, average, _ in words],
        lr=[rates[name] for name in table.method],
    )


def spreads(table: pd.DataFrame) -> pd.Series:
    """The standard deviation over rates of the log of normalised MSE, by schedule, average and seed of a `labelled` table."""
    logs = table.assign(log=np.log(table.normalised_mse))
    return logs.groupby(["schedule", "average", "seed"]).log.std(ddof=0)


def least_errors(table: pd.DataFrame) -> pd.Series:
    """The normalised MSE at the best rate, by schedule, average and seed of a `labelled` table."""
    return table.groupby(["schedule", "average", "seed"]).normalised_mse.min()


def over_none(values: pd.Series, schedule: str, average: str) -> list[float]:
    """`values` of `spreads` or `least_errors` with an average over those without one, a value per seed."""
    return (values[schedule, average] / values[schedule, NONE]).sort_index().to_list()


def short_runs(
    method: Method, buffer: Buffer, d_in: int, device: str | torch.device, averages: Sequence[float | None], steps: int
) -> list[SAEStack]:
    """One SAE trained for so many `steps` with each of `averages`, all from the same start on the same batches."""
    training = replace(method.training, tokens=steps * method.training.batch)
    states = []
    for average in averages:
        stack = method.build(d_in, (Member(0, method.sparsities[0]),), device)
        states.append(TrainState(stack, replace(training, weight_average=average)))
    train(buffer, states)
    return [state.stack for state in states]


@torch.no_grad()
def apart(one: SAEStack, other: SAEStack) -> float:
    """The largest difference between two parameters of the SAEs."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)
