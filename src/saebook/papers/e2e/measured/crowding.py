"""How crowded a dictionary is: each element's largest cosine with another of its own SAE, for every run (e2e paper, Figure 7).

The largest of many cosines grows with their number by chance alone. Beside each dictionary stands one of as many directions
drawn at random.
"""

import math
from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from saebook.common.progress import bar
from saebook.evaluation.geometry import max_cosine
from saebook.papers.e2e.comparison import ALIVE, alive_directions
from saebook.papers.e2e.measured.picking import OF_RUN
from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject

SIMILARITY, AT_RANDOM, EXCESS = "similarity", "similarity_at_random", "similarity_beyond_random"


def similarity(directions: Tensor) -> float:
    """The mean over `directions` [n, D] of each one's largest cosine with another; NaN for fewer than two."""
    return float(max_cosine(directions).mean()) if len(directions) > 1 else math.nan


def at_random(like: Tensor, seed: int) -> float:
    """`similarity` of as many directions as `like` [n, D] has, drawn uniformly at random."""
    return similarity(torch.randn(like.shape, generator=torch.Generator().manual_seed(seed)))


def similarities(
    table: pd.DataFrame, saes: Sequence[SAEStack], subject: Subject, site: Site, rows: Tensor
) -> pd.DataFrame:
    """The similarity within every SAE of a sweep's `table`, over the elements that fire on `rows` [N, T]; a line per SAE.

    `saes` are stacks of one, the runs of `table` line by line. Beside the columns of `OF_RUN`, where alive elements are
    counted anew: the similarity, that of random directions, and the difference of the two.
    """
    lines = []
    with bar(len(saes), "similarity", "SAE") as progress:
        for run, sae in zip(table[OF_RUN].to_dict("records"), saes, strict=True):
            own = alive_directions(sae, subject, site, rows)
            values = {ALIVE: len(own), SIMILARITY: similarity(own), AT_RANDOM: at_random(own, int(run["seed"]))}
            lines.append(run | values | {EXCESS: values[SIMILARITY] - values[AT_RANDOM]})
            progress.update()
    return pd.DataFrame(lines)
