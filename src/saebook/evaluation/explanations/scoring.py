"""How well explanations predict when latents fire, and how strongly. Letters: N rows, T positions, D d_in, m latents."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saebook.common.errors import UserError
from saebook.evaluation.explanations.contexts import code_of, rows_at_once
from saebook.evaluation.explanations.explaining import read
from saebook.evaluation.explanations.tries import Explanations
from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject

_SUMS = ("active", "predicted", "both", "sa", "ss", "aa")


@torch.inference_mode()
def score(
    explanations: Explanations, subject: Subject, site: Site, sae: SAEStack, rows: Tensor, skip: int = 1, above: float = 0.0,
    shift: int = 0, activations: Tensor | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Precision, recall and F1 of each explained latent on `rows` [N, T]: does it fire where it is predicted to?

    A latent fires where its activation, and is predicted to where its prediction, lies above the share `above` of the
    latent's largest in the text that was explained. With `shift` each latent's predictions are held against the activations of
    the latent so many places on, which says what chance alone achieves. One row per latent: `latent`, `active`, `predicted` and
    `both` (counts of tokens), `precision` (NaN where nothing is predicted), `recall` (NaN where the latent never fires), `f1` (NaN
    where neither, else zero where nothing is right), `density`, and `scale` = E[s a] / E[s^2] for predictions s of activations a,
    by which predictions come closest to activations (Top-k paper, section 4.4; 0 where nothing is predicted), with
    `explained` = E[s a]^2 / (E[s^2] E[a^2]), the share of the squared activation that they then explain. Raises `UserError`
    for an `above` outside [0, 1).
    """
    if not 0 <= above < 1:
        raise UserError(f"above is a share from 0 up to 1, not {above:g}")
    rows = rows.to(subject.device)
    x = read(subject, site, rows) if activations is None else activations
    latents = torch.tensor(explanations.latents, device=x.device).roll(-shift)
    code, least = code_of(sae, latents), above * torch.tensor(explanations.largest, device=x.device)
    sums = torch.zeros(len(_SUMS), len(latents), dtype=torch.float64, device=x.device)
    at_once = rows_at_once(x, sae.d_sae)
    for some, tokens in zip(x.split(at_once), rows.split(at_once), strict=True):
        a = code(some[:, skip:].flatten(0, 1))
        s = explanations.predict(tokens)[:, skip:].flatten(0, 1)
        fires, foretold = a > least.roll(-shift), s > least
        sums += torch.stack(
            [fires.sum(0), foretold.sum(0), (fires & foretold).sum(0), (s * a).sum(0), (s * s).sum(0), (a * a).sum(0)]
        )
    table = pd.DataFrame(dict(zip(_SUMS, sums.cpu().numpy(), strict=True)))
    table.insert(0, "latent", latents.cpu().numpy())
    return _rates(table, rows.shape[0] * (rows.shape[1] - skip))


def _rates(table: pd.DataFrame, tokens: int) -> pd.DataFrame:
    """The rates that the sums of `table` give, over so many `tokens`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = {
            "precision": table.both / table.predicted, "recall": table.both / table.active,
            "f1": 2 * table.both / (table.active + table.predicted), "density": table.active / tokens,
            "scale": (table.sa / table.ss).fillna(0.0), "explained": (table.sa**2 / (table.ss * table.aa)).fillna(0.0),
        }  # fmt: skip
    return table.drop(columns=["sa", "ss", "aa"]).assign(**rates)
