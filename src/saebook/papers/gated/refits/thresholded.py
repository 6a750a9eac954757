"""A trained SAE without its small activations: a cheap substitute for a gate (a limitation that the Gated paper names).

One threshold a sweep: the share of activations that is kept, chosen on training text by the rule that tunes rates (fewest active
latents at equal loss recovered, the unpruned sweep among the candidates), and measured on validation text. Letters: B tokens,
M d_sae.
"""

import copy
import math
from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from saebook.evaluation.pareto import ratio
from saebook.papers.gated.refits.as_gated import measured, rows_of, stored
from saebook.sae.gated import Gated
from saebook.subject.model import Site, Subject
from saebook.training.sweep import Data


def keep_strongest(sae: Gated, x: Tensor, share: float, f: Tensor | None = None) -> Gated:
    """A copy of `sae` (one member) that keeps, on `x` [B, D], the `share` of its activations that are largest.

    f > theta is h > (theta - b_mag) / e^r_mag, so a threshold on activations is a narrower gate. Decoder rows have unit norm, so
    that one threshold means the same for every latent. `f` [1, B, M] are the latents of `x`, given where they are known.
    """
    f = sae.encode(x) if f is None else f
    active = f[f > 0]
    pruned = copy.deepcopy(sae)
    if share < 1 and len(active):
        theta = active.kthvalue(max(1, math.ceil((1 - share) * len(active)))).values
        pruned.b_gate.data = torch.minimum(sae.b_gate, (sae.b_mag - theta) * (-sae.r_mag).exp())
    return pruned


def keep_at_random(sae: Gated, x: Tensor, share: float, f: Tensor | None = None, seed: int = 0) -> Gated:
    """The control: remove as many activations of `x` [B, D] by shutting latents drawn at random. `f` as above."""
    counts = ((sae.encode(x) if f is None else f)[0] > 0).sum(0).double().cpu()
    order = torch.randperm(len(counts), generator=torch.Generator().manual_seed(seed))
    shut = order[counts[order].cumsum(0) <= (1 - share) * counts.sum()]
    pruned = copy.deepcopy(sae)
    pruned.b_gate.data[0, shut.to(pruned.b_gate.device)] = -math.inf
    return pruned


def pruned(
    table: pd.DataFrame, method: str, shares: Sequence[float], choice_rows: int, subject: Subject, site: Site, data: Data,
    prune=keep_strongest,
) -> tuple[pd.DataFrame, dict[int, float]]:  # fmt: skip
    """The sweep of `method` in `table` pruned, as a table of the method "pruned_METHOD", and the share that each seed keeps.

    Thresholds and shares come from the first `choice_rows` rows of the training text; the table is measured on validation text.
    """
    runs = table[table.method == method].reset_index(drop=True)
    saes = [stored(key, subject.device) for key in runs.key]
    seen, validation = (
        rows_of("train", choice_rows, subject, data),
        rows_of("validation", data.eval_rows, subject, data),
    )
    tried: dict[float, list[Gated]] = {share: [] for share in shares}
    with torch.no_grad():
        x = subject.activations(seen, site)[:, data.skip :].flatten(0, 1)
        for sae in saes:
            f = sae.encode(x)
            for share, made in tried.items():
                made.append(prune(sae, x, share, f))
    seeds = [int(seed) for seed in runs.seed.unique()]
    if len(tried) == 1:  # nothing to choose from
        chosen = dict.fromkeys(seeds, shares[0])
    else:
        scored = _scored(tried, runs, method, subject, site, seen, data.skip)
        chosen = {seed: choose(scored, seed) for seed in seeds}
    made = [tried[chosen[int(seed)]][i] for i, seed in enumerate(runs.seed)]
    return measured(made, runs, f"pruned_{method}", subject, site, validation, data.skip), chosen


def _scored(
    tried: dict[float, list[Gated]], runs: pd.DataFrame, method: str, subject: Subject, site: Site, rows: Tensor, skip: int
) -> dict[float, pd.DataFrame]:  # fmt: skip
    """The table of each share's SAEs on `rows` [N, T], all measured together: the subject's own passes are made once."""
    every = [sae for made in tried.values() for sae in made]
    table = measured(every, pd.concat([runs] * len(tried)), method, subject, site, rows, skip)
    parts = (table.iloc[begin : begin + len(runs)] for begin in range(0, len(table), len(runs)))
    return dict(zip(tried, parts, strict=True))


def choose(scored: dict[float, pd.DataFrame], seed: int) -> float:
    """The share whose sweep of `seed` needs the fewest active latents for the loss recovered of the one that keeps the most."""
    sweeps = {share: table[table.seed == seed] for share, table in scored.items()}
    most = max(sweeps)
    cost = {share: ratio(sweep, sweeps[most]) for share, sweep in sweeps.items()}
    return min((share for share in cost if math.isfinite(cost[share])), key=cost.__getitem__, default=most)
