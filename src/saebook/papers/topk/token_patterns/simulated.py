"""The model's loss with latents simulated from their explanations (Top-k paper, section 4.4, Figure 8).

Every latent of an SAE is explained by token patterns, and what the patterns foretell takes the place of its activation, by
one scale for each latent: E[s a] / E[s^2] on the text that was explained. The decoder turns that into activations, and the
model goes on from there. Letters: N rows, T positions, B tokens, D d_in, M d_sae, V vocabulary.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saebook.common.progress import bar
from saebook.evaluation.explanations.explaining import explain
from saebook.evaluation.explanations.pruning import Settings
from saebook.evaluation.explanations.scoring import score
from saebook.evaluation.explanations.tries import Explanations
from saebook.evaluation.metrics import normalised_mse, summed_loss
from saebook.evaluation.pareto import matched_ratio
from saebook.papers.topk.token_patterns.explained import Text
from saebook.sae.base import SAEStack
from saebook.text import ngrams
from saebook.training.config import Data

# What stands at the site: the latents as they are, as their explanations have them, or as those of other latents have them.
OWN, SIMULATED, OTHER = "the SAE", "simulated", "simulated from another latent"
CLEAN, MEAN, BY_TOKEN = "the model itself", "mean activation", "mean activation of the token"
INCREASE, NMSE = "ce_increase", "normalised_mse"
_ROWS = 8  # rows a pass of the subject
_COUNTED = 2**16  # rows of training text that bigrams are counted on at most


@torch.inference_mode()
def measured(
    table: pd.DataFrame, saes: Sequence[SAEStack], seen: Text, other: Text, settings: Settings
) -> pd.DataFrame:  # fmt: skip
    """Loss and error of each SAE on the text `other`, explained by the text `seen`: one row per SAE and replacement.

    `saes` are stacks of one, the runs of a sweep's `table` line by line. Columns: method, d_sae, seed, sparsity, l0, `by` (OWN,
    SIMULATED, OTHER), ce, ce_increase (nats per token), normalised_mse in the space of the SAE, and `simulated_l0`, how many
    latents a token has under that replacement. Positions below `skip` keep their activations and count nowhere.
    """
    runs, lines = table[["method", "d_sae", "seed", "sparsity", "l0"]].to_dict("records"), []
    clean = baselines(seen, other, saes[0])[CLEAN]["ce"]
    variance = _variance(other, saes[0])
    with bar(len(saes), "simulating", "SAE") as progress:
        for run, sae in zip(runs, saes, strict=True):
            at = (seen.subject, seen.site, sae)
            made = explain(*at, range(sae.d_sae), seen.rows, settings, seen.skip, int(run["seed"]), seen.x)
            scales = [_scales(made, seen, sae, shift) for shift in (0, 1)]
            sums = _sums(made, scales, sae, other)
            for by, (loss, error, active) in zip((OWN, SIMULATED, OTHER), sums.tolist(), strict=True):
                ce = loss / _predictions(other)
                measures = {"by": by, "ce": ce, INCREASE: ce - clean, NMSE: normalised_mse(error, variance)}
                lines.append({str(k): v for k, v in run.items()} | measures | {"simulated_l0": active})
            progress.update()
    return pd.DataFrame(lines)


def _scales(made: Explanations, seen: Text, sae: SAEStack, shift: int) -> Tensor:
    """The scale [M] of each latent's prediction, or with `shift` of its prediction of the latent so many places on."""
    scores = score(made, seen.subject, seen.site, sae, seen.rows, seen.skip, shift=shift, activations=seen.x)
    return torch.tensor(scores["scale"].to_numpy(), dtype=torch.float32, device=seen.x.device)


def _sums(made: Explanations, scales: Sequence[Tensor], sae: SAEStack, other: Text) -> Tensor:
    """For OWN, SIMULATED and OTHER [3, 3]: the summed loss, the mean squared error, and the mean number of active latents."""
    sums = torch.zeros(3, 3, dtype=torch.float64, device=other.x.device)
    for rows in other.rows.split(_ROWS):
        intervention = other.subject.intervene(rows, other.site)
        z, mean, spread = sae.prepare(intervention.activations[:, other.skip :].flatten(0, 1))
        s = made.predict(rows)[:, other.skip :].flatten(0, 1)
        own, *scaled = sae.encode(z)[0], s * scales[0], (s * scales[1]).roll(1, 1)
        codes = torch.stack([own, *scaled])
        new = torch.addmm(sae.b_dec[0], codes.flatten(0, 1), sae.W_dec[0]).view(3, *z.shape)
        loss = summed_loss(intervention, new * spread + mean, other.skip)
        sums += torch.stack([loss, (new - z).square().sum((1, 2)).double(), (codes > 0).sum((1, 2)).double()], 1)
    sums[:, 1:] /= other.rows.shape[0] * (other.rows.shape[1] - other.skip)
    return sums


