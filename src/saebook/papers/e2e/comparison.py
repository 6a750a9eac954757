"""Local and end-to-end SAEs compared: at equal L0, at equal loss, layer by layer, and by their directions (e2e paper, section 3)."""

import itertools
import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saebook.common.progress import bar
from saebook.evaluation.geometry import max_cosine
from saebook.evaluation.intervals import Interval, bootstrap_interval
from saebook.evaluation.pareto import CE_INCREASE, matched_ratio, value_at, with_increase
from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject
from saebook.training.objectives import Reference, typical
from saebook.training.store import Store

CE, ALIVE = CE_INCREASE, "alive_elements"
_ROWS = 16  # rows a pass


def with_counts(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the added cross-entropy in nats per token, and the number of elements that fired at all."""
    return with_increase(table).assign(**{ALIVE: table.alive * table.d_sae})


def mean_ratios(table: pd.DataFrame, one: str, other: str, column: str, at: str, points: int = 20) -> list[float]:
    """The paper's summary of its Figure 1, per seed: the mean over `points` levels of `column` of one method over another's.

    Levels are spread evenly over the range of `at` that both sweeps cover; each is interpolated piecewise linearly. NaN where they do not meet.
    """
    means = []
    for _, group in table.groupby("seed"):
        curves = [
            group[group.method == method].sort_values(at)[[at, column]].to_numpy(float).T for method in (one, other)
        ]
        low, high = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
        if not low < high:
            means.append(math.nan)
            continue
        levels = np.linspace(low, high, points)
        above, below = (np.interp(levels, x, y) for x, y in curves)
        means.append(float(np.mean(above / below)))
    return means


def ratios_at_equal_loss(table: pd.DataFrame, one: str, other: str, column: str) -> list[float]:
    """`column` of one method over another's at equal added cross-entropy, one geometric mean per seed."""
    groups = [group for _, group in table.groupby("seed")]
    return [matched_ratio(g[g.method == one], g[g.method == other], column, CE) for g in groups]


def common_level(table: pd.DataFrame) -> float:
    """The added cross-entropy at which methods are compared: the geometric middle of the range that every sweep reaches.

    If no level is common to all, the median over all runs.
    """
    sweeps = [group[CE][group[CE] > 0] for _, group in table.groupby(["method", "seed"])]
    low, high = max(s.min() for s in sweeps), min(s.max() for s in sweeps)
    if not low < high:
        return float(table[CE][table[CE] > 0].median())
    return math.sqrt(low * high)


def nearest(table: pd.DataFrame, level: float) -> pd.DataFrame:
    """The run of each method and seed whose added cross-entropy is nearest to `level`, as a ratio."""
    distance = (cast(pd.Series, np.log(table[CE].clip(lower=1e-9))) - math.log(level)).abs()
    return table.loc[distance.groupby([table.method, table.seed]).idxmin()].reset_index(drop=True)


def at_level(table: pd.DataFrame, level: float) -> pd.DataFrame:
    """L0 and alive elements that each method and seed needs for an added cross-entropy of `level`, interpolated in log-log space."""
    rows = [
        {"method": method, "seed": seed, **{column: value_at(g, column, level, CE) for column in ("l0", ALIVE)}}
        for (method, seed), g in table.groupby(["method", "seed"])
    ]
    return pd.DataFrame(rows)


def loaded(row, store: Store | None = None) -> SAEStack:
    """The SAE of a row of a sweep's table."""
    return (store or Store()).load_sae(row.key)


@torch.no_grad()
def later_errors(
    table: pd.DataFrame, subject: Subject, site: Site, rows: Tensor, store: Store | None = None,
    massive: float | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Mean squared error per dimension of every SAE of a sweep's `table`, at the site and at each later residual position.

    One line per SAE and position: method, seed, sparsity, added cross-entropy, `mse` over all tokens, `mse_after_0` without
    position 0. Tokens whose activation is more than `massive` times as long as the median there count in neither.
    """
    saes = [loaded(row, store).to(subject.device) for row in table.itertuples()]
    sums: dict[tuple[int, str], np.ndarray] = {}
    with bar(len(rows), "errors downstream", "row") as progress:
        for part in rows.split(_ROWS):
            reference = Reference(subject, part, site)
            own, places = reference.activations, reference.later_sites
            _, clean = reference.intervene.onwards(own, places)
            names = [site.hook_name, *(place.hook_name for place in places)]
            kept = [_kept(one, massive) for one in (own, *clean)]
            for i, sae in enumerate(saes):
                xhat = sae.reconstruct(reference.x)[0].view_as(own)
                _, later = reference.intervene.onwards(xhat, places)
                for name, new, old, counts in zip(names, [xhat, *later], [own, *clean], kept, strict=True):
                    error = (new - old).double().square().mean(-1) * counts
                    totals = [error.sum(), error[:, 1:].sum(), counts.sum(), counts[:, 1:].sum()]
                    sums[i, name] = sums.get((i, name), 0.0) + np.array([float(total) for total in totals])
            progress.update(len(part))
    lines = []
    for (i, name), (all_, rest, tokens, after) in sums.items():
        of_run = {column: table.iloc[i][column] for column in ("method", "seed", "sparsity", CE)}
        means = {"mse": all_ / tokens, "mse_after_0": rest / after}
        lines.append(of_run | {"position": name} | means)
    return pd.DataFrame(lines)


def _kept(x: Tensor, massive: float | None) -> Tensor:
    """Which tokens of activations `x` [B, T, D] count, as 0 and 1 [B, T]."""
    kept = typical(x.flatten(0, 1), massive)
    return x.new_ones(x.shape[:2]) if kept is None else kept.view(x.shape[:2])


def errors_at_level(errors: pd.DataFrame, level: float) -> pd.DataFrame:
    """The errors of `later_errors` at an added cross-entropy of `level`, interpolated along each sweep in log-log space."""
    rows = [
        {"method": method, "seed": seed, "position": position}
        | {column: value_at(group, column, level, CE) for column in ("mse", "mse_after_0")}
        for (method, seed, position), group in errors.groupby(["method", "seed", "position"], sort=False)
    ]
    return pd.DataFrame(rows).dropna()


def error_ratios(errors: pd.DataFrame, site: Site, one: str, other: str, column: str = "mse") -> list[float]:
    """Error of one method over another's at the positions after the site: the geometric mean over them, one per seed.

    NaN if one of them is missing.
    """
    later = errors[errors.position != site.hook_name]
    wide = later.pivot(index=["seed", "position"], columns="method", values=column).reindex(columns=[one, other])
    logs = cast(pd.Series, np.log(wide[one] / wide[other]))
    return np.exp(logs.groupby("seed").mean()).tolist()


def error_ratios_between_seeds(errors: pd.DataFrame, site: Site, method: str) -> list[float]:
    """The control: the same ratio between SAEs of one method, for every pair of seeds."""
    mine = errors[(errors.method == method) & (errors.position != site.hook_name)]
    logs = cast(pd.DataFrame, np.log(mine.pivot(index="seed", columns="position", values="mse"))).to_numpy()
    return [float(np.exp((one - other).mean())) for one, other in itertools.combinations(logs, 2)]


@torch.no_grad()
def alive_directions(sae: SAEStack, subject: Subject, site: Site, rows: Tensor) -> Tensor:
    """Unit directions [n, D] of the dictionary elements that fire at least once on `rows`."""
    sae = sae.to(subject.device)
    fired = torch.zeros(sae.d_sae, dtype=torch.bool, device=subject.device)
    for part in rows.split(_ROWS):
        fired |= (sae.encode(subject.activations(part, site).flatten(0, 1))[0] > 0).any(0)
    return torch.nn.functional.normalize(sae.W_dec[0][fired], dim=1)


def cosines(directions: dict[tuple[str, int], Tensor]) -> pd.DataFrame:
    """One row per alive element of every SAE in `directions` (method, seed): its largest cosine within its own dictionary,
    with that of the next seed, and with the local one of the next seed.

    Never the local one of the same seed: it began from the same dictionary.
    """
    seeds = sorted({seed for _, seed in directions})
    following = dict(zip(seeds, seeds[1:] + seeds[:1], strict=True))
    parts = []
    for (method, seed), own in directions.items():
        columns = {"within": max_cosine(own), "seeds": max_cosine(own, directions[method, following[seed]])}
        columns["local"] = max_cosine(own, directions["local", following[seed]])
        parts.append(pd.DataFrame({k: v.cpu().numpy() for k, v in columns.items()}).assign(method=method, seed=seed))
    return pd.concat(parts, ignore_index=True)


def random_cosines(directions: dict[tuple[str, int], Tensor], seed: int = 0) -> pd.DataFrame:
    """The control: the same table for directions drawn at random, as many as each SAE has alive."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {
        key: torch.nn.functional.normalize(torch.randn(own.shape, generator=generator), dim=1)
        for key, own in directions.items()
    }
    return cosines(drawn)


def differences(table: pd.DataFrame, column: str, one: str, other: str) -> list[float]:
    """Mean of a column of `cosines` for one method minus another, one value per seed."""
    means = table.groupby(["seed", "method"])[column].mean().unstack()
    return (means[one] - means[other]).tolist()


def element_intervals(
    table: pd.DataFrame, columns: Sequence[str] = ("within", "seeds", "local")
) -> dict[str, Interval]:
    """Means over all elements of a method with bootstrap intervals over elements, as the paper gives them."""
    return {
        f"{method} {column}": bootstrap_interval(group[column].to_numpy(), resamples=2000)
        for method, group in table.groupby("method")
        for column in columns
    }
