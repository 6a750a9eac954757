"""Principal directions of the activations, and how the text, SAEs and predictions go along with them (e2e paper, appendix G.3).

Letters: N rows, T positions, D d_in, K directions.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import scipy  # `scipy.stats` is imported when it is first used
import torch
from torch import Tensor

from saebook.common.progress import bar
from saebook.evaluation.intervals import Interval
from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject
from saebook.training.objectives import Reference

START, END, REST = "position 0", "end of text", "all else"
GROUPS = (START, END, REST)
_ROWS = 16  # rows a pass
_DRAWS = 1000  # of rows, for an interval over rows


def activations(subject: Subject, site: Site, rows: Tensor) -> Tensor:
    """Activations [N, T, D] of `rows` [N, T] at the site."""
    return torch.cat([subject.activations(part, site) for part in rows.split(_ROWS)])


@torch.no_grad()
def principal_directions(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first `count` principal directions [K, D] of activations `x` [..., D], and the share of the variance [K] of each.

    As in the paper of all positions together, the first one included. The mean activation has positive components.
    """
    flat = x.flatten(0, -2).double()
    mean = flat.mean(0)
    variances, vectors = torch.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
    directions = vectors.T.flip(0)[:count]
    directions = directions * torch.where(directions @ mean < 0, -1.0, 1.0)[:, None]
    return directions.to(x.dtype), (variances.flip(0)[:count] / variances.sum()).to(x.dtype)


def random_directions(count: int, like: Tensor, seed: int = 1) -> Tensor:
    """`count` unit directions [count, D] drawn at random, in the space and on the device of `like` [K, D]."""
    drawn = torch.randn(count, like.shape[1], generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=1).to(like)


def groups(rows: Tensor, end: int) -> np.ndarray:
    """The group [N, T] of each position of `rows` [N, T], a number of `GROUPS`: position 0 first, then the token `end`."""
    labels = torch.where(rows == end, GROUPS.index(END), GROUPS.index(REST))
    labels[:, 0] = GROUPS.index(START)
    return labels.cpu().numpy()


def separation(values: np.ndarray, labels: np.ndarray) -> Interval:
    """Least distance between two of the three group means of `values` [N, T], in standard deviations within groups.

    With an interval over rows. No value (NaN) where a group has fewer than two positions.
    """
    cells = np.zeros((len(GROUPS), 3, len(values)))  # count, sum and sum of squares of each group in each row
    centred = values - values.mean()
    for i in range(len(GROUPS)):
        inside = labels == i
        cells[i] = inside.sum(1), (centred * inside).sum(1), (centred**2 * inside).sum(1)
    return over_rows(lambda chosen: _least_distance(cells[:, :, chosen].sum(-1)), len(values))


def _least_distance(cells: np.ndarray) -> float:
    count, total, squares = cells.T
    if count.min() < 2:
        return float("nan")
    means = total / count
    within = (squares - count * means**2).sum() / (count.sum() - len(count))
    return float(np.diff(np.sort(means)).min() / np.sqrt(max(within, 1e-30)))


def over_rows(statistic: Callable[[np.ndarray], float], rows: int, level: float = 0.95, seed: int = 0) -> Interval:
    """`statistic` of all rows, given as an array of their numbers, with a t interval whose error comes from drawing rows again.

    Rows, and not tokens, are what was drawn from the text. No interval for fewer than two rows or a statistic without a value.
    """
    generator = np.random.default_rng(seed)
    value = statistic(np.arange(rows))
    drawn = np.array([statistic(generator.integers(rows, size=rows)) for _ in range(_DRAWS if rows > 1 else 0)])
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or len(drawn) < 2:
        return Interval(value, -np.inf, np.inf, rows)
    half = float(scipy.stats.t.ppf(0.5 + level / 2, rows - 1) * drawn.std())
    return Interval(value, value - half, value + half, rows)


