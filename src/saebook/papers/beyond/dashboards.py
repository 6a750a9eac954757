"""Dashboards of latents drawn at random from SAEs of equal loss: where they fire, what they do to the logits, which others are like them.

Letters: N rows, T positions, D width of the site, M d_sae, m latents that are looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saebook.common.errors import UserError
from saebook.evaluation.features import bands, firings, logit_effects, neighbours
from saebook.evaluation.features.firings import Firings
from saebook.papers.beyond import compact
from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject

WINDOW = 64  # tokens of a context
NEIGHBOURS = 3
BINS = 24  # of a histogram of activations
_TOKENS = 8  # raised, and as many lowered
_DRAW = 47  # a stream of random numbers apart from those of training
# Where a latent's neighbours are looked for. SAEs of one seed start from the same directions, whatever the architecture, and
# look alike for that reason alone: so the other architecture is one of another seed.
OTHER_SEED, OTHER_KIND, OWN, SAME_START, CHANCE = "other_seed", "other_kind", "own", "same_start", "chance"


@dataclass(frozen=True)
class Dashboards:
    """`points`: one line a latent, as `compact` writes it, those with `shown` in full, neighbours of theirs
    by density and strongest context alone.

    `every`: density and the cosine of the nearest neighbour of each latent alive in the SAEs of the first seed. `bands`: how
    strong the firings of each band are. `text` and `tokens` are what the contexts of `points` refer to.
    """

    points: pd.DataFrame
    every: pd.DataFrame
    bands: pd.DataFrame
    text: list[str]
    tokens: list[str]


def equal_loss(table: pd.DataFrame) -> pd.DataFrame:
    """The runs of two seeds to look at: of all pairs of penalties, one of each architecture, the pair nearest in loss recovered.

    `table` is a sweep's; nearest are the means over all of its seeds. Four lines: Gated and the baseline with the first seed,
    then both with the second.
    """
    means = table.groupby(["method", "sparsity"]).loss_recovered.mean()
    gated, relu = means["gated"], means["relu"]
    gaps = np.abs(gated.to_numpy()[:, None] - relu.to_numpy())
    one, other = np.unravel_index(gaps.argmin(), gaps.shape)
    of = {"gated": gated.index[one], "relu": relu.index[other]}
    seeds = table.seed.unique()[:2]
    runs = [
        table[(table.method == method) & (table.sparsity == sparsity) & (table.seed == seed)]
        for seed in seeds
        for method, sparsity in of.items()
    ]
    return pd.concat(runs, ignore_index=True)


def drawn(alive: Tensor, count: int, method: str, seed: int = 0) -> Tensor:
    """`count` of the latents `alive`, drawn at random and in the order of their numbers. Raises `UserError` where there are fewer."""
    if len(alive) < count:
        raise UserError(f"only {len(alive)} latents of {method} fire on this text: ask for fewer features than {count}")
    rng = np.random.default_rng([_DRAW, seed])
    chosen = rng.choice(len(alive), count, replace=False)
    return alive[torch.from_numpy(np.sort(chosen)).to(alive.device)]


@torch.inference_mode()
def measured(
    chosen: pd.DataFrame, saes: Sequence[SAEStack], subject: Subject, site: Site, rows: Tensor, skip: int, features: int,
    contexts: int,
) -> Dashboards:  # fmt: skip
    """Dashboards of `features` latents of each of the first two of `saes`, the runs `chosen` by `equal_loss` line by line.

    Latents are shown on `rows` [N, T] without the first `skip` positions, with `contexts` windows a band. The text goes through
    the subject once. Raises `UserError` where fewer latents fire.
    """
    fired = firings.firings(subject, site, saes, rows, skip)
    alive = [one.counts().nonzero().flatten() for one in fired]
    decoders = [sae.W_dec[0] for sae in saes]
    shown = [drawn(alive[i], features, chosen.method[i]) for i in range(2)]
    # SAEs 0 and 1 are the two architectures of one seed, 2 and 3 the same of another.
    where = [{OTHER_SEED: i + 2, OTHER_KIND: 3 - i, OWN: i} for i in range(2)]
    near = [
        {name: _nearest(decoders, alive, i, j, shown[i], NEIGHBOURS) for name, j in where[i].items()} for i in range(2)
    ]
    names, points = compact.Tokens(rows), []
    for i, (face, whole) in enumerate(_faces(shown, where, near, len(saes))):
        brief = [""] * (len(face) - whole)
        effects = logit_effects.effects(subject, site, decoders[i][face[:whole]], _TOKENS)
        lines = {"sae": i, "method": chosen.method[i], "seed": int(chosen.seed[i]), "latent": face.tolist()}
        lines |= _fires(fired[i].of(face), whole, contexts)
        lines["raised"] = names.effects(effects.raised, effects.raised_by) + brief
        lines["lowered"] = names.effects(effects.lowered, effects.lowered_by) + brief
        for name in (OTHER_SEED, OTHER_KIND, OWN):
            lines[name] = compact.neighbours(*near[i][name], where[i][name], len(face)) if whole else ""
        points.append(pd.DataFrame(lines))
    every = pd.concat([_every(i, chosen, fired, alive, decoders) for i in range(2)], ignore_index=True)
    strengths = pd.concat([_strengths(fired[i].of(shown[i]), chosen.method[i], contexts) for i in range(2)])
    return Dashboards(
        pd.concat(points, ignore_index=True), every, strengths, names.text(), names.strings(subject.tokenizer)
    )


def _fires(of: Firings, whole: int, contexts: int) -> dict[str, list]:
    """The columns on where latents fire; after the first `whole` of them those of neighbours, with their strongest context alone."""
    brief = [""] * (of.latents - whole)
    columns = {
        "shown": [1] * whole + [0] * len(brief), "density": of.density().tolist(), "largest": of.largest().tolist(),
        "histogram": compact.joined(firings.histogram(of, BINS)[:whole]) + brief,
    }  # fmt: skip
    for name in bands.BANDS:
        seen = bands.windows(of, bands.band(of, name, contexts, _DRAW), WINDOW)
        most = [contexts] * whole + [int(name == "top")] * len(brief)
        columns[name] = compact.contexts(of, seen, most)
    return columns


def _faces(shown: list[Tensor], where: list[dict], near: list[dict], saes: int) -> list[tuple[Tensor, int]]:
    """Of each SAE the latents that need a line, the shown ones first, and how many of them are shown."""
    faces = []
    for j in range(saes):
        whole = shown[j] if j < len(shown) else shown[0][:0]
        besides = [near[i][name][1].flatten() for i in range(2) for name, of in where[i].items() if of == j]
        others = torch.cat([whole[:0], *besides]).unique()
        faces.append((torch.cat([whole, others[~torch.isin(others, whole)]]), len(whole)))
    return faces


def _nearest(decoders: list, alive: list, i: int, j: int, latents: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Cosines and numbers of the `count` latents of SAE j that are nearest to each of `latents` of SAE i, itself left out."""
    return neighbours.nearest(decoders[i][latents], decoders[j], alive[j], count, latents if i == j else None)


