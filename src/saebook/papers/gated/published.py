"""The Gated paper's published sweeps (Tables 1 to 8), read as its Figures 1, 12, 13 and 14 draw them.

A *panel* is one model, site and layer. Its rows are single training runs of Gated and baseline SAEs. The paper gives no
seeds, so intervals are taken over panels. L0 is in features per token, loss recovered in per cent, as printed.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from saebook.common.errors import UserError
from saebook.evaluation import pareto
from saebook.evaluation.intervals import Interval, bootstrap_interval, l0_ratio, pareto_front

# the paper's name of a site -> the library's
SITES = {"Resid": "resid_post", "MLP": "mlp_out", "Attn": "attn_z"}
PANEL = ["model", "site", "layer"]
_SETTING = [*PANEL, "sae_type", "lambda", "lr", "width"]


def chosen(paper: pd.DataFrame, models: Sequence[str], sites: Sequence[str], layers: Sequence[int]) -> pd.DataFrame:
    """The rows of these models, sites and layers. Raises `UserError` for a name that the tables do not have."""
    for column, wanted in (("model", models), ("site", sites), ("layer", layers)):
        known = sorted(paper[column].unique())
        if unknown := set(wanted) - set(known):
            raise UserError(
                f"the tables have no {column} {', '.join(map(str, sorted(unknown)))}: "
                f"use some of {', '.join(map(str, known))}"
            )
    rows = paper[paper.model.isin(models) & paper.site.isin(sites) & paper.layer.isin(layers)]
    if rows.empty:
        raise UserError("the tables have no row of these models, sites and layers together")
    return rows.reset_index(drop=True)


def unusable(paper: pd.DataFrame) -> pd.DataFrame:
    """The rows that cannot be drawn over log L0, with the reason: a count below zero, or one that is printed as zero."""
    rows = paper[paper.L0 <= 0]
    return rows.assign(why=np.where(rows.L0 < 0, "impossible: a count below zero", "printed as zero: no logarithm"))


def with_fronts(paper: pd.DataFrame) -> pd.DataFrame:
    """The usable rows, with `front`: whether it is on the Pareto front of its panel and architecture."""
    rows = paper[paper.L0 > 0].copy()
    rows["front"] = False
    for _, group in rows.groupby([*PANEL, "sae_type"]):
        rows.loc[group.index, "front"] = pareto_front(group.L0, group.pct_CE_recovered)
    return rows


def comparison(paper: pd.DataFrame) -> pd.DataFrame:
    """One line per panel: what Gated needs at equal loss, and what it gains at equal L0.

    `ratio`: L0 of Gated over the baseline's, the geometric mean over levels of loss that both fronts reach (as for our own
    sweeps). `ratio_at_points`: the median over the baseline's front points within Gated's range, another way to
    interpolate. `gain`: percentage points of loss recovered at equal L0, the median over the front points of both.
    `ahead` is the architecture that the ratio favours or, where the fronts share no loss, the gain.
    """
    rows = with_fronts(paper)
    table = pareto.published_ratios(paper)
    panels = dict(list(rows.groupby(PANEL)))
    pairs = [
        [panels[key][panels[key].front & (panels[key].sae_type == sae_type)] for sae_type in ("gated", "baseline")]
        for key in table[PANEL].itertuples(index=False, name=None)
    ]
    table["ratio_at_points"] = [_median(np.exp(_log_ratios(*pair))) for pair in pairs]
    table["gain"] = [_median(np.concatenate([gains(*pair), -gains(*pair[::-1])])) for pair in pairs]
    favoured = np.where(table.ratio.isna(), -table.gain, table.ratio - 1)
    table["ahead"] = np.select([favoured < 0, favoured >= 0], ["gated", "baseline"], "neither can be told")
    for sae_type in ("gated", "baseline"):
        medians = paper[paper.sae_type == sae_type].groupby(PANEL).gamma.median()
        table[f"gamma_{sae_type}"] = medians.reindex(pd.MultiIndex.from_frame(table[PANEL])).to_numpy()
    return table


def _log_ratios(one: pd.DataFrame, other: pd.DataFrame) -> np.ndarray:
    """Log L0 of front `one` minus that of `other`, at the loss of those points of `other` that `one` reaches."""
    return _differences(one.pct_CE_recovered, np.log(one.L0), other.pct_CE_recovered, np.log(other.L0))


def gains(one: pd.DataFrame, other: pd.DataFrame) -> np.ndarray:
    """Loss recovered (points) of front `one` minus that of `other`, at the L0 of those points of `other` that `one` spans."""
    return _differences(np.log(one.L0), one.pct_CE_recovered, np.log(other.L0), other.pct_CE_recovered)


def _differences(x_one, y_one, x_other, y_other) -> np.ndarray:
    if not len(x_one):
        return np.empty(0)
    order = np.argsort(x_one)
    x, y = np.asarray(x_one, float)[order], np.asarray(y_one, float)[order]
    differences = np.interp(x_other, x, y, left=np.nan, right=np.nan) - np.asarray(y_other, float)
    return differences[np.isfinite(differences)]


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def median_interval(values: pd.Series, resamples: int) -> Interval:
    """The median over panels with its bootstrap interval; panels without a value are left out."""
    return bootstrap_interval(values.dropna().to_numpy(), np.median, resamples=resamples)


def count(panels: pd.DataFrame, sae_type: str) -> Interval:
    """Count the panels in which the architecture is ahead: an exact number, since the rows are not a sample."""
    hits = float((panels.ahead == sae_type).sum())
    return Interval(hits, hits, hits, len(panels))


def shuffled(paper: pd.DataFrame, times: int, seed: int = 0) -> np.ndarray:
    """The control: the median ratio with the two architectures' names shuffled within every panel, `times` over."""
    rng = np.random.default_rng(seed)
    usable = paper[paper.L0 > 0]
    groups = [
        (group.sae_type.to_numpy(), group.L0.to_numpy(), group.pct_CE_recovered.to_numpy())
        for _, group in usable.groupby(PANEL)
    ]
    return np.array([_dealt(groups, rng) for _ in range(times)])


def _dealt(groups: list[tuple[np.ndarray, np.ndarray, np.ndarray]], rng: np.random.Generator) -> float:
    ratios = []
    for sae_types, l0, quality in groups:
        gated = rng.permutation(sae_types) == "gated"
        ratios.append(l0_ratio(l0[gated], quality[gated], l0[~gated], quality[~gated]))
    return float(np.exp(np.nanmedian(np.log(ratios))))


def repeats(paper: pd.DataFrame) -> pd.DataFrame:
    """Settings that the tables list more than once: the only view of the paper's run-to-run noise.

    `l0_spread` is the largest L0 over the smallest, `loss_spread` the range of loss recovered in percentage points.
    """
    usable = paper[paper.L0 > 0]
    table = usable.groupby(_SETTING).agg(
        runs=("L0", "size"), least=("L0", "min"), most=("L0", "max"), low=("pct_CE_recovered", "min"),
        high=("pct_CE_recovered", "max"),
    )  # fmt: skip
    table = table[table.runs > 1].reset_index()
    return table.assign(l0_spread=table.most / table.least, loss_spread=table.high - table.low)
