"""How long a training step of TopK takes by active latents alone, and by dense products (Top-k paper, appendix D.2).

All steps here compute the same gradients, without AuxK, and end with the same Adam. They are measured in turn, round after
round, so that what else the machine does falls on all of them.
"""

import importlib
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scipy  # it imports `scipy.stats`, which takes half a second, when that is first used
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from saebook.evaluation.intervals import Interval
from saebook.plotting.style import finished, logarithmic, plain_numbers, style
from saebook.sae.base import Member
from saebook.sae.kernels import precision
from saebook.sae.kernels.active import Grid, Source, strongest
from saebook.sae.kernels.precision import encoder_product
from saebook.sae.losses import Losses, MemberGradients, sum_of_squares
from saebook.sae.topk import TopK
from saebook.training.config import TrainConfig
from saebook.training.loop import DEAD_EVERY, TrainState
from saebook.training.run import ON_CUDA

SPARSE, DENSE, AUTOGRAD = "step, active latents", "step, dense products", "step, plain PyTorch"
AGAIN = "step, active latents, again"  # the control: the same work under another name
FORWARD, DENSE_FORWARD, ENCODER = "forward, active latents", "forward, dense", "the encoder's product"
_LOOKS = {SPARSE: ("#009E73", "^"), DENSE: ("#D55E00", "s"), AUTOGRAD: ("#0072B2", "o"), ENCODER: ("0.4", "D")}
_STEPS = 1 << 12  # steps of the run that is never finished: the measured ones are always its first
_RATE = 1e-4  # weights hardly move while they are measured


class DenseTopK(TopK):
    """`TopK` without AuxK, by dense products: latents, their gradients and those of both matrices have all M columns.

    By hand it does what `TopK` does, selection included, with `Grid` in the place of entries; its `loss` is for autograd.
    """

    def loss(self, x: Tensor, dead: Tensor | None = None) -> Losses:
        f = self.encode(x)
        error = self.decode(f) - x
        return Losses.of({"reconstruction": error.square().sum(-1).mean(-1) / self.variance}, f > 0)

    def member_gradients(self, i: int, x: Tensor, dead: Tensor | None = None) -> MemberGradients:
        W_enc, W_dec = self.W_enc[i], self.W_dec[i]
        xc = x - self.b_dec[i]
        h = encoder_product(xc, W_enc, self.precision)
        active = self._grid(h, i)
        f, scale = active.h, 2.0 / (len(x) * float(self.variance))
        g, df = active.compare(f, W_dec, xc, scale)
        d_b_enc = active.sums(df)
        terms = {"reconstruction": sum_of_squares(g) / (2 * scale)}
        vectors = {"b_enc": d_b_enc, "b_dec": g.sum(0) - W_enc @ d_b_enc}
        matrices: dict[str, Tensor | list[Source]] = {
            "W_dec": [Source(active, f, g)],
            "W_enc": [Source(active, df, xc)],
        }
        return MemberGradients(terms, active.counts(f), matrices, vectors)

    def _grid(self, h: Tensor, i: int) -> Grid:
        """The k strongest latents, selected as `TopK` selects them, as a grid."""
        k = int(self.members[i].sparsity)
        entries = strongest(h, self.b_enc[i], k)
        latents = torch.from_numpy(entries.latent).long().view(len(h), k)
        used = torch.arange(len(h) * k).view(len(h), k) < torch.from_numpy(entries.end)[:, None]
        f = torch.zeros(h.shape, dtype=entries.h.dtype).scatter_add_(1, latents, entries.h.view(len(h), k) * used)
        return Grid((f > 0).to(f.dtype), f, self.precision)


class Shape(NamedTuple):
    """The size of an SAE: latents, and how many of them are active."""

    d_sae: int
    k: int


def shapes(widths: Sequence[int], k: int, ks: Sequence[int], width: int) -> list[Shape]:
    """Every width with `k`, and every one of `ks` at `width`, each shape once."""
    return list(dict.fromkeys([*(Shape(d_sae, k) for d_sae in widths), *(Shape(width, one) for one in ks)]))


