"""The Gated paper's one-feature toy (section 2.3, Figure 2): how much an L1 penalty shrinks a feature of size one.

A token is the feature, a unit vector v, or nothing. The printed loss of a code f >= 0 for v is (1 - f)^2 + lambda f. The
SAEs here have one latent and are trained by the book's own loop. Letters: n tokens, D d_in, B batch.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saebook.evaluation.metrics import Sums, relative_reconstruction_bias
from saebook.papers.gated.budgets import ShrinkageToy
from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.training.loop import TrainConfig, TrainState, train


def shrunk(penalty: float) -> float:
    """The L1 optimum max(0, 1 - lambda / 2): where the derivative -2 (1 - f) + lambda is zero, or the boundary."""
    return max(0.0, 1.0 - penalty / 2)


def gated(penalty: float) -> float:
    """Gated's optimum (Eq. 8): the gate is open as long as its own shrunken code is above zero; the magnitude pays nothing."""
    return 1.0 if shrunk(penalty) > 0 else 0.0


# architecture -> the activation that training should end at
OPTIMA: dict[str, Callable[[float], float]] = {"relu": shrunk, "gated": gated}


class _Tokens:
    """Batches [B, D] drawn from fixed tokens [n, D]: as `train` takes them."""

    scale = 1.0

    def __init__(self, x: Tensor, batch: int, seed: int):
        self.x, self.batch, self.seed = x, batch, seed

    def sample(self, count: int) -> Tensor:
        return self.x[:count]

    def batches(self, start: int, steps: int) -> Iterator[Tensor]:
        for step in range(start, steps):
            rng = np.random.default_rng([self.seed, step])
            yield self.x[torch.from_numpy(rng.integers(len(self.x), size=self.batch))]


def tokens(budget: ShrinkageToy) -> tuple[Tensor, Tensor]:
    """`(x, v)`: tokens [n, D], half of them the unit vector v [D] and half of them zero, in a random order."""
    rng = np.random.default_rng(budget.seeds[0])
    v = rng.standard_normal(budget.d_in)
    v = torch.from_numpy((v / np.linalg.norm(v)).astype(np.float32))
    on = torch.from_numpy(rng.permutation(np.arange(1024) % 2).astype(np.float32))
    return on[:, None] * v, v


def trained(budget: ShrinkageToy) -> pd.DataFrame:
    """Every architecture trained at every penalty and seed: columns method, sparsity, seed, activation, optimum, gamma.

    `activation` is the latent's value on v; `gamma` the relative reconstruction bias over all tokens, by the book's own
    sums, NaN where nothing fires. All members of an architecture are one stack.
    """
    x, v = tokens(budget)
    members = tuple(Member(seed, penalty) for penalty in budget.penalties for seed in budget.seeds)
    training = TrainConfig(lr=budget.lr, tokens=budget.steps * budget.batch, batch=budget.batch)
    # b_dec stays at zero, as in the paper's toy: with a free one, part of the feature would hide in it.
    states = {
        architecture: TrainState(
            build(architecture, budget.d_in, 1, members), training, name=architecture, fixed=("b_dec",)
        )
        for architecture in OPTIMA
    }
    train(_Tokens(x, budget.batch, budget.seeds[0]), list(states.values()))
    rows = []
    with torch.no_grad():
        for architecture, state in states.items():
            sums, f = Sums(), state.stack.encode(x)
            sums.add(x, f, state.stack.decode(f))
            on_v = state.stack.encode(v[None]).flatten().tolist()
            for member, total, activation in zip(members, sums.totals(), on_v, strict=True):
                rows.append(
                    {
                        "method": architecture, "sparsity": member.sparsity, "seed": member.seed,
                        "activation": activation, "optimum": OPTIMA[architecture](member.sparsity),
                        "gamma": relative_reconstruction_bias(total.xhat_norm2, total.dot),
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def at(table: pd.DataFrame, method: str, penalty: float) -> list[float]:
    """The trained activation of an architecture at one penalty, one value per seed; empty if it was not trained."""
    return table[(table.method == method) & np.isclose(table.sparsity, penalty)].activation.to_list()


def loss_per_unit(table: pd.DataFrame, method: str) -> list[float]:
    """Activation lost per unit of lambda: one least-squares slope per seed, over the penalties that leave some."""
    mine = table[(table.method == method) & (table.sparsity < 2.0)]
    slopes = [
        -np.polyfit(g.sparsity, g.activation, 1)[0] if g.sparsity.nunique() > 1 else math.nan
        for _, g in mine.groupby("seed")
    ]
    return [float(one) for one in slopes]
