"""Rescale and shift: per latent, learnt on a trained baseline with all else frozen (Gated paper, section 5.2 and Figure 9).

The paper gives neither the loss nor the length of the fit. Here: the reconstruction alone, by Adam, on the first tokens of the
stream that trained the baseline, from the baseline itself. Letters: B tokens in a batch, D d_in, M d_sae.
"""

from dataclasses import asdict, dataclass

import pandas as pd
import torch
from torch import Tensor

from saebook.common import fingerprint
from saebook.papers.gated.refits.as_gated import measured, rows_of, stored
from saebook.sae.gated import Gated
from saebook.subject.model import Site, Subject
from saebook.training.buffers import ActivationBuffer
from saebook.training.store import Store, key_of
from saebook.training.sweep import Data, SweepResult


@dataclass(frozen=True)
class Fit:
    """Settings of the fit of rescale and shift: on `tokens` in batches of `batch`, at a rate that falls linearly from `lr` to zero."""

    tokens: int
    lr: float
    batch: int = 1024


def rescaled(
    table: pd.DataFrame, subject: Subject, site: Site, data: Data, fit: Fit, store: Store | None = None,
    method: str = "relu",
) -> SweepResult:  # fmt: skip
    """The SAEs of `method` in a sweep's `table` with rescale and shift learnt: a table like it, of the method "rescaled".

    The fitted SAEs are kept in the store like any run; `trained` says how many were fitted now.
    """
    store, runs = store or Store(), table[table.method == method].reset_index(drop=True)
    source = fingerprint.of(__name__)
    keys = [key_of({"run": key, "data": asdict(data), "fit": asdict(fit), "source": source}) for key in runs.key]
    with store.lock(key_of({"rescaled": keys})):
        missing = [i for i, key in enumerate(keys) if not store.has(key)]
        if missing:
            gated = [stored(runs.key[i], subject.device, store) for i in missing]
            learn(gated, _stream(subject, site, data, fit), fit)
            rows = rows_of("validation", data.eval_rows, subject, data)
            table_now = measured(gated, runs.loc[missing], "rescaled", subject, site, rows, data.skip)
            for i, sae, (_, row) in zip(missing, gated, table_now.iterrows(), strict=True):
                store.save_sae(keys[i], sae, metadata={"row": row.to_dict(), "fit": asdict(fit)})
    lines = [store.metadata(key)["row"] | {"key": key} for key in keys]
    return SweepResult(pd.DataFrame(lines, columns=list(table.columns)), len(missing))


def learn(saes: list[Gated], stream: ActivationBuffer, fit: Fit) -> list[list[float]]:
    """Fit `r_mag` and `b_mag` of each SAE in place, all else frozen, and return the losses of each, step by step.

    The stream's activations are scaled, so that one rate fits every site; the SAEs are of the raw ones before and after.
    """
    steps = fit.tokens // fit.batch
    for sae in saes:
        sae.requires_grad_(False)
        sae.r_mag.requires_grad_(True)
        sae.b_mag.requires_grad_(True)
        sae.fold_scale(1 / stream.scale)
    optimisers = [torch.optim.Adam([sae.r_mag, sae.b_mag], lr=fit.lr) for sae in saes]
    losses: list[list[float]] = [[] for _ in saes]
    for step, x in enumerate(stream.batches(0, steps)):
        for sae, optimiser, curve in zip(saes, optimisers, losses, strict=True):
            optimiser.param_groups[0]["lr"] = fit.lr * (1 - step / steps)
            loss = reconstruction(sae, x)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            curve.append(loss.item())
    for sae in saes:
        sae.fold_scale(stream.scale)
    return losses


def reconstruction(sae: Gated, x: Tensor) -> Tensor:
    """L_reconstruct of Eq. 8 on `x` [B, D]: E||x - xhat||^2."""
    return (sae.reconstruct(x) - x).square().sum(-1).mean()


def _stream(subject: Subject, site: Site, data: Data, fit: Fit) -> ActivationBuffer:
    rows = subject.rows(data.source, "train", data.context)
    steps = fit.tokens // fit.batch
    return ActivationBuffer(subject, site, rows, fit.batch, data.order_seed or 0, data.skip, data.block, steps)