def works(shape: Shape, batches: Sequence[Tensor], seed: int = 0) -> dict[str, Callable[[], object]]:
    """What is measured of a shape, by name, each over all `batches` [B, D]: steps, forward passes, and one product.

    On a CPU the first two kinds of step are the engine's compiled loops, with the precision of products that runs have; on a
    GPU they are its captured graph with Triton kernels and the same without, for which every latent has a column. Plain
    PyTorch is autograd in single precision on both.
    """
    x = batches[0]
    d_in, device, products = x.shape[1], str(x.device), precision.current(x.device.type)
    training = TrainConfig(lr=_RATE, tokens=_STEPS * len(x), batch=len(x), beta1=0.9, resample_at=(), dead_share=1.0)
    member = (Member(seed, float(shape.k)),)

    def state(architecture: type[TopK], **how) -> TrainState:
        stack = architecture(d_in, shape.d_sae, member, device, per_token=True, aux_weight=0.0)
        stack.init_bias(stack.prepare(x)[0])
        kind = importlib.import_module(ON_CUDA).GraphedState if how.pop("engine") and x.is_cuda else TrainState
        return kind(stack, training, precision=products, **how)

    sparse, again = state(TopK, engine=True), state(TopK, engine=True)
    dense = state(DenseTopK, engine=True, **({"entries": False} if x.is_cuda else {}))
    autograd = state(DenseTopK, engine=False, compiled=False)
    stack = sparse.stack
    inputs = [stack.prepare(batch)[0] for batch in batches]

    def forward(pass_of: Callable[[Tensor], Tensor]) -> Callable[[], object]:
        return torch.no_grad()(lambda: [pass_of(z) for z in inputs])

    return {
        SPARSE: lambda: sparse.steps(batches, 1), DENSE: lambda: dense.steps(batches, 1),
        AUTOGRAD: lambda: autograd.steps(batches, 1), AGAIN: lambda: again.steps(batches, 1),
        FORWARD: forward(stack.reconstruct), DENSE_FORWARD: forward(lambda z: stack.decode(stack.encode(z))),
        ENCODER: forward(lambda z: encoder_product(z, stack.W_enc[0], products)),
    }  # fmt: skip


def measure(shape: Shape, batches: Sequence[Tensor], rounds: int, seed: int = 0) -> pd.DataFrame:
    """Seconds a batch of each of `works`, in `rounds` that each have an order of their own: d_sae, k, seed, work, round, seconds.

    All works are done once before, unmeasured: loops are compiled and graphs captured then. Raises `ValueError` for so many
    batches that a step would look up dead latents.
    """
    if len(batches) >= DEAD_EVERY:
        raise ValueError(f"a measurement takes fewer than {DEAD_EVERY} batches")
    every = works(shape, batches, seed)
    for _ in range(2):
        for work in every.values():
            work()
    rows, rng = [], np.random.default_rng([seed, *shape])
    for number in range(rounds):
        for name in rng.permutation(list(every)).tolist():  # what came before has filled the caches, and must vary
            seconds = _seconds(every[name], batches[0]) / len(batches)
            rows.append({**shape._asdict(), "seed": seed, "work": name, "round": number, "seconds": seconds})
    return pd.DataFrame(rows)


def _seconds(work: Callable[[], object], x: Tensor) -> float:
    if x.is_cuda:
        torch.cuda.synchronize()
    begun = time.perf_counter()
    work()
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def median_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """The median with its interval by order statistics, which assumes nothing of how the values are distributed.

    With so few values that even all of them do not reach the level, the interval is the whole line.
    """
    x = np.sort(np.asarray(values, float))
    rank = int(scipy.stats.binom.ppf((1 - level) / 2, len(x), 0.5)) if len(x) else 0
    low, high = (float(x[rank - 1]), float(x[-rank])) if rank else (-np.inf, np.inf)
    return Interval(float(np.median(x)) if len(x) else np.nan, low, high, len(x), tuple(x.tolist()))


