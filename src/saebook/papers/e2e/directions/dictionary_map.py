"""Two dictionaries on one map, its regions, and what their elements respond to (e2e paper, Figures 19 to 21).

Letters: n elements, D d_in, N rows, T positions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saebook.common.errors import UserError
from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject

SEED = 1  # the paper's random state
AROUND = 6  # tokens shown before the one at which an element is strongest
_ROWS = 16  # rows a pass


def embedded(directions: dict[str, Tensor], seed: int = SEED) -> pd.DataFrame:
    """The directions [n, D] of several dictionaries on one map by UMAP, with its default parameters, as in the paper.

    One line per element: kind, element (its place among those given), x, y. The same seed gives the same map. Raises
    `UserError` for fewer than four elements in all.
    """
    import umap  # its loops are compiled when it is imported, which takes seconds

    reducer: Any = umap.UMAP
    every = torch.cat(list(directions.values())).cpu().numpy()
    if len(every) < 4:
        raise UserError(f"a map needs at least four elements that are alive, and there are {len(every)}")
    # A default asks for more neighbours and more eigenvectors than very few elements have.
    small = {"n_neighbors": min(15, len(every) - 1), "init": "random"} if len(every) < 60 else {}
    places = reducer(random_state=seed, n_jobs=1, **small).fit_transform(every)
    kinds = [kind for kind, own in directions.items() for _ in range(len(own))]
    elements = [i for own in directions.values() for i in range(len(own))]
    return pd.DataFrame({"kind": kinds, "element": elements, "x": places[:, 0], "y": places[:, 1]})


def own_kind(places: np.ndarray, kinds: Sequence[str], neighbours: int = 15) -> np.ndarray:
    """For each of n `places` [n, d], the share [n] of its nearest neighbours that are of its own kind, over what chance gives.

    One means that kinds are mixed as at random, whatever their numbers; with two kinds of equal number 2 is the most.
    """
    labels = np.asarray(kinds)
    count = min(neighbours, len(labels) - 1)
    at = torch.tensor(places, dtype=torch.float32)
    share = np.empty(len(labels))
    for first in range(0, len(labels), 1024):
        part = slice(first, first + 1024)
        distances = torch.cdist(at[part], at)
        inside = torch.arange(len(distances))
        distances[inside, first + inside] = torch.inf
        nearest = distances.topk(count, largest=False).indices.numpy()
        share[part] = (labels[nearest] == labels[part, None]).mean(1)
    chance = {
        kind: (number - 1) / (len(labels) - 1)
        for kind, number in zip(*np.unique(labels, return_counts=True), strict=True)
    }
    return share / np.array([max(chance[kind], 1e-9) for kind in labels])


def regions(placed: pd.DataFrame, count: int, seed: int = SEED) -> pd.DataFrame:
    """The map cut into about `count` regions by k-means, the most one-sided first: region, elements, kind, share.

    `kind` is the one that most elements of a region are of, `share` the share that it has. The number of the region of each
    element goes into the column `region` of `placed`.
    """
    from sklearn.cluster import KMeans

    clustering: Any = KMeans  # its annotations know of no number of starts
    count = min(count, len(placed))
    placed["region"] = clustering(count, n_init=4, random_state=seed).fit_predict(placed[["x", "y"]].to_numpy())
    lines = []
    for region, group in placed.groupby("region"):
        shares = group.kind.value_counts(normalize=True)
        lines.append(
            {"region": region, "elements": len(group), "kind": shares.index[0], "share": float(shares.iloc[0])}
        )
    return pd.DataFrame(lines).sort_values(["share", "elements"], ascending=False).reset_index(drop=True)


def pairs(
    directions: dict[tuple[str, int], Tensor], methods: Sequence[str]
) -> dict[tuple[str, int], dict[str, Tensor]]:
    """The local dictionary of each seed together with that of each of `methods` of the next seed, by (method, seed).

    `directions` [n, D] are by (method, seed). The two began from different dictionaries. Another local one is named with
    " again" behind it.
    """
    seeds = sorted({seed for _, seed in directions})
    following = dict(zip(seeds, seeds[1:] + seeds[:1], strict=True))
    return {
        (method, seed): {
            "local": directions["local", seed],
            "local again" if method == "local" else method: directions[method, following[seed]],
        }
        for method in methods
        for seed in seeds
    }


def one_sidedness(pair: dict[str, Tensor]) -> float:
    """The mean of `own_kind` over the elements [n, D] of a pair of dictionaries, by their directions."""
    kinds = [kind for kind, own in pair.items() for _ in range(len(own))]
    return float(own_kind(torch.cat(list(pair.values())).cpu().numpy(), kinds).mean())


def described(
    placed: pd.DataFrame, cut: pd.DataFrame, dictionaries: dict[str, tuple[SAEStack, Tensor]], subject: Subject, site: Site,
    rows: Tensor, elements: int = 3,
) -> pd.DataFrame:  # fmt: skip
    """What some `elements` of each of the regions `cut` of a map `placed` respond to: region, kind, share, element, text.

    `dictionaries` gives the SAE of each kind and the latents [n] of its elements on the map.
    """
    lines = []
    for region in cut.to_dict("records"):
        sae, latents = dictionaries[region["kind"]]
        members = placed[(placed.region == region["region"]) & (placed.kind == region["kind"])].head(elements)
        chosen = latents[torch.tensor(members.element.tolist(), device=latents.device)].tolist()
        shown = contexts(sae, chosen, subject, site, rows)
        about = {name: region[name] for name in ("region", "kind", "share")}
        lines += [about | {"element": latent, "text": text} for latent, texts in shown.items() for text in texts]
    return pd.DataFrame(lines, columns=["region", "kind", "share", "element", "text"])


@torch.no_grad()
def contexts(
    sae: SAEStack, latents: Sequence[int], subject: Subject, site: Site, rows: Tensor, count: int = 2
) -> dict[int, list[str]]:  # fmt: skip
    """For each of the `latents`, the text around the `count` tokens of `rows` [N, T] at which it is strongest.

    The token itself stands between angle brackets. One token of a row at most, and none where the latent does not fire.
    """
    parts = []
    for part in rows.split(_ROWS):
        x = subject.activations(part, site)
        parts.append(sae.encode(x.flatten(0, 1))[0][:, list(latents)].view(*part.shape, -1))
    strongest, place = torch.cat(parts).max(1)  # [N, len(latents)]
    shown: dict[int, list[str]] = {}
    for i, latent in enumerate(latents):
        best = strongest[:, i].topk(min(count, len(rows)))
        chosen = [row for row, value in zip(best.indices.tolist(), best.values.tolist(), strict=True) if value > 0]
        shown[latent] = [_around(rows[row].tolist(), int(place[row, i]), subject.tokenizer) for row in chosen]
    return shown


def _around(ids: list[int], at: int, tokenizer) -> str:
    before, after = (tokenizer.decode(part) for part in (ids[max(0, at - AROUND) : at], ids[at + 1 : at + 4]))
    text = f"{before}\N{MATHEMATICAL LEFT ANGLE BRACKET}{tokenizer.decode([ids[at]])}\N{MATHEMATICAL RIGHT ANGLE BRACKET}{after}"
    return " ".join(text.split())


@torch.no_grad()
def alive(sae: SAEStack, subject: Subject, site: Site, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The latents [n] that fire at least once on `rows` [N, T], and the unit directions [n, D] of their elements."""
    fired = torch.zeros(sae.d_sae, dtype=torch.bool, device=subject.device)
    for part in rows.split(_ROWS):
        fired |= (sae.encode(subject.activations(part, site).flatten(0, 1))[0] > 0).any(0)
    return fired.nonzero().flatten(), torch.nn.functional.normalize(sae.W_dec[0][fired], dim=1)