@torch.inference_mode()
def baselines(seen: Text, other: Text, like: SAEStack) -> dict[str, dict[str, float]]:
    """Loss `ce`, its increase and normalised MSE on `other` without any SAE, in the space that the SAE `like` takes.

    CLEAN is the model itself, MEAN has the mean over `seen` at every token, BY_TOKEN the mean over the same token's places in
    `seen`, or MEAN where it has none: what is known without any context.
    """
    flat, ids = like.prepare(seen.x[:, seen.skip :].flatten(0, 1))[0], seen.rows[:, seen.skip :].flatten()
    vocabulary = seen.subject.bridge.cfg.d_vocab
    counts = torch.bincount(ids, minlength=vocabulary)[:, None]
    of_token = flat.new_zeros(vocabulary, flat.shape[1]).index_add_(0, ids, flat)
    of_token = torch.where(counts > 0, of_token / counts.clamp_min(1), flat.mean(0))
    sums, errors = torch.zeros(3, dtype=torch.float64, device=flat.device), torch.zeros(3, dtype=torch.float64)
    for rows in other.rows.split(_ROWS):
        intervention = other.subject.intervene(rows, other.site)
        z, mean, spread = like.prepare(intervention.activations[:, other.skip :].flatten(0, 1))
        new = torch.stack([z, flat.mean(0).expand_as(z), of_token[rows[:, other.skip :].flatten()]])
        sums += summed_loss(intervention, new * spread + mean, other.skip)
        errors += (new - z).square().sum((1, 2)).double().cpu()
    ces, tokens = (sums / _predictions(other)).tolist(), other.rows.shape[0] * (other.rows.shape[1] - other.skip)
    variance = _variance(other, like)
    return {
        name: {"ce": ce, INCREASE: ce - ces[0], NMSE: normalised_mse(error / tokens, variance)}
        for name, ce, error in zip((CLEAN, MEAN, BY_TOKEN), ces, errors.tolist(), strict=True)
    }


def bigrams(data: Data, other: Text) -> float:
    """Mean loss of bigrams, counted on the training text, on the tokens of `other` that the losses here are means over."""
    subject, context = other.subject, other.rows.shape[1]
    train = subject.rows(data.source, "train", context)[:_COUNTED]
    held = other.rows[:, other.skip :].cpu().numpy()
    return ngrams.kneser_ney(np.asarray(train), held, subject.bridge.cfg.d_vocab, 2)


def _predictions(text: Text) -> int:
    return text.rows.shape[0] * (text.rows.shape[1] - 1 - text.skip)


def _variance(text: Text, like: SAEStack) -> float:
    z = like.prepare(text.x[:, text.skip :].flatten(0, 1))[0].double()
    return float((z - z.mean(0)).square().sum(1).mean())


# What the chapter reads off -----------------------------------------------------------------------------------------------


def over_relu(losses: pd.DataFrame, by: str, column: str = INCREASE) -> list[float]:
    """`column` of TopK over that of ReLU at equal L0 and at the widest dictionary, replaced `by`: one value per seed."""
    mine = losses[(losses.by == by) & (losses.d_sae == losses.d_sae.max())]
    return [
        matched_ratio(group[group.method == "topk"], group[group.method == "relu"], column)
        for _, group in mine.groupby("seed")
    ]


def slopes(losses: pd.DataFrame, along: str, column: str = INCREASE) -> list[float]:
    """Change of `column` of simulated TopK latents per e-fold of `along` (d_sae or sparsity), averaged over the other one."""
    mine = losses[(losses.by == SIMULATED) & (losses.method == "topk")]
    wide = mine.groupby(["seed", along])[column].mean().unstack()
    return np.polyfit(np.log(wide.columns.to_numpy(float)), wide.to_numpy().T, 1)[0].tolist()


def least(losses: pd.DataFrame, column: str = "ce") -> list[float]:
    """`column` of the simulated TopK SAE that has the least of it on average over the *other* seeds: one value per seed.

    The least of a seed's own losses would be too small by the choice alone. NaN with one seed.
    """
    mine = losses[(losses.by == SIMULATED) & (losses.method == "topk")]
    wide = mine.pivot_table(column, "seed", ["d_sae", "sparsity"]).to_numpy(float)
    if len(wide) < 2:
        return [math.nan]
    return [float(own[np.delete(wide, seed, 0).mean(0).argmin()]) for seed, own in enumerate(wide)]
