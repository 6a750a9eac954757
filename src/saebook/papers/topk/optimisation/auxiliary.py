"""Forms of the auxiliary loss for dead latents in other libraries, beside the paper's (Top-k paper, appendix A.2)."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor

from saebook.sae.base import SAEStack
from saebook.sae.topk import TopK
from saebook.training.config import Method

WITHOUT, PAPER = "no AuxK", "the paper's AuxK"
# What tables call a form -> its architecture, and the weight of its auxiliary loss where that is not the paper's.
FORMS: dict[str, tuple[str, float | None]] = {
    "bias counted twice": ("topk_aux_bias", None),
    "decoder only": ("topk_aux_decoder", None),
    "by the share dead": ("topk_aux_share", None),
    "error not held fixed": ("topk_aux_attached", None),
    "not normalised": ("topk_aux_plain", None),
    "not normalised, weight 1": ("topk_aux_plain", 1.0),
}


def methods(without: Method, paper: Method) -> list[Method]:
    """The two methods under the names of this chapter, and every form with all else as in `paper`."""
    made = [replace(without, name=WITHOUT), replace(paper, name=PAPER)]
    for name, (architecture, weight) in FORMS.items():
        options = paper.options + ((("aux_weight", weight),) if weight is not None else ())
        made.append(replace(paper, architecture=architecture, options=options, name=name))
    return made


def by_seed(table: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """The share dead at the end of training and normalised MSE of each run: columns method, seed, dead, normalised_mse."""
    last = curves[curves.step == curves.step.max()][["method", "seed", "dead"]]
    return table[["method", "seed", "normalised_mse"]].merge(last, on=["method", "seed"], validate="one_to_one")


def dead_difference(runs: pd.DataFrame, method: str, reference: str) -> list[float]:
    """Share dead with `method` minus that with `reference`, a value per seed of a table of `by_seed`."""
    dead = runs.pivot(index="seed", columns="method", values="dead")
    return (dead[method] - dead[reference]).to_list()


def error_ratio(runs: pd.DataFrame, method: str, reference: str) -> list[float]:
    """Normalised MSE with `method` over that with `reference`, a value per seed of a table of `by_seed`."""
    error = runs.pivot(index="seed", columns="method", values="normalised_mse")
    return (error[method] / error[reference]).to_list()


def kept(without: list[float], other: list[float]) -> float:
    """The share of AuxK's effect on dead latents that another form has, by means over seeds; NaN where AuxK has none.

    `without` is the share dead without AuxK minus that with the paper's, `other` that with the other form minus that with the
    paper's.
    """
    effect = sum(without) / len(without)
    return 1 - sum(other) / len(other) / effect if effect > 0 else math.nan


@torch.no_grad()
def bias_sizes(saes: Sequence[TopK]) -> list[float]:
    """The norm of b_dec over the spread of the input, the root of its variance: how much a bias that is counted twice adds."""
    return [float(sae.b_dec.norm() / sae.variance.sqrt()) for sae in saes]


def routes(stacks: Sequence[SAEStack], x: Tensor, dead: Sequence[int]) -> pd.DataFrame:
    """Which parameters L_aux of each stack moves at inputs `x` [B, D] where latents `dead` are: one row per stack, in words."""
    rows = []
    for stack in stacks:
        mask = torch.zeros(len(stack.members), stack.d_sae, dtype=torch.bool, device=x.device)
        mask[:, list(dead)] = True
        gradients = _gradients(stack, stack.prepare(x)[0], mask)
        live = [latent for latent in range(stack.d_sae) if latent not in set(dead)]
        rows.append(
            {
                "decoder of dead latents": _moves(gradients["W_dec"][:, list(dead)]),
                "encoder of dead latents": _moves(gradients["W_enc"][:, :, list(dead)]),
                "decoder of live latents": _moves(gradients["W_dec"][:, live]),
                "bias of the decoder": _moves(gradients["b_dec"]),
            }
        )
    return pd.DataFrame(rows)


def _gradients(stack: SAEStack, z: Tensor, mask: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*stack.named_parameters(), strict=True)
    term = stack.loss(z, mask).terms["auxiliary"].sum()
    return dict(
        zip(names, torch.autograd.grad(term, parameters, materialize_grads=True, allow_unused=True), strict=True)
    )


def _moves(gradient: Tensor) -> str:
    return "yes" if bool(gradient.abs().max() > 0) else "no"
