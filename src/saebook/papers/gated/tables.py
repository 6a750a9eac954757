"""A sweep in the columns of the Gated paper's Tables 1 to 8, and whether printed tables agree with themselves."""

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from saebook.evaluation.intervals import Interval, pareto_front
from saebook.subject.model import Site
from saebook.training.store import Store

KEY = ["model", "sae_type", "site", "layer"]
_CE_STEP, _PCT_STEP = 1e-4, 1e-2  # what the last printed decimal is worth


def as_printed(table: pd.DataFrame, model: str, site: Site, rates: dict[str, float]) -> pd.DataFrame:
    """A sweep's `table` with the paper's columns, one row per SAE, L0 rising, and whether it is Pareto-optimal.

    `lambda` is in the units of Eq. 4 and 8 on scaled inputs, as a budget gives it; `lambda_unscaled` is the same penalty
    on the activations as they are. `rates` are the learning rates by architecture.
    """
    scales = [Store().load(key)[0]["metadata"]["training_scale"] for key in table.key]
    printed = pd.DataFrame(
        {
            "model": model, "sae_type": table.method.replace("relu", "baseline"), "site": site.kind, "layer": site.layer,
            "lambda": table.sparsity, "lambda_unscaled": table.sparsity / scales, "lr": table.method.map(rates),
            "L0": table.l0, "pct_CE_recovered": 100 * table.loss_recovered, "clean_CE": table.ce_clean,
            "sae_CE": table.ce, "zero_abl_CE": table.ce_zero, "width": table.d_sae, "pct_alive": 100 * table.alive,
            "gamma": table.relative_reconstruction_bias, "seed": table.seed,
        }
    )  # fmt: skip
    printed = printed.assign(pareto=optimal(printed)).sort_values(["sae_type", "L0"], ignore_index=True)
    return printed


def optimal(printed: pd.DataFrame) -> pd.Series:
    """Mark the rows that are Pareto-optimal within their model, site, layer and architecture; an impossible L0 never is."""
    mask = pd.Series(False, index=printed.index)
    for _, group in printed[printed.L0 > 0].groupby(KEY):
        mask[group.index] = pareto_front(group.L0, group.pct_CE_recovered)
    return mask


def disagreement(printed: pd.DataFrame) -> pd.Series:
    """Points by which a printed loss recovered lies outside what its three printed cross-entropies allow; 0 where it agrees.

    Each loss is known to half its last decimal. Loss recovered falls with the SAE's loss and rises with the ablated one, and
    is monotone in the clean one, so the corners of that box are its range.
    """
    half = _CE_STEP / 2
    corners = []
    for clean in (-half, half):
        for with_sae in (-half, half):
            for ablated in (-half, half):
                above = printed.zero_abl_CE + ablated - printed.sae_CE - with_sae
                corners.append(100 * above / (printed.zero_abl_CE + ablated - printed.clean_CE - clean))
    low, high = np.min(corners, axis=0) - _PCT_STEP / 2, np.max(corners, axis=0) + _PCT_STEP / 2
    given = printed.pct_CE_recovered.to_numpy()
    off = np.maximum(np.maximum(low - given, given - high), 0.0)
    return pd.Series(np.where(off < 1e-9, 0.0, off), index=printed.index)


def agreeing_share(printed: pd.DataFrame) -> Interval:
    """The share of rows that agree with themselves to rounding, with an exact binomial 95 % interval."""
    agree = int((disagreement(printed) == 0).sum())
    limits = scipy_stats.binomtest(agree, len(printed)).proportion_ci(0.95, "exact")
    return Interval(agree / len(printed), float(limits.low), float(limits.high), len(printed))


def rounded(printed: pd.DataFrame) -> pd.DataFrame:
    """Round a table as the paper prints it: losses to four decimals, per cents to two."""
    four, two = ["clean_CE", "sae_CE", "zero_abl_CE"], ["pct_CE_recovered", "pct_alive", "L0"]
    return printed.round({**dict.fromkeys(four, 4), **dict.fromkeys(two, 2)})


def misprinted(printed: pd.DataFrame) -> pd.DataFrame:
    """The control: a copying error. In each model, architecture, site and layer the SAE's losses move down by one row."""
    return printed.assign(sae_CE=printed.groupby(KEY).sae_CE.transform(lambda column: np.roll(column, 1)))