def _every(i: int, chosen: pd.DataFrame, fired: list[Firings], alive: list, decoders: list) -> pd.DataFrame:
    """Density and nearest cosines of all latents of SAE i that are alive; by chance, those with random directions."""
    mine = decoders[i][alive[i]]
    among = {OTHER_SEED: i + 2, OTHER_KIND: 3 - i, SAME_START: 1 - i}
    columns = {name: _nearest(decoders, alive, i, j, alive[i], 1)[0] for name, j in among.items()}
    chance = neighbours.random_directions(len(alive[i + 2]), mine.shape[1], _DRAW).to(mine)
    columns[CHANCE] = neighbours.nearest(mine, chance, torch.arange(len(chance), device=mine.device), 1)[0]
    columns = {name: cosines[:, 0] for name, cosines in columns.items()} | {"density": fired[i].density()[alive[i]]}
    plain = {name: column.cpu().numpy() for name, column in columns.items()}
    return pd.DataFrame({"method": chosen.method[i], "latent": alive[i].cpu().numpy()} | plain)


def _strengths(of: Firings, method: str, contexts: int) -> pd.DataFrame:
    """Each place of each band by its strength, as a share of its latent's largest activation."""
    parts = []
    for name in bands.BANDS:
        chosen = bands.band(of, name, contexts, _DRAW)
        strength = of.value[chosen] / of.largest()[of.latent[chosen]]
        parts.append(pd.DataFrame({"method": method, "band": name, "strength": strength.cpu().numpy()}))
    return pd.concat(parts, ignore_index=True)


def findings(chosen: pd.DataFrame, boards: Dashboards) -> dict:
    """What the page that shows the dashboards needs besides `points`: the SAEs, the text and the strings of its tokens."""
    runs = chosen[["method", "seed", "sparsity", "d_sae", "l0", "loss_recovered", "alive", "key"]]
    saes = [{str(name): value for name, value in run.items()} for run in runs.to_dict("records")]
    nearest = boards.every.groupby("method")[[OTHER_SEED, OTHER_KIND, SAME_START, CHANCE]].median().to_dict("index")
    return {"saes": saes, "window": WINDOW, "nearest": nearest, "text": boards.text, "tokens": boards.tokens}
