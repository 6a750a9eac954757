"""Explained variance at the site and at later layers, of activations as they are and layer-normed (e2e paper, Figure 12).

Of one token 1 - ||ahat - a||^2 / ||a - mean(a)||^2, averaged over tokens: what the paper's code computes, with the layer norm
applied to both sides first for the second variant. A mean of ratios gives every token the same weight; beside it stands the
ratio of sums, which is dominated by tokens far from the mean. Letters: N rows, T positions, B rows a pass, D d_model.
"""

from collections.abc import Callable, Sequence

import pandas as pd
import torch
from torch import Tensor

from saebook.common.progress import bar
from saebook.papers.e2e.measured.picking import OF_RUN
from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject
from saebook.training.objectives import Reference, later_sites, typical

RAW, NORMED = "raw", "normed"
POOLED = "_pooled"  # the end of a column that is a ratio of sums over tokens
_ROWS = 16  # rows a pass


def layer_normed(x: Tensor) -> Tensor:
    """`x` [..., D] with the mean over D removed and divided by the spread: layer norm without weights."""
    return torch.nn.functional.layer_norm(x, x.shape[-1:])


SPACES: dict[str, Callable[[Tensor], Tensor]] = {RAW: lambda x: x, NORMED: layer_normed}


def parts(new: Tensor, old: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Of every token the squared error ||new - old||^2 and the squared distance ||old - centre||^2, in float64 [...]."""
    return (new - old).double().square().sum(-1), (old - centre).double().square().sum(-1)


@torch.no_grad()
def explained_variances(
    table: pd.DataFrame, saes: Sequence[SAEStack], subject: Subject, site: Site, rows: Tensor,
    massive: float | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Explained variance of every SAE of a sweep's `table` on `rows` [N, T], at the site and each later residual position.

    `saes` are stacks of one, the runs of `table` line by line. One line per SAE and position with the columns of `OF_RUN`:
    raw and normed, means over all tokens, and the same with `POOLED`. Tokens whose activation is more than `massive` times
    as long as the median there count nowhere, not in the mean activation either.
    """
    places = [site, *later_sites(subject, site)]
    centres = _centres(subject, places, rows, massive)
    saes, sums = [sae.to(subject.device) for sae in saes], {}
    with bar(len(rows), "explained variance", "row") as progress:
        for part in rows.split(_ROWS):
            reference = Reference(subject, part, site)
            own = reference.activations
            clean = [own, *reference.intervene.onwards(own, places[1:])[1]]
            kept = [_kept(one, massive) for one in clean]
            for i, sae in enumerate(saes):
                xhat = sae.reconstruct(reference.x)[0].view_as(own)
                passed = [xhat, *reference.intervene.onwards(xhat, places[1:])[1]]
                for place, new, old, counts in zip(places, passed, clean, kept, strict=True):
                    for space, change in SPACES.items():
                        error, around = parts(change(new), change(old), centres[place.hook_name, space])
                        both = [(1 - error / around) * counts, error * counts, around * counts, counts]
                        totals = torch.stack([one.sum() for one in both])
                        key = (i, place.hook_name, space)
                        sums[key] = sums[key] + totals if key in sums else totals
            progress.update(len(part))
    return _lines(table, sums)


def _kept(x: Tensor, massive: float | None) -> Tensor:
    """Which tokens of activations `x` [B, T, D] count, as 0 and 1 [B, T] in float64."""
    kept = typical(x.flatten(0, 1), massive)
    return (x.new_ones(x.shape[:2]) if kept is None else kept.view(x.shape[:2])).double()


def _centres(
    subject: Subject, places: Sequence[Site], rows: Tensor, massive: float | None
) -> dict[tuple[str, str], Tensor]:
    """The mean activation [D] at each of `places`, by hook name and space, over the tokens that count."""
    sums: dict[tuple[str, str], Tensor] = {}
    tokens = dict.fromkeys((place.hook_name for place in places), 0.0)
    for part in rows.split(_ROWS):
        for place, x in zip(places, subject.activations_at(part, places), strict=True):
            kept = _kept(x, massive)
            tokens[place.hook_name] += float(kept.sum())
            for space, change in SPACES.items():
                total = (change(x).double() * kept[..., None]).sum((0, 1))
                key = (place.hook_name, space)
                sums[key] = sums[key] + total if key in sums else total
    return {(name, space): (total / tokens[name]).float() for (name, space), total in sums.items()}


def _lines(table: pd.DataFrame, sums: dict[tuple[int, str, str], Tensor]) -> pd.DataFrame:
    of_run, lines = table[OF_RUN].to_dict("records"), {}
    for (i, name, space), totals in sums.items():
        shares, error, around, tokens = totals.tolist()
        line = lines.setdefault((i, name), of_run[i] | {"position": name})
        line |= {space: shares / tokens, space + POOLED: 1 - error / around}
    return pd.DataFrame(list(lines.values()))


def over_positions(at: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Means over the site and all later positions, one line per method and seed; NaN if one position has none."""
    return at.groupby(["method", "seed"])[list(columns)].agg(lambda values: values.mean(skipna=False)).reset_index()
