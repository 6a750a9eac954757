"""Errors at the later layers, layer by layer, beside what the worst replacement causes there (e2e paper, Figures 2 and 6).

Letters: N rows, T positions.
"""

from typing import cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saebook.evaluation.intervals import Interval
from saebook.evaluation.pareto import log_interval
from saebook.subject.model import Site, Subject
from saebook.training.objectives import Reference, typical

_ROWS = 16  # rows a pass


@torch.no_grad()
def ablated(subject: Subject, site: Site, rows: Tensor, massive: float | None = None) -> pd.Series:
    """Mean squared error per dimension with the mean activation in every place, by position: the site's and all later ones.

    The mean is that of `rows` [N, T]. An SAE that knows nothing but its bias b_dec does no better at the site. `massive`
    is as in `comparison.later_errors`.
    """
    parts = rows.split(_ROWS)
    tokens = rows.numel()
    total = torch.zeros(site.d_in, dtype=torch.float64, device=subject.device)
    for part in parts:
        total += subject.activations(part, site).double().sum((0, 1))
    mean = (total / tokens).float()
    sums: dict[str, np.ndarray] = {}
    for part in parts:
        reference = Reference(subject, part, site)
        own, places = reference.activations, reference.later_sites
        new = mean.expand_as(own)
        moved, clean = reference.intervene.onwards(new, places)[1], reference.intervene.onwards(own, places)[1]
        names = [site.hook_name, *(place.hook_name for place in places)]
        for name, a, b in zip(names, [new, *moved], [own, *clean], strict=True):
            error, kept = (a - b).double().square().mean(-1).flatten(), typical(b.flatten(0, 1), massive)
            counts = torch.ones_like(error) if kept is None else kept.double()
            pair = np.array([float((error * counts).sum()), float(counts.sum())])
            sums[name] = sums.get(name, np.zeros(2)) + pair
    return pd.Series({name: error / count for name, (error, count) in sums.items()}, name="ablated")


def placed(errors: pd.DataFrame, blind: pd.Series) -> pd.DataFrame:
    """Errors with the `distance` of their position from the site, in layers, and their `share` of the `ablated` ones."""
    places = {str(name): number for number, name in enumerate(blind.index)}
    names = [str(name) for name in errors.position]
    share = errors.mse.to_numpy(float) / np.array([float(blind[name]) for name in names])
    return errors.assign(distance=np.array([places[name] for name in names], int), share=share)


def ratios(errors: pd.DataFrame, one: str, other: str = "local", column: str = "mse") -> pd.DataFrame:
    """Error of one method over another's at each position of `placed`, one line per position and seed that has both."""
    index = ["position", "distance", "seed"]
    wide = errors.pivot(index=index, columns="method", values=column).reindex(columns=[one, other]).astype(float)
    both = cast(pd.Series, wide[one] / wide[other]).dropna().rename("ratio").reset_index()
    return both.assign(method=one)


def at_site_over_later(table: pd.DataFrame) -> list[float]:
    """The ratio at the site over the geometric mean of those at later layers, one value for each seed; of one method's `ratios`."""
    logs = table.assign(log=np.log(table.ratio.to_numpy(float)))
    own, later = (logs[(logs.distance > 0) == side].groupby("seed").log.mean() for side in (False, True))
    return np.exp((own - later).dropna().to_numpy(float)).tolist()


def intervals_by_position(table: pd.DataFrame) -> dict[str, Interval]:
    """Geometric means of `ratios` with intervals over seeds, by method and position."""
    return {
        f"{method} over local, {str(position).removesuffix('.hook_resid_pre')}": log_interval(group.ratio.to_list())
        for (method, position), group in table.groupby(["method", "position"])
    }


def at_each_distance(paper: pd.DataFrame) -> pd.DataFrame:
    """The paper's errors (type, layer, mse) as ratios to local: method, distance from the site in layers, ratio."""
    wide = paper.pivot(index="layer", columns="type", values="mse")
    shown = wide.drop(columns="local").div(wide.local, axis=0)
    shown.index = shown.index - wide.index.min()
    return shown.rename_axis("distance").reset_index().melt("distance", var_name="method", value_name="ratio")
