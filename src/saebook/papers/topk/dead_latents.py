"""Dead latents, with and without the two remedies of the Top-k paper (section 2.4, Figure 15)."""

import time

import pandas as pd
import torch

from saebook.sae.base import Member
from saebook.training.loop import TrainState
from saebook.training.sweep import Method

VARIANTS = {"neither": (0, 0), "transposed": (1, 0), "AuxK": (0, 1), "both": (1, 1)}  # name -> (transposed, AuxK)


def final_shares(curves: pd.DataFrame) -> pd.DataFrame:
    """Share of latents dead at the end of training, one row per seed, one column per variant."""
    last = curves[curves.step == curves.step.max()]
    return last.pivot(index="seed", columns="method", values="dead")


def effect(shares: pd.DataFrame, remedy: int) -> list[float]:
    """Dead share with a remedy (0 transposed start, 1 AuxK) minus without it, averaged over the other, one value per seed."""
    with_it = [name for name, has in VARIANTS.items() if has[remedy]]
    without = [name for name, has in VARIANTS.items() if not has[remedy]]
    return (shares[with_it].mean(axis=1) - shares[without].mean(axis=1)).tolist()


def auxk_overhead(with_it: Method, without: Method, x: torch.Tensor, dead_share: float, rounds: int = 7) -> list[float]:
    """Relative extra time of a step with AuxK, measured in pairs, with `dead_share` of all latents dead. `x` [B, D]."""
    states = []
    for method in (without, with_it):
        stack = method.build(x.shape[1], (Member(0, method.sparsities[0]),), x.device)
        z = stack.prepare(x)[0]
        stack.init_bias(z)
        state = TrainState(stack, method.training)
        state.silent[:, : round(dead_share * method.d_sae)] = method.training.tokens
        state.step(x, 0)
        states.append(state)

    def seconds(state: TrainState, step: int) -> float:
        begun = time.perf_counter()
        for offset in range(4):
            state.step(x, step + offset)
        if x.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - begun

    pairs = [(seconds(states[0], 1), seconds(states[1], 1)) for _ in range(rounds + 1)][1:]
    return [b / a - 1 for a, b in pairs]
