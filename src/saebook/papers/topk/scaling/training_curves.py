"""Training curves read as errors: against compute, their lower envelope, and the tokens to convergence.

A reading is the loss of one training batch that the SAE has not seen before (section 3.1 of the Top-k paper reads its
frontier off such curves). Under a constant rate a shorter run would have passed through the same points.
"""

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from saebook.common.errors import UserError
from saebook.evaluation.scaling_law import PowerLaw, fit_power_law, log_slope

WINDOW = 1.5  # readings within this factor of a token count are smoothed together
_LEVELS = 40  # of compute at which the envelope is read


def errors(history: pd.DataFrame, batch: int, aux_weight: float) -> pd.DataFrame:
    """The normalised error at each reading after the first of a sweep's `histories`, with the `tokens` trained on until then.

    A loss holds the auxiliary term, `aux_weight` times the share of the error's variance that dead latents leave, which is
    close to one. So the weight is taken off wherever a latent is dead. Readings left without an error above zero are dropped.
    """
    read = history[history.step > 0]
    error = read.loss - aux_weight * (read.dead > 0)
    return read.assign(tokens=read.step * batch, error=error)[error > 0]


def smoothed(tokens: ArrayLike, error: ArrayLike, window: float = WINDOW) -> np.ndarray:
    """The errors [N] at `tokens` [N] smoothed: a line in log-log space through the readings within a factor `window` of each.

    A line, because a mean over one side alone would lag behind a falling curve at its end.
    """
    x, y = np.log(np.asarray(tokens, float)), np.log(np.asarray(error, float))
    away = x[None] - x[:, None]
    near = np.abs(away) <= math.log(window) + 1e-12
    count, first, second = near.sum(1), (near * away).sum(1), (near * away**2).sum(1)
    level, slanted = near @ y, (near * away) @ y
    spread = count * second - first**2
    line = (second * level - first * slanted) / np.where(spread > 0, spread, 1.0)
    return np.exp(np.where(spread > 1e-9, line, level / count))


def with_smooth(curves: pd.DataFrame) -> pd.DataFrame:
    """`curves` of `errors` with the column `smooth`, each SAE's readings averaged apart."""
    parts = [
        one.sort_values("tokens").assign(smooth=lambda g: smoothed(g.tokens, g.error))
        for _, one in curves.groupby(["d_sae", "sparsity", "seed"])
    ]
    return pd.concat(parts, ignore_index=True)


def flops_per_token(d_in: int, d_sae: int, k: ArrayLike) -> np.ndarray:
    """Floating-point operations of one training step per token: 2 d_in (d_sae + 4 k).

    One dense product, the encoder's; the decoder, the latents' gradient and both weight gradients read k rows each
    (appendix D.2). The language model, the optimiser and the auxiliary loss are left out.
    """
    return 2.0 * d_in * (d_sae + 4.0 * np.asarray(k, float))


def envelope(curves: pd.DataFrame) -> pd.DataFrame:
    """The least error reached by each compute, of curves with columns d_sae, compute and smooth: columns compute, error.

    Read at levels of compute, even in logarithms, at which at least two widths have a curve: a frontier of one curve is
    that curve. Raises `UserError` when no two share a level.
    """
    lines = {width: one.sort_values("compute") for width, one in curves.groupby("d_sae")}
    ends = sorted((one.compute.min(), one.compute.max()) for one in lines.values())
    starts, stops = sorted(low for low, _ in ends), sorted(high for _, high in ends)
    if len(lines) < 2 or not starts[1] < stops[-2]:
        raise UserError("no two training curves share a compute: train longer, or at widths closer to each other")
    levels = np.linspace(math.log(starts[1]), math.log(stops[-2]), _LEVELS)
    read = pd.DataFrame({width: _at(one, levels) for width, one in lines.items()}, index=np.exp(levels))
    read = read[read.notna().sum(axis=1) >= 2]
    reached = np.minimum.accumulate(read.min(axis=1).to_numpy())
    return pd.DataFrame({"compute": read.index, "error": np.exp(reached)})