@torch.no_grad()
def kept(
    table: pd.DataFrame, saes: Sequence[SAEStack], x: Tensor, directions: Tensor, labels: np.ndarray
) -> pd.DataFrame:  # fmt: skip
    """How far the reconstructions of activations `x` [N, T, D] keep the component along each of `directions` [K, D].

    `saes` are stacks of one, line by line those of `table`. One line per SAE and direction: method, seed, direction, the
    `correlation` of input and output components after position 0 and `correlation_0` at position 0, and the `separation`
    of the groups `labels` [N, T] along the output's.
    """
    inputs = (x @ directions.T).double().cpu().numpy()
    lines = []
    for row, sae in zip(table.itertuples(), saes, strict=True):
        parts = [sae.reconstruct(part.flatten(0, 1))[0].view_as(part) @ directions.T for part in x.split(_ROWS)]
        outputs = torch.cat(parts).double().cpu().numpy()
        for k in range(len(directions)):
            one, other = inputs[..., k], outputs[..., k]
            line = {"method": row.method, "seed": row.seed, "direction": k}
            line["correlation"] = correlation(one[:, 1:], other[:, 1:])
            line["correlation_0"] = correlation(one[:, 0], other[:, 0])
            line["separation"] = _separated(other, labels)
            lines.append(line)
    return pd.DataFrame(lines)


def _separated(values: np.ndarray, labels: np.ndarray) -> float:
    centred = values - values.mean()
    cells = [[(w := labels == i).sum(), centred[w].sum(), (centred[w] ** 2).sum()] for i in range(len(GROUPS))]
    return _least_distance(np.array(cells, float))


def followed(kept: pd.DataFrame, order: np.ndarray) -> list[float]:
    """Correlation over directions of what the SAEs of one method keep with log `order` [K], one value for each seed.

    A direction without a correlation, which the reconstruction holds constant, counts as zero.
    """
    groups_of = [group.sort_values("direction").correlation.fillna(0.0) for _, group in kept.groupby("seed")]
    return [correlation(np.log(order), one.to_numpy(float)) for one in groups_of]


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's correlation of two arrays of one shape; NaN where one of them is constant."""
    a, b = one.ravel() - one.mean(), other.ravel() - other.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 1e-12 * max(1.0, float(a @ a)) else float("nan")


@torch.no_grad()
def resampled_kl(
    subject: Subject, site: Site, rows: Tensor, directions: Tensor, seed: int = 0, shuffled: bool = True
) -> np.ndarray:
    """KL [N, K] in nats per token of the original predictions from those with one component after position 0 exchanged.

    Each position of `rows` [N, T] gets the component along a direction that another position after 0 has, drawn without
    replacement; the first position keeps its own, and is not counted. Not `shuffled`, each gets its own back.
    """
    x = activations(subject, site, rows)
    components = x[:, 1:] @ directions.T  # [N, T - 1, K]
    generator = torch.Generator().manual_seed(seed)
    places = components.shape[0] * components.shape[1]
    order = torch.randperm(places, generator=generator) if shuffled else torch.arange(places)
    changed = components.flatten(0, 1)[order.to(x.device)].view_as(components) - components
    divergence = np.zeros((len(rows), len(directions)))
    with bar(len(rows), "resampling directions", "row") as progress:
        for first in range(0, len(rows), _ROWS):
            part = slice(first, first + _ROWS)
            reference = Reference(subject, rows[part], site)
            hidden, lse, mean, _ = reference.clean()
            for k, direction in enumerate(directions):
                new = reference.activations.clone()
                new[:, 1:] += changed[part, :, k, None] * direction
                moved = reference.intervene.onwards(new)[0].flatten(0, 1)
                new_lse, _ = subject.unembedding.log_partition(moved)
                of_token = ((hidden - moved) * mean).sum(-1) + new_lse - lse
                divergence[part, k] = of_token.view(len(new), -1)[:, 1:].double().mean(1).cpu().numpy()
            progress.update(len(rows[part]))
    return divergence


def kl_share(kl: np.ndarray, direction: int = 0) -> Interval:
    """The mean KL of one direction over the median direction's, from `resampled_kl` [N, K], with an interval over rows."""

    def share(chosen: np.ndarray) -> float:
        means = kl[chosen].mean(0)
        return float(means[direction] / np.median(means))

    return over_rows(share, len(kl))
