"""A trained baseline written as a Gated SAE: the same function, with a gate and a magnitude that can be moved apart.

That freedom is all that a Gated SAE has over a baseline. So two cheap changes of a trained baseline are special cases of it: a learnt magnitude behind the old gate (`rescale_shift`), and a narrower gate before the old magnitude (`thresholded`).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saebook.evaluation import metrics
from saebook.sae.base import SAEStack
from saebook.sae.gated import Gated
from saebook.sae.initial import unfilled
from saebook.sae.relu import ReLU
from saebook.subject.model import Site, Subject
from saebook.text.held_out import held_out
from saebook.training.store import Store
from saebook.training.sweep import Data


def as_gated(sae: ReLU) -> Gated:
    """f(x) = 1[h + b_enc > 0] ReLU(e^0 h + b_enc) with h = W_enc (x - b_dec): the baseline, on copied tensors."""
    like = {"device": sae.W_enc.device, "dtype": sae.W_enc.dtype}
    gated = unfilled(Gated, sae.d_in, sae.d_sae, sae.members, **like, **sae.options())
    for name, source in (
        ("W_enc", sae.W_enc), ("W_dec", sae.W_dec), ("b_dec", sae.b_dec), ("b_gate", sae.b_enc), ("b_mag", sae.b_enc),
        ("r_mag", torch.zeros_like(sae.b_enc)),
    ):  # fmt: skip
        getattr(gated, name).data.copy_(source)
    return gated


def stored(key: str, device: torch.device, store: Store | None = None) -> Gated:
    """The run `key` of the store, a baseline or a Gated SAE, as a Gated one."""
    sae = (store or Store()).load_sae(key).to(device)
    if isinstance(sae, ReLU):
        return as_gated(sae)
    assert isinstance(sae, Gated), f"run {key} is neither a baseline nor a Gated SAE"
    return sae


def rows_of(split: str, count: int, subject: Subject, data: Data) -> Tensor:
    """Up to `count` rows [N, T]: of the split "train" the first, of "validation" as a sweep draws them (`text.held_out`)."""
    if split == "train":
        rows = subject.rows(data.source, split, data.context)[:count]
    else:
        rows = held_out(data.source, subject.tokenizer, data.row_length(subject.context), count, data.eval_part)
    return torch.from_numpy(rows.astype(np.int64)).to(subject.device)


def measured(
    saes: Sequence[SAEStack], runs: pd.DataFrame, method: str, subject: Subject, site: Site, rows: Tensor, skip: int
) -> pd.DataFrame:
    """`saes` of one member each, made of the `runs` of a sweep's table line by line, as such a table for `method`."""
    values = metrics.measure(list(saes), subject, site, rows, skip)
    kept = runs[["d_sae", "sparsity", "seed", "key"]].reset_index(drop=True)
    return pd.concat([kept.assign(method=method), pd.DataFrame([one for (one,) in values])], axis=1)
