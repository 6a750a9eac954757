"""The same comparison at every site and layer of a subject, and what holds at all of them (Gated paper, Figures 12 to 14)."""

import math
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pandas as pd

from saebook.evaluation import pareto
from saebook.evaluation.intervals import Interval, joint_level, t_interval
from saebook.papers.gated import shrinkage

AT = ["site", "layer"]
PAPER = {"Resid": "resid_post", "MLP": "mlp_out", "Attn": "attn_z"}  # the kinds of site of Figures 12 to 14


def per_site(table: pd.DataFrame, read: Callable[[pd.DataFrame], Interval]) -> pd.DataFrame:
    """`read` of each site's part of a table, as columns mean, low, high and n, in the table's order of sites."""
    found = [(*place, read(group)) for place, group in table.groupby(AT, sort=False)]
    rows = [[*place, i.mean, i.low, i.high, i.n] for *place, i in found]
    return pd.DataFrame(rows, columns=[*AT, "mean", "low", "high", "n"])


def l0_ratios(table: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """L0 of Gated over the baseline at equal loss recovered: a t interval over seeds on the log scale at each site."""
    return per_site(table, lambda group: pareto.log_interval(pareto.ratio_per_seed(group, "gated", "relu"), level))


def controls(table: pd.DataFrame, method: str = "relu") -> pd.DataFrame:
    """The control at each site: how far apart seeds of one kind lie, as columns typical, most and pairs (`pareto.Spread`)."""
    found = {
        place: pareto.spread(pareto.ratio_between_seeds(group, method))
        for place, group in table.groupby(AT, sort=False)
    }
    return pd.DataFrame([dict(zip(AT, place, strict=True)) | asdict(spread) for place, spread in found.items()])


def biases(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """Mean relative reconstruction bias of a method's sweep: a t interval over seeds at each site."""
    return per_site(table, lambda group: t_interval(shrinkage.mean_per_seed(group, method)))


def over_layers(table: pd.DataFrame) -> Interval:
    """L0 of Gated over the baseline as a mean over layers, on the log scale: a t interval over the seeds that all layers have."""
    ratios = {place: pareto.ratio_per_seed(group, "gated", "relu") for place, group in table.groupby(AT, sort=False)}
    return pareto.log_interval(np.exp(np.log(pd.DataFrame(ratios)).mean(axis=1, skipna=False)).tolist())


def worst(table: pd.DataFrame) -> Interval:
    """What is known of the largest L0 ratio over all sites.

    All sites lie below a line with the stated confidence when each one does by itself, so the upper end is the largest of
    the plain upper ends. That at least one lies above it takes an interval that holds for all at once, so the lower end is
    the largest of the joint ones. A site whose curves never meet makes the whole unknown.
    """
    if not len(table):
        return Interval(math.nan, 0.0, math.inf, 0)
    plain = l0_ratios(table)
    joint = l0_ratios(table, joint_level(len(plain)))
    if not plain["mean"].notna().all():
        return Interval(math.nan, 0.0, math.inf, int(plain.n.min()))
    return Interval(plain["mean"].max(), joint.low.max(), plain.high.max(), int(plain.n.min()))


def farthest(found: pd.DataFrame, centre: float = 1.0) -> Interval:
    """The interval of the site that reaches farthest from `centre`: every site lies in a band about it when this one does."""
    if not len(found):
        return Interval(math.nan, -math.inf, math.inf, 0)
    reach = np.maximum((found.low - centre).abs(), (found.high - centre).abs())
    row = found.loc[reach.idxmax()]
    return Interval(row["mean"], row.low, row.high, int(row.n))


def overlap(table: pd.DataFrame) -> pd.DataFrame:
    """Loss recovered that both kinds reach at each site: from the higher of the lowest to the lower of the highest."""
    rows = []
    for place, group in table.groupby(AT, sort=False):
        ends = group.groupby("method").loss_recovered.agg(["min", "max"])
        rows.append([*place, ends["min"].max(), ends["max"].min()])
    return pd.DataFrame(rows, columns=[*AT, "from", "to"])


def beside_paper(ratios: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Our `ratios` with the published ones of the same kind of site: their median, range, and for how many there is one."""
    theirs = published.dropna().assign(site=lambda t: t.site.map(PAPER)).groupby("site").ratio
    columns = theirs.agg(paper_median="median", paper_least="min", paper_most="max", paper_n="size")
    return ratios.merge(columns, left_on="site", right_index=True, how="left")
