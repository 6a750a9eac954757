"""Paired ratings of features: the Gated paper's statistics (section 4.3, appendix H), and simulated raters to test them on.

A rater gives each feature No, Maybe or Yes, as 0, 1 or 2. Features come in pairs that share rater and setting, one Gated, one
baseline; what is tested is the difference within pairs.
"""

import hashlib
import math
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats as scipy_stats

from saebook.common.errors import UserError
from saebook.evaluation.intervals import Interval, bootstrap_interval

LABELS = {"No": 0, "Maybe": 1, "Yes": 2}
LEVEL = 0.9  # of the paper's intervals


def p_value(differences: ArrayLike) -> float:
    """One-sided paired Wilcoxon test, ties with zero ranked as Pratt does. H0: Gated is at most as interpretable.

    The normal approximation with the tie correction; one when no pair differs.
    """
    d = np.asarray(differences, float)
    if not np.any(d):
        return 1.0
    test = scipy_stats.wilcoxon(d, zero_method="pratt", alternative="greater", method="asymptotic")
    return float(test.pvalue)  # pyright: ignore[reportAttributeAccessIssue] - SciPy makes the class of its result at run time


def mean_difference(differences: ArrayLike) -> Interval:
    """Mean label difference, Gated minus baseline, with the BCa bootstrap interval at the paper's level."""
    return bootstrap_interval(differences, level=LEVEL)


# Raters made up ----------------------------------------------------------------------------------------------------------


def edge_share(half_width: float, pairs: int) -> float:
    """The share of No, equal to that of Yes, that makes differences of unrelated labels spread as a published interval says.

    `half_width` of an interval at `LEVEL` over `pairs`: the standard error times a normal quantile. Two labels that are 0
    or 2 with probability e each and else 1 differ with variance 4 e.
    """
    spread = half_width / float(scipy_stats.norm.ppf(0.5 + LEVEL / 2)) * math.sqrt(pairs)
    return min(spread**2 / 4, 0.5)


def made_up(pairs: int, effect: float, edge: float, rng: np.random.Generator | int) -> np.ndarray:
    """Differences [pairs] of raters whose mean label difference is `effect`: labels of Gated are raised by one now and then.

    `rng` is a generator, or the seed of a new one.
    """
    rng = np.random.default_rng(rng)
    shares = [edge, 1 - 2 * edge, edge]
    baseline, gated = rng.choice(3, pairs, p=shares), rng.choice(3, pairs, p=shares)
    raised = (gated < 2) & (rng.random(pairs) < effect / (1 - edge))
    return gated + raised - baseline


def significant_share(
    pairs: int, effect: float, edge: float, studies: int, seed: int = 0, alpha: float = 0.05
) -> float:
    """The share of simulated studies that the test finds significant: its false alarms without an effect, else its power."""
    rng = np.random.default_rng(seed)
    return float(np.mean([p_value(made_up(pairs, effect, edge, rng)) < alpha for _ in range(studies)]))


# Ratings that a reader made -----------------------------------------------------------------------------------------------


def commitment(key: pd.DataFrame) -> str:
    """A hash of the key, shown with the cards: ratings carry it, so that they are only read with the key they belong to."""
    return hashlib.sha256(key.to_csv(index=False).encode()).hexdigest()[:16]


def differences(folder: str | Path, key: pd.DataFrame) -> pd.DataFrame:
    """Label differences, one row per rater and pair (columns rater, pair, difference), from the CSV files in `folder`.

    `key` has columns card, pair, method. A pair of which a rater labelled one card only is left out. Raises `UserError` for a
    folder without ratings, a file without the form's columns, one made for other cards, and a label that is none.
    """
    files = sorted(Path(folder).glob("*.csv"))
    if not files:
        raise UserError(f"folder '{folder}' holds no CSV of ratings: download one from the page's form")
    return pd.concat([_one_rater(file, key) for file in files], ignore_index=True)


def _one_rater(file: Path, key: pd.DataFrame) -> pd.DataFrame:
    try:
        given = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"ratings {file} cannot be read ({type(error).__name__})") from None
    if lacking := {"card", "label", "cards_hash"} - set(given):
        raise UserError(f"ratings {file} lack the column {', '.join(sorted(lacking))}: use the form's own download")
    if set(given.cards_hash) != {commitment(key)}:
        raise UserError(f"ratings {file} belong to other cards: rate the cards of this page, at this tier")
    if odd := set(given.label) - {*LABELS, ""}:
        raise UserError(f"ratings {file} hold the label {min(odd)!r}: use {', '.join(LABELS)}")
    labels = given[given.label != ""].drop_duplicates("card", keep="last")
    joined = key.assign(card=key.card.astype(str)).merge(labels, on="card").assign(value=lambda t: t.label.map(LABELS))
    wide = joined.pivot(index="pair", columns="method", values="value").reindex(columns=["gated", "relu"]).dropna()
    return pd.DataFrame({"rater": file.stem, "pair": wide.index, "difference": (wide.gated - wide.relu).astype(float)})
