"""SAEs trained on normally distributed vectors instead of activations (Top-k paper, appendix G, Figure 30).

White noise has no structure at all. Noise with the mean and the covariance of activations has all that a linear method can see
of them, and nothing that is sparse. Letters: D d_in, B vectors of a batch, n vectors, S members.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import pandas as pd
import torch
from torch import Tensor

from saebook.common import fingerprint
from saebook.evaluation import metrics
from saebook.evaluation.scaling_law import log_slope
from saebook.sae.base import Member, SAEStack
from saebook.sae.kernels import precision
from saebook.training.config import Method
from saebook.training.loop import TrainState, train
from saebook.training.store import Store, key_of

NMSE = "normalised_mse"
_TRAINING, _SAMPLE, _JUDGING = 0, 1, 2  # streams of random vectors
_VECTORS = 4096  # vectors that are measured at one time


@dataclass(frozen=True)
class Normal:
    """A normal distribution: mean [D], and the factor [D, D] that independent numbers are multiplied by."""

    mean: Tensor
    factor: Tensor

    @property
    def d_in(self) -> int:
        return len(self.mean)

    def draw(self, count: int, seed: int, stream: int, number: int) -> Tensor:
        """`count` vectors [count, D]: always the same for one seed, stream and number."""
        digest = hashlib.sha256(f"{seed} {stream} {number}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7]))
        drawn = torch.randn(count, self.d_in, generator=generator).to(self.mean.device)
        return torch.addmm(self.mean, drawn, self.factor)

    def digest(self) -> str:
        """A hash of the distribution, for keys."""
        numbers = torch.cat([self.mean[None], self.factor]).cpu().contiguous().numpy()
        return hashlib.sha256(numbers.tobytes()).hexdigest()[:16]


def white(d_in: int, device: str | torch.device = "cpu") -> Normal:
    """Independent standard normal numbers."""
    return Normal(torch.zeros(d_in, device=device), torch.eye(d_in, device=device))


def matched(x: Tensor) -> Normal:
    """The normal distribution with the mean and the covariance of `x` [n, D]."""
    x64 = x.double()
    values, vectors = torch.linalg.eigh(torch.cov(x64.T))
    factor = values.clamp_min(0.0).sqrt()[:, None] * vectors.T
    return Normal(x64.mean(0).to(x.dtype), factor.to(x.dtype))


@dataclass
class NormalBuffer:
    """Batches [B, D] of a normal distribution, as `training.loop.train` asks for them."""

    normal: Normal
    batch: int
    seed: int

    def sample(self, count: int) -> Tensor:
        """`count` vectors [count, D] for initialisation."""
        return self.normal.draw(count, self.seed, _SAMPLE, 0)

    def batches(self, start: int, steps: int) -> Iterator[Tensor]:
        """Batches number `start` to `steps`, that one left out."""
        return (self.normal.draw(self.batch, self.seed, _TRAINING, number) for number in range(start, steps))


def swept(
    normal: Normal, methods: Sequence[Method], seeds: Sequence[int], count: int, store: Store | None = None
) -> pd.DataFrame:
    """Train what the store lacks of `methods` on a distribution; one row per SAE: method, d_sae, sparsity, seed, key, metrics.

    The metrics are normalised_mse, l0 and alive over `count` vectors that none was trained on.
    """
    store, device = store or Store(), normal.mean.device.type
    shared = {
        "normal": normal.digest(), "count": count, "source": fingerprint.of(__name__, *_modules(methods)),
        "torch": torch.__version__.split("+")[0], "device": device, "precision": precision.current(device),
    }  # fmt: skip
    rows = []
    for seed in seeds:
        wanted = [(m, Member(seed, k), _key(shared, m, seed, k)) for m in methods for k in m.sparsities]
        with store.lock(key_of({"runs": sorted(key for *_, key in wanted)})):
            missing = [entry for entry in wanted if not store.has(entry[2])]
            if missing:
                _train(normal, missing, seed, count, store)
        rows += [
            {"method": m.name or m.architecture, "d_sae": m.d_sae, "sparsity": member.sparsity, "seed": seed, "key": key}
            | store.metadata(key)["metrics"]
            for m, member, key in wanted
        ]  # fmt: skip
    return pd.DataFrame(rows)


def _modules(methods: Sequence[Method]) -> list[str]:
    return sorted({f"saebook.sae.{method.architecture}" for method in methods})


def _key(shared: dict, method: Method, seed: int, sparsity: float) -> str:
    return key_of(shared | {"seed": seed, "method": asdict(replace(method, sparsities=(sparsity,), name=""))})


def _train(
    normal: Normal, missing: list[tuple[Method, Member, str]], seed: int, count: int, store: Store
) -> None:  # fmt: skip
    device, batch = normal.mean.device, missing[0][0].training.batch
    states = [
        TrainState(
            method.build(normal.d_in, (member,), device), method.training, name=f"{method.d_sae} latents",
            precision=precision.current(device.type),
        )
        for method, member, _ in missing
    ]  # fmt: skip
    train(NormalBuffer(normal, batch, seed), states)
    for state, (*_, key) in zip(states, missing, strict=True):
        store.save_sae(key, state.stack, 0, {"metrics": measured(state.stack, normal, count, seed)})


@torch.inference_mode()
def measured(stack: SAEStack, normal: Normal, count: int, seed: int = 0) -> dict[str, float]:
    """normalised_mse, l0 and alive of a stack of one over `count` vectors, in the space that the SAE takes."""
    sums, total, squares = metrics.Sums(), torch.zeros(normal.d_in, dtype=torch.float64), 0.0
    for number, first in enumerate(range(0, count, _VECTORS)):
        z = stack.prepare(normal.draw(min(_VECTORS, count - first), seed, _JUDGING, number))[0]
        f = stack.encode(z)
        sums.add(z, f, stack.decode(f))
        total, squares = total + z.double().sum(0).cpu(), squares + float(z.double().square().sum())
    (one,) = sums.totals()
    variance = squares / count - float((total / count).square().sum())
    return {NMSE: metrics.normalised_mse(one.error2 / count, variance), "l0": one.l0 / count, "alive": one.alive}


# What the chapter reads off -----------------------------------------------------------------------------------------------


def exponents(table: pd.DataFrame) -> list[float]:
    """The slope of the log error against the log width, one per seed."""
    return [log_slope(group.d_sae, group[NMSE]) for _, group in table.groupby("seed")]


@torch.inference_mode()
def signed_axes_error(normal: Normal, k: int, count: int, seed: int = 0) -> float:
    """The normalised MSE of a dictionary without training: both signs of every axis, the k largest of 2 D latents in use.

    The vectors are brought to mean zero and spread one as an SAE does with `per_token`.
    """
    x = normal.draw(count, seed, _JUDGING, 0).double()
    z = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)
    squares = z.square()
    left = squares.sum() - squares.topk(k, 1).values.sum()
    return float(left / (z - z.mean(0)).square().sum()) if k < normal.d_in else math.nan