def _at(one: pd.DataFrame, levels: np.ndarray) -> np.ndarray:
    return np.interp(levels, np.log(one.compute), np.log(one.smooth), left=math.nan, right=math.nan)


def tokens_to_convergence(law: PowerLaw, epsilon: float, first: float, last: float) -> float:
    """The tokens from which on twice as many lower the error by less than a share `epsilon`, by the `law` of a training curve.

    With L(D) = a + b D^-c that is where L(2D) = (1 - epsilon) L(D). NaN where it lies before the `first` reading, of which
    nothing is known, or beyond the `last`, so that the law is asked for at most twice what was seen.
    """
    steep = (1 - epsilon) - 2.0**law.exponent  # at the solution epsilon a = steep b D^-c
    if steep <= 0 or law.exponent >= 0 or not law.offset:
        return math.nan  # it never gains so much, or it always does
    tokens = (epsilon * law.offset / (law.coefficient * steep)) ** (1 / law.exponent)
    return tokens if first <= tokens <= last else math.nan


def convergence_by_width(curves: pd.DataFrame, epsilon: float) -> pd.DataFrame:
    """`tokens_to_convergence` of each SAE: columns d_sae, seed, tokens, law; the law is fitted to all its readings.

    Raises `UserError` where a run has too few readings for a law (`scaling_law.fit_power_law`).
    """
    rows = []
    for (width, seed), one in curves.groupby(["d_sae", "seed"]):
        law = fit_power_law(one.tokens, one.error)
        tokens = tokens_to_convergence(law, epsilon, float(one.tokens.min()), float(one.tokens.max()))
        rows.append({"d_sae": width, "seed": seed, "tokens": tokens, "law": law})
    return pd.DataFrame(rows)


def exponents(reached: pd.DataFrame) -> list[float]:
    """The slope of log tokens to convergence against log width, one per seed; NaN for a seed with a width that did not converge."""
    return [log_slope(one.d_sae, one.tokens) for _, one in reached.groupby("seed")]


def end_from_half(curves: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The error that a law of the first half of each run predicts for its end, over the one measured: columns d_sae, seed, ratio.

    `table` is the sweep's, with its validation errors.
    """
    measured: dict[tuple, float] = {
        (d, s): e for d, s, e in zip(table.d_sae, table.seed, table.normalised_mse, strict=True)
    }
    rows = []
    for run, one in curves.groupby(["d_sae", "seed"]):
        end = float(one.tokens.max())
        half = one[one.tokens <= end / 2]
        law = fit_power_law(half.tokens, half.error)
        rows.append({"d_sae": run[0], "seed": run[1], "ratio": float(law(end)) / measured[run]})
    return pd.DataFrame(rows)


def errors_by_batch(history: pd.DataFrame, table: pd.DataFrame, aux_weight: float) -> pd.DataFrame:
    """The smoothed curves of runs in different batches, with the column `batch` of the sweep's `table`."""
    batches, parts = table.groupby("method").batch.first(), []
    for method, one in history.groupby("method"):
        batch = int(batches[method])
        parts.append(with_smooth(errors(one, batch, aux_weight)).assign(batch=batch))
    return pd.concat(parts, ignore_index=True)


def last_doubling(curves: pd.DataFrame, by: str) -> pd.Series:
    """The share by which twice the tokens lowered the smoothed error at the end of the runs, as a mean over each of `by`."""
    gains = []
    for group, one in curves.groupby([by, "seed"]):
        x, y = np.log(one.tokens.to_numpy()), np.log(one.smooth.to_numpy())
        gains.append({by: group[0], "gain": 1 - float(np.exp(y[-1] - np.interp(x[-1] - math.log(2), x, y)))})
    return pd.DataFrame(gains).groupby(by).gain.mean()
