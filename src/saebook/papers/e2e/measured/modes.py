"""How near the elements of an end-to-end SAE come to local ones: in one group or in two (e2e paper, section 3.3, Figures 3c and 8)."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saebook.evaluation.geometry import max_cosine
from saebook.papers.e2e.measured import dip

Directions = dict[tuple[str, int], Tensor]  # unit directions [n, D] of alive elements, by method and seed


def tested(cosines: pd.DataFrame, column: str) -> pd.DataFrame:
    """The dip test of a `column` of `comparison.cosines`, one line per method and seed.

    `elements`, `p_value`, `over_critical` (the dip over what one mode exceeds in 5 % of samples) and `rejected` at that level.
    """
    lines = []
    for (method, seed), group in cosines.groupby(["method", "seed"], sort=False):
        values = group[column].to_numpy(float)
        p = dip.p_value(values)
        about = {"elements": len(values), "p_value": p, "over_critical": dip.over_critical(values)}
        lines.append({"method": method, "seed": seed} | about | {"rejected": p <= 0.05})
    return pd.DataFrame(lines)


def unlike_any(cosines: pd.DataFrame, at_random: pd.DataFrame, column: str, quantile: float = 0.95) -> pd.DataFrame:
    """The share of elements of each method and seed that come no nearer than random directions do, in `unlike`.

    No nearer: at most the `quantile` of the same `column` of as many random directions.
    """
    keys = ["method", "seed"]
    limit = at_random.groupby(keys)[column].quantile(quantile).rename("limit")
    joined = cosines.merge(limit.reset_index(), on=keys)
    joined["unlike"] = joined[column] <= joined.limit
    return joined.groupby(keys, sort=False)["unlike"].mean().reset_index()


def planted(directions: Directions, share: float, angle: float = 0.5, seed: int = 0) -> pd.DataFrame:
    """Two groups made on purpose: largest cosines with the local elements of the next seed, in the column `local`.

    Of as many directions as each e2e SAE of `directions` has, a `share` are local elements turned by about `angle` radians,
    the rest random. Both groups have a spread of their own. One line per direction: method "planted", seed, local.
    """
    generator = torch.Generator().manual_seed(seed)
    seeds = sorted({number for _, number in directions})
    parts = []
    for number, following in zip(seeds, seeds[1:] + seeds[:1], strict=True):
        local, count = directions["local", following].cpu(), len(directions["e2e", number])
        near = round(share * count)
        some = local[torch.randint(len(local), (near,), generator=generator)]
        noise = torch.nn.functional.normalize(torch.randn(count, local.shape[1], generator=generator), dim=1)
        made = torch.cat([some + float(np.tan(angle)) * noise[:near], noise[near:]])
        parts.append(pd.DataFrame({"local": max_cosine(made, local).numpy(), "seed": number, "method": "planted"}))
    return pd.concat(parts, ignore_index=True)
