"""Scaling laws fitted to errors: over width and k together (Top-k paper, Eq. 3), and over one quantity alone.

    L(n, k) = exp(alpha + beta_k ln k + beta_n ln n + gamma ln k ln n) + exp(zeta + eta ln k)
    L(x)    = offset + coefficient * x^exponent

Both are fitted by robust least squares on the logarithm of the error, so that a fit counts relative misses. What a law
cannot tell apart it leaves open: where errors show no floor, the irreducible part goes to the lower bound of its
range, and its exponent means nothing. Intervals come from resampling runs.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import scipy  # `scipy.optimize` is imported when it is first used
from numpy.typing import ArrayLike

from saebook.common.errors import UserError
from saebook.evaluation.intervals import Interval

_SOFT = 0.02  # relative miss from which on a run counts less than by its square
_FLOOR = 1e-4  # the smallest irreducible part that is sought, as a share of the smallest error
_STEEPEST = 5.0  # no exponent of the irreducible part, or of one quantity alone, is sought beyond this
_STARTS = (0.1, 0.5, 0.9)  # shares of the smallest error at which the irreducible part starts
_TRIES = 20  # resamples drawn in place of one that has too few widths or k


@dataclass(frozen=True)
class JointLaw:
    """The coefficients of Eq. 3, in natural logarithms."""

    alpha: float
    beta_k: float
    beta_n: float
    gamma: float
    zeta: float
    eta: float

    def __call__(self, n: ArrayLike, k: ArrayLike) -> np.ndarray:
        """The error at `n` latents, of which `k` are active."""
        return self.reducible(n, k) + self.irreducible(k)

    def reducible(self, n: ArrayLike, k: ArrayLike) -> np.ndarray:
        """The part of the error that falls with the width."""
        ln_n, ln_k = np.log(np.asarray(n, float)), np.log(np.asarray(k, float))
        return np.exp(self.alpha + self.beta_k * ln_k + self.beta_n * ln_n + self.gamma * ln_k * ln_n)

    def irreducible(self, k: ArrayLike) -> np.ndarray:
        """The part that no width removes."""
        return np.exp(self.zeta + self.eta * np.log(np.asarray(k, float)))

    def exponent(self, k: float) -> float:
        """The exponent of width in the reducible part at one `k`."""
        return self.beta_n + self.gamma * math.log(k)


@dataclass(frozen=True)
class PowerLaw:
    """L(x) = offset + coefficient * x^exponent."""

    offset: float
    coefficient: float
    exponent: float

    def __call__(self, x: ArrayLike) -> np.ndarray:
        return self.offset + self.coefficient * np.asarray(x, float) ** self.exponent


@dataclass(frozen=True)
class JointFit:
    """A law fitted to runs, with an interval for each coefficient and for `r2` (`r_squared`) by resampling the runs."""

    law: JointLaw
    r2: float
    intervals: dict[str, Interval]


def r_squared(error: ArrayLike, predicted: ArrayLike) -> float:
    """The share of the variance of the log error that a prediction accounts for."""
    seen, expected = np.log(np.asarray(error, float)), np.log(np.asarray(predicted, float))
    return float(1 - np.square(seen - expected).sum() / np.square(seen - seen.mean()).sum())


def fit_joint(n: ArrayLike, k: ArrayLike, error: ArrayLike, irreducible: bool = True) -> JointLaw:
    """Eq. 3 fitted to runs of widths `n`, active latents `k` and `error`; without its second term unless `irreducible`.

    Raises `UserError` for fewer than three widths or two k, fewer runs or cells than coefficients, or an error that
    is not a positive number.
    """
    return _fit_joint(*_checked_grid(n, k, error), irreducible=irreducible)


def resampled_joint(
    n: ArrayLike, k: ArrayLike, error: ArrayLike, resamples: int = 400, level: float = 0.95, seed: int = 0
) -> JointFit:
    """`fit_joint` with percentile intervals over `resamples` draws of as many runs, with replacement.

    Resampling whole runs keeps what the law misses in the intervals, and not only what differs between seeds. Errors of
    runs that share a seed, and so an order of the text, are treated as independent. Raises as `fit_joint`.
    """
    n, k, error = _checked_grid(n, k, error)
    law = _fit_joint(n, k, error)
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(resamples):
        rows = _draw(rng, n, k)
        again = _fit_joint(n[rows], k[rows], error[rows], start=law)
        drawn.append(asdict(again) | {"r2": r_squared(error[rows], again(n[rows], k[rows]))})
    whole = asdict(law) | {"r2": r_squared(error, law(n, k))}
    intervals = {
        name: _percentiles(value, [one[name] for one in drawn], level, len(error)) for name, value in whole.items()
    }
    return JointFit(law, whole["r2"], intervals)


def fit_power_law(x: ArrayLike, error: ArrayLike, offset: bool = True) -> PowerLaw:
    """A power law of `x` with a constant part, or without one unless `offset`.

    Raises `UserError` for fewer than four different x (three without an offset), or values that are not positive.
    """
    x, error = np.asarray(x, float), np.asarray(error, float)
    _positive("x", x)
    _positive("error", error)
    least = 4 if offset else 3
    if len(x) != len(error) or len(np.unique(x)) < least:
        raise UserError(
            f"a power law needs errors at {least} different x, and has {len(np.unique(x))}: take more points"
        )
    middle, smallest = float(np.log(x).mean()), float(error.min())
    u, seen = np.log(x) - middle, np.log(error)
    slope, level = np.polyfit(u, seen, 1)
    if not offset:
        return PowerLaw(0.0, math.exp(level - slope * middle), float(slope))

    def model(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        falling, constant = np.exp(p[0] + p[1] * u), np.exp(np.full_like(u, p[2]))
        return falling + constant, np.stack([falling, falling * u, constant])

    starts = [
        [math.log(max(float(error.mean()) - share * smallest, _FLOOR * smallest)), _within(slope / (1 - share)),
         math.log(share * smallest)]
        for share in _STARTS
    ]  # fmt: skip
    bounds = _bounds([math.inf, _STEEPEST], smallest)
    p = _least_squares(model, seen, starts, bounds)
    return PowerLaw(math.exp(p[2]), math.exp(p[0] - p[1] * middle), float(p[1]))


def log_slope(x: ArrayLike, y: ArrayLike) -> float:
    """The slope of log y against log x by least squares; NaN with fewer than two different x, or a y that is no positive number."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(np.unique(x)) < 2 or not (np.isfinite(y) & (y > 0)).all():
        return math.nan
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def _checked_grid(n: ArrayLike, k: ArrayLike, error: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n, k, error = np.asarray(n, float), np.asarray(k, float), np.asarray(error, float)
    if not len(n) == len(k) == len(error):
        raise UserError(f"a run has a width, a k and an error, and there are {len(n)}, {len(k)} and {len(error)}")
    for name, values in (("width", n), ("k", k), ("error", error)):
        _positive(name, values)
    if not _enough(n, k):
        raise UserError(
            f"the joint law has six coefficients and needs runs at three widths, two k and seven pairs of them; there are "
            f"{len(np.unique(n))} widths, {len(np.unique(k))} k and {len(_cells(n, k))} pairs: train more of them"
        )
    return n, k, error


def _positive(name: str, values: np.ndarray) -> None:
    bad = values[~(np.isfinite(values) & (values > 0))]
    if len(bad):
        raise UserError(f"every {name} of a fit must be a positive number, and one is {bad[0]:g}: leave that run out")


def _enough(n: np.ndarray, k: np.ndarray) -> bool:
    return len(np.unique(n)) >= 3 and len(np.unique(k)) >= 2 and len(_cells(n, k)) >= 7


def _cells(n: np.ndarray, k: np.ndarray) -> np.ndarray:
    return np.unique(np.stack([n, k]), axis=1).T


def _fit_joint(
    n: np.ndarray, k: np.ndarray, error: np.ndarray, irreducible: bool = True, start: JointLaw | None = None
) -> JointLaw:  # fmt: skip
    # Coefficients of centred logarithms correlate little, so that the search is short.
    a, b, smallest = float(np.log(n).mean()), float(np.log(k).mean()), float(error.min())
    u, v, seen = np.log(n) - a, np.log(k) - b, np.log(error)
    plane = np.stack([np.ones_like(u), v, u, u * v])

    def model(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        falling = np.exp(p[:4] @ plane)
        constant = np.exp(p[4] + p[5] * v) if irreducible else np.zeros_like(u)
        return falling + constant, np.concatenate([falling * plane, [constant, constant * v]])

    starts = [_centred(start, a, b)] if start else []
    for share in () if start else _STARTS:
        floor = share * smallest if irreducible else 0.0
        alone = np.linalg.lstsq(plane.T, np.log(error - floor), rcond=None)[0]
        starts.append([*alone, math.log(share * smallest), 0.0])
    p = _least_squares(model, seen, starts, _bounds([math.inf] * 4, smallest, [_STEEPEST]))
    p0, p_k, p_n, gamma, floor, eta = map(float, p)
    return JointLaw(
        p0 - p_k * b - p_n * a + gamma * a * b, p_k - gamma * a, p_n - gamma * b, gamma,
        floor - eta * b if irreducible else -math.inf, eta if irreducible else 0.0,
    )  # fmt: skip


def _centred(law: JointLaw, a: float, b: float) -> list[float]:
    """The law's coefficients of logarithms less `a` (of width) and `b` (of k)."""
    return [
        law.alpha + law.beta_k * b + law.beta_n * a + law.gamma * a * b, law.beta_k + law.gamma * a,
        law.beta_n + law.gamma * b, law.gamma, law.zeta + law.eta * b, law.eta,
    ]  # fmt: skip


def _bounds(falling: list[float], smallest: float, after: list[float] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The range of each coefficient: those of the `falling` part, the irreducible part's size, and what comes `after`."""
    symmetric, rest = np.array(falling), np.array(after or [])
    low = np.concatenate([-symmetric, [math.log(_FLOOR * smallest)], -rest])
    return low, np.concatenate([symmetric, [math.log(1.5 * smallest)], rest])


def _least_squares(
    model: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], seen: np.ndarray, starts: list, bounds: tuple
) -> np.ndarray:  # fmt: skip
    """The coefficients of the best of several searches; `model` gives predictions [N] and their derivatives [P, N]."""

    def miss(p: np.ndarray) -> np.ndarray:
        return np.log(model(p)[0]) - seen

    def slopes(p: np.ndarray) -> np.ndarray:
        predicted, derivatives = model(p)
        return (derivatives / predicted).T

    low, high = bounds
    with np.errstate(over="ignore"):
        fits = [
            scipy.optimize.least_squares(
                miss, np.clip(start, low + 1e-6, high - 1e-6), slopes, bounds=bounds, loss="soft_l1", f_scale=_SOFT,
                x_scale="jac", max_nfev=100,
            )
            for start in starts
        ]  # fmt: skip
    return min(fits, key=lambda one: one.cost).x


def _within(slope: float) -> float:
    return float(np.clip(slope, -_STEEPEST, _STEEPEST))


def _draw(rng: np.random.Generator, n: np.ndarray, k: np.ndarray) -> np.ndarray:
    for _ in range(_TRIES):
        rows = rng.integers(0, len(n), len(n))
        if _enough(n[rows], k[rows]):
            return rows
    return np.arange(len(n))  # so few runs that hardly any draw can be fitted


def _percentiles(value: float, drawn: list[float], level: float, runs: int) -> Interval:
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(value, float(low), float(high), runs)


def noise(n: ArrayLike, k: ArrayLike, error: ArrayLike) -> float:
    """The standard deviation of the log error among runs of one width and k; zero where no two runs share both."""
    n, k, error = _checked_grid(n, k, error)
    logs, (_, cell) = np.log(error), np.unique(np.stack([n, k]), axis=1, return_inverse=True)
    groups = [logs[cell.ravel() == one] for one in np.unique(cell)]
    spare = len(logs) - len(groups)
    return math.sqrt(sum(float(np.square(g - g.mean()).sum()) for g in groups) / spare) if spare else 0.0


def planted(law: JointLaw, n: ArrayLike, k: ArrayLike, spread: float, seed: int = 0) -> np.ndarray:
    """Errors that a `law` gives at widths `n` and `k`, with log-normal noise of standard deviation `spread`."""
    exact = law(n, k)
    return exact * np.exp(spread * np.random.default_rng(seed).standard_normal(exact.shape))


def shuffled_r2(n: ArrayLike, k: ArrayLike, error: ArrayLike, times: int = 5, seed: int = 0) -> float:
    """The control: the mean R squared of the joint law over errors dealt out anew to the runs, so that nothing is to be had."""
    n, k, error = _checked_grid(n, k, error)
    dealt = [np.random.default_rng([seed, time]).permutation(error) for time in range(times)]
    return float(np.mean([r_squared(one, _fit_joint(n, k, one)(n, k)) for one in dealt]))


def miss_at_widest(n: ArrayLike, k: ArrayLike, error: ArrayLike, irreducible: bool = True) -> float:
    """Errors at the widest runs over what the law of all others predicts, as a geometric mean; NaN where too few are left."""
    n, k, error = _checked_grid(n, k, error)
    widest = n == n.max()
    if not _enough(n[~widest], k[~widest]):
        return math.nan
    law = _fit_joint(n[~widest], k[~widest], error[~widest], irreducible)
    return float(np.exp(np.mean(np.log(error[widest]) - np.log(law(n[widest], k[widest])))))