def ratios(times: pd.DataFrame, shape: Shape, one: str, other: str) -> list[float]:
    """Time of work `one` over that of `other` in the same round of the same seed, of a table of `measure`."""
    mine = times[(times.d_sae == shape.d_sae) & (times.k == shape.k)]
    seconds = mine.pivot(index=["seed", "round"], columns="work", values="seconds")
    return (seconds[one] / seconds[other]).to_list()


def faster_dense(times: pd.DataFrame, shape: Shape) -> str:
    """Which of the two dense steps has the lower median at a shape: the one that a speed-up is measured against."""
    mine = times[(times.d_sae == shape.d_sae) & (times.k == shape.k)]
    return str(mine[mine.work.isin([DENSE, AUTOGRAD])].groupby("work").seconds.median().idxmin())


def over_sparse(times: pd.DataFrame, shape: Shape) -> dict[str, Interval]:
    """The time of each other step over that of active latents at a shape; its second copy among them, which is the control."""
    return {name: median_interval(ratios(times, shape, name, SPARSE)) for name in (DENSE, AUTOGRAD, AGAIN)}


def speed_ups(times: pd.DataFrame) -> pd.DataFrame:
    """Medians over rounds, one row per shape: dense steps over that of active latents, the dense forward pass over the sparse one.

    The last column is the share of the sparse step that the encoder's product takes.
    """
    rows = []
    for d_sae, k in times[["d_sae", "k"]].drop_duplicates().itertuples(index=False):
        shape = Shape(d_sae, k)
        over = {name: interval.mean for name, interval in over_sparse(times, shape).items()}
        forward = median_interval(ratios(times, shape, DENSE_FORWARD, FORWARD)).mean
        product = median_interval(ratios(times, shape, ENCODER, SPARSE)).mean
        rows.append(
            {
                "latents": d_sae, "k": k, "dense products": over[DENSE], "plain PyTorch": over[AUTOGRAD],
                "forward pass, dense": forward, "share of the encoder's product": product,
            }
        )  # fmt: skip
    return pd.DataFrame(rows).set_index(["latents", "k"])


def largest_difference(shape: Shape, x: Tensor) -> float:
    """How far the gradients of the three steps are apart, relative to the largest, in double precision at inputs `x` [B, D]."""
    stacks = [kind(x.shape[1], shape.d_sae, (Member(0, float(shape.k)),), str(x.device), torch.float64, per_token=True)
              for kind in (TopK, DenseTopK)]  # fmt: skip
    z = stacks[0].prepare(x.double())[0]
    found = []
    for stack, gradients in ((stacks[0], "step"), (stacks[1], "step"), (stacks[1], "plain")):
        stack.init_bias(z)
        getattr(stack, f"{gradients}_gradients")(z)
        found.append({name: p.grad.clone() for name, p in stack.named_parameters() if p.grad is not None})
    first, *others = found
    return max(float((other[n] - g).abs().max() / g.abs().max()) for other in others for n, g in first.items())


def figure(times: pd.DataFrame, k: int, width: int) -> Figure:
    """Milliseconds a batch against width at one `k` (left), and against k at one `width` (right)."""
    style()
    made, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.4), sharey=True, layout="constrained")
    _lines(left, times[times.k == k], "d_sae")
    _lines(right, times[times.d_sae == width], "k")
    left.set(xlabel="latents", ylabel="milliseconds", title=f"k = {k}")
    right.set(xlabel="k (active latents per token)", title=f"{width} latents")
    return finished(made, left, 2)


def _lines(ax: Axes, times: pd.DataFrame, x: str) -> None:
    for name, (colour, marker) in _LOOKS.items():
        points = [(at, median_interval(list(1000 * one.seconds))) for at, one in times[times.work == name].groupby(x)]
        middle = np.array([over.mean for _, over in points])
        ends = np.array([[over.low, over.high] for _, over in points])
        reach = np.abs(np.where(np.isfinite(ends), ends, middle[:, None]) - middle[:, None]).T
        places = np.asarray([at for at, _ in points], float)
        ax.errorbar(places, middle, yerr=reach, color=colour, marker=marker, markersize=5, capsize=2, label=name)
    logarithmic(ax.xaxis)
    plain_numbers(ax.xaxis, tuple(sorted(times[x].unique())))
    logarithmic(ax.yaxis)
