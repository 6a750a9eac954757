"""Lengths and directions of reconstructions beside those of the activations (e2e paper, appendix B.1, B.2; Table 5, Figures 10 and 11).

Ratios and cosines are taken token by token and then averaged, so that no position counts for more than another, however
long its activation. Position 0 is kept apart: its activation is by far the longest in many language models.
Letters: N rows, T positions, B tokens, D d_in.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saebook.common.progress import bar
from saebook.papers.e2e.measured.picking import OF_RUN
from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject

NORM_RATIO, COSINE, BY_CHANCE = "norm_ratio", "cosine", "cosine_by_chance"
AT_0 = "_at_0"  # the end of a column that is about position 0 alone; without it, positions after 0
_ROWS = 16  # rows a pass


def compared(x: Tensor, xhat: Tensor) -> dict[str, Tensor]:
    """Of every token [...]: ||xhat|| / ||x||, the cosine of `x` and `xhat` [..., D], and that of `xhat` and another token's x.

    The other token has the same position in another row of the batch; of a single row it is another position.
    """
    other = x.roll(max(1, len(x) // 2), 0) if len(x) > 1 else x.roll(1, -2)
    return {
        NORM_RATIO: xhat.norm(dim=-1) / x.norm(dim=-1).clamp_min(1e-12),
        COSINE: torch.nn.functional.cosine_similarity(x, xhat, dim=-1),
        BY_CHANCE: torch.nn.functional.cosine_similarity(other, xhat, dim=-1),
    }


@torch.no_grad()
def lengths_and_angles(
    table: pd.DataFrame, saes: Sequence[SAEStack], subject: Subject, site: Site, rows: Tensor
) -> pd.DataFrame:
    """Means over the tokens of `rows` [N, T] of what `compared` says, one line per SAE of a sweep's `table`.

    `saes` are stacks of one, the runs of `table` line by line. Columns norm_ratio, cosine and cosine_by_chance over
    positions after 0, and the same with `AT_0` for position 0; beside them those of `OF_RUN`.
    """
    saes, sums = [sae.to(subject.device) for sae in saes], {}
    with bar(len(rows), "lengths", "row") as progress:
        for part in rows.split(_ROWS):
            x = subject.activations(part, site)
            for i, sae in enumerate(saes):
                xhat = sae.reconstruct(x.flatten(0, 1))[0].view_as(x)
                for name, values in compared(x, xhat).items():
                    for column, some in ((name, values[:, 1:]), (name + AT_0, values[:, :1])):
                        sums[i, column] = sums.get((i, column), 0.0) + some.double().sum()
            progress.update(len(part))
    tokens = {name: len(rows) * (1 if name.endswith(AT_0) else rows.shape[1] - 1) for _, name in sums}
    lines = table[OF_RUN].to_dict("records")
    for (i, name), total in sums.items():
        lines[i][name] = float(total) / tokens[name]
    return pd.DataFrame(lines)


@torch.no_grad()
def per_token(sae: SAEStack, subject: Subject, site: Site, rows: Tensor, tokens: int = 4096) -> pd.DataFrame:
    """What `compared` says of up to `tokens` single tokens of `rows` [N, T], and `norm`, the length of the activation.

    The first rows are taken, and as many positions of each, evenly spread, as there is room for; `position` says which.
    """
    positions = np.unique(np.linspace(0, rows.shape[1] - 1, max(2, tokens // len(rows))).astype(int))
    sae, parts = sae.to(subject.device), []
    for part in rows[: max(1, tokens // len(positions))].split(_ROWS):
        x = subject.activations(part, site)
        values = compared(x, sae.reconstruct(x.flatten(0, 1))[0].view_as(x)) | {"norm": x.norm(dim=-1)}
        kept = {name: one[:, positions].flatten().cpu().numpy() for name, one in values.items()}
        parts.append(pd.DataFrame(kept).assign(position=np.tile(positions, len(part))))
    return pd.concat(parts, ignore_index=True)
