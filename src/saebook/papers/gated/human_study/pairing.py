"""Which Gated SAE and which baseline are rated side by side (Figure 7)."""

import numpy as np
import pandas as pd


def comparable(table: pd.DataFrame) -> pd.DataFrame:
    """The SAEs to rate: of each seed the Gated one of the middle lambda, and the baseline whose L0 is nearest to its own.

    `table` is a sweep's; nearest on the log scale. Two rows per seed, Gated first.
    """
    gated = table[table.method == "gated"]
    middle = sorted(gated.sparsity.unique())[gated.sparsity.nunique() // 2]
    kept = []
    for _, one in gated[gated.sparsity == middle].iterrows():
        others = table[(table.method == "relu") & (table.seed == one.seed)]
        kept += [one, others.loc[(np.log(others.l0) - np.log(one.l0)).abs().idxmin()]]
    return pd.DataFrame(kept).reset_index(drop=True)
