"""The cost of ablating a site: the loss with its activations replaced by zeros or by their mean (Gated paper, section 2.3).

The cost of zero ablation is the denominator of loss recovered. Where it is small, a negligible change of loss moves loss
recovered by many points. Letters: N rows, T positions.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saebook.evaluation.intervals import Interval, bootstrap_interval, joint_level
from saebook.papers.gated.published import SITES
from saebook.subject.model import Intervention, Site, Subject

_ROWS = 32  # rows a pass
RESAMPLES = 2000


@torch.inference_mode()
def row_losses(subject: Subject, sites: Sequence[Site], rows: Tensor, skip: int) -> pd.DataFrame:
    """Mean cross-entropy in nats of every row of `rows` [N, T] at every site, as `metrics.measure` computes it.

    Columns site, layer, row, clean, zero (activations replaced by zeros), mean (by their mean over all rows). The first
    `skip` positions keep their activations and are not counted.
    """
    clean = np.concatenate([_of_rows(subject.loss(part), skip) for part in rows.split(_ROWS)])
    tables = []
    for site, average in zip(sites, _mean_activations(subject, sites, rows, skip), strict=True):
        losses = [_ablated(subject.intervene(part, site), skip, average) for part in rows.split(_ROWS)]
        zero, mean = (np.concatenate(values) for values in zip(*losses, strict=True))
        about = {"site": site.kind, "layer": site.layer, "row": range(len(rows))}
        tables.append(pd.DataFrame(about | {"clean": clean, "zero": zero, "mean": mean}))
    return pd.concat(tables, ignore_index=True)


@torch.inference_mode()
def intervention_error(subject: Subject, sites: Sequence[Site], rows: Tensor, skip: int) -> float:
    """The largest change of a row's loss, over all sites, when activations are replaced by themselves."""
    clean = _of_rows(subject.loss(rows), skip)
    replaced = (_of_rows(subject.intervene(rows, site).loss(), skip) for site in sites)
    return float(max(np.abs(losses - clean).max() for losses in replaced))


def _ablated(intervention: Intervention, skip: int, average: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Losses of rows with zeros, and with the `average` activation [D], at every position but the first `skip`."""
    own = intervention.activations
    new = (torch.zeros_like(own), average.to(own.dtype).expand_as(own))
    zero, mean = (_of_rows(intervention.loss(torch.cat([own[:, :skip], n[:, skip:]], 1)), skip) for n in new)
    return zero, mean


def _of_rows(losses: Tensor, skip: int) -> np.ndarray:
    return losses[:, skip:].double().mean(1).cpu().numpy()


def _mean_activations(subject: Subject, sites: Sequence[Site], rows: Tensor, skip: int) -> list[Tensor]:
    """The mean activation [D] at each site over `rows` [N, T], from one pass of the subject."""
    totals = [torch.zeros(site.d_in, dtype=torch.float64, device=subject.device) for site in sites]
    for part in rows.split(_ROWS):
        for total, x in zip(totals, subject.activations_at(part, sites), strict=True):
            total += x[:, skip:].flatten(0, 1).double().sum(0)
    return [total / rows[:, skip:].numel() for total in totals]


def costs(losses: pd.DataFrame, tiny: float) -> pd.DataFrame:
    """One line per site and layer: clean and ablated loss, the cost of ablation in nats with its bootstrap interval over rows.

    `tiny` marks a site whose cost may lie below that many nats: the interval's lower end decides.
    """
    lines = []
    for (site, layer), group in losses.groupby(["site", "layer"], sort=False):
        cost = bootstrap_interval((group.zero - group.clean).to_numpy(), resamples=RESAMPLES)
        lines.append(
            {
                "site": site, "layer": layer, "clean": group.clean.mean(), "zero": group.zero.mean(), "cost": cost.mean,
                "low": cost.low, "high": cost.high, "cost_mean_ablation": (group["mean"] - group.clean).mean(),
                "tiny": cost.low < tiny,
            }
        )  # fmt: skip
    return pd.DataFrame(lines)


def published_costs(paper: pd.DataFrame, tiny: float) -> pd.DataFrame:
    """The same from the rows of the paper's Tables 1 to 8: every run of a site prints its clean and ablated loss again."""
    table = paper.groupby(["model", "site", "layer"])[["clean_CE", "zero_abl_CE"]].median().reset_index()
    table = table.rename(columns={"clean_CE": "clean", "zero_abl_CE": "zero"}).assign(site=table.site.map(SITES))
    return table.assign(cost=table.zero - table.clean, tiny=table.zero - table.clean < tiny)


def order(losses: pd.DataFrame, first: str, others: Sequence[str]) -> list[Interval]:
    """Log ratios of what ablating `first` costs over what each of `others` costs, averaged over layers.

    Bootstrap over rows, the same rows at every site, at a level that holds for all contrasts together. The contrast
    of a site that costs nothing is NaN.
    """
    losses = losses.assign(cost=losses.zero - losses.clean)
    by_site = {
        site: group.pivot(index="layer", columns="row", values="cost").to_numpy()
        for site, group in losses.groupby("site")
    }
    level, contrasts = joint_level(len(others)), []
    for other in others:
        if first not in by_site or other not in by_site:
            contrasts.append(Interval(math.nan, -math.inf, math.inf, 0))
            continue
        pair = by_site[first], by_site[other]

        def ratio(picked: np.ndarray, axis: int = -1, pair=pair) -> np.ndarray:
            above, below = (costs[:, np.asarray(picked, int)].mean(axis=-1) for costs in pair)
            with np.errstate(invalid="ignore", divide="ignore"):
                return (np.log(above) - np.log(below)).mean(axis=0)

        rows = np.arange(pair[0].shape[1])
        known = math.isfinite(ratio(rows))
        nothing = Interval(math.nan, -math.inf, math.inf, len(rows))
        contrasts.append(bootstrap_interval(rows, ratio, level, RESAMPLES) if known else nothing)
    return contrasts


def reversals(costs: pd.DataFrame, above: str = "resid_post") -> list[str]:
    """Sites that cost more than `above` does at the same model and layer, in words: an average over layers hides them."""
    sites = []
    for (model, layer), group in costs.groupby(["model", "layer"]):
        reference = group[group.site == above].cost.max()
        sites += [f"{model} {row.site} {layer}" for row in group.itertuples() if row.cost > reference]
    return sites


def points_per_millinat(cost: float) -> float:
    """Percentage points of loss recovered per thousandth of a nat, at a site of that ablation cost."""
    return 0.1 / cost
