"""The same comparison at every site and layer of a subject, and what holds at all of them (Gated paper, Figures 12 to 14)."""

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import cast

import numpy as np
import pandas as pd

from saebook.evaluation import pareto
from saebook.evaluation.intervals import Interval, joint_level, t_interval
from saebook.papers.gated import shrinkage
from saebook.papers.gated.published import SITES

AT = ["site", "layer"]


def in_paper(table: pd.DataFrame) -> pd.DataFrame:
    """The rows at the types of site that Figures 12 to 14 draw."""
    return table[table.site.isin(SITES.values())]


def per_site(table: pd.DataFrame, read: Callable[[pd.DataFrame], Interval]) -> pd.DataFrame:
    """`read` of each site's part of a table, as columns mean, low, high and n, in the table's order of sites."""
    read_at = [(*place, read(group)) for place, group in table.groupby(AT, sort=False)]
    rows = [[*place, i.mean, i.low, i.high, i.n] for *place, i in read_at]
    return pd.DataFrame(rows, columns=[*AT, "mean", "low", "high", "n"])


def l0_ratios(table: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """L0 of Gated over the baseline at equal loss recovered: a t interval over seeds on the log scale at each site."""
    return per_site(table, lambda group: pareto.log_interval(pareto.ratio_per_seed(group, "gated", "relu"), level))


def controls(table: pd.DataFrame, method: str = "relu") -> pd.DataFrame:
    """The control at each site: how far apart seeds of one architecture lie, as columns typical, most and pairs (`pareto.Spread`)."""
    spreads = {
        place: pareto.spread(pareto.ratio_between_seeds(group, method))
        for place, group in table.groupby(AT, sort=False)
    }
    return pd.DataFrame([dict(zip(AT, place, strict=True)) | asdict(spread) for place, spread in spreads.items()])


def biases(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """Mean relative reconstruction bias of a method's sweep: a t interval over seeds at each site."""
    return per_site(table, lambda group: t_interval(shrinkage.mean_per_seed(group, method)))


def over_layers(table: pd.DataFrame) -> Interval:
    """L0 of Gated over the baseline as a mean over layers, on the log scale: a t interval over the seeds that all layers have."""
    ratios = {place: pareto.ratio_per_seed(group, "gated", "relu") for place, group in table.groupby(AT, sort=False)}
    logs = cast(pd.DataFrame, np.log(pd.DataFrame(ratios)))
    return pareto.log_interval(np.exp(logs.mean(axis=1, skipna=False)).tolist())


def worst(table: pd.DataFrame) -> Interval:
    """An interval for the largest L0 ratio over all sites.

    All sites lie below a line with the stated confidence if each one does by itself, so the upper end is the largest of
    the plain upper ends. To say that at least one lies above a line takes intervals that hold for all at once, so the
    lower end is the largest of the joint ones. If the curves of one site never meet, nothing is known.
    """
    if not len(table):
        return Interval(math.nan, 0.0, math.inf, 0)
    plain = l0_ratios(table)
    joint = l0_ratios(table, joint_level(len(plain)))
    if not plain["mean"].notna().all():
        return Interval(math.nan, 0.0, math.inf, int(plain.n.min()))
    return Interval(plain["mean"].max(), joint.low.max(), plain.high.max(), int(plain.n.min()))


def farthest(intervals: pd.DataFrame, centre: float = 1.0) -> Interval:
    """The interval of the site that reaches farthest from `centre`: every site lies in a band about it when this one does."""
    if not len(intervals):
        return Interval(math.nan, -math.inf, math.inf, 0)
    reach = np.maximum((intervals.low - centre).abs(), (intervals.high - centre).abs())
    row = intervals.loc[reach.idxmax()]
    return Interval(row["mean"], row.low, row.high, int(row.n))


def overlap(table: pd.DataFrame) -> pd.DataFrame:
    """The range of loss recovered that both architectures reach at each site: from the higher of the lowest to the lower of the highest."""
    rows = []
    for place, group in table.groupby(AT, sort=False):
        ends = group.groupby("method").loss_recovered.agg(["min", "max"])
        rows.append([*place, ends["min"].max(), ends["max"].min()])
    return pd.DataFrame(rows, columns=[*AT, "from", "to"])


def beside_paper(ratios: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Our `ratios` beside the published ones at the same type of site: their median, their range and their number."""
    theirs = published.dropna().assign(site=lambda t: t.site.map(SITES)).groupby("site").ratio
    columns = theirs.agg(paper_median="median", paper_least="min", paper_most="max", paper_n="size")
    return ratios.merge(columns, left_on="site", right_index=True, how="left")
