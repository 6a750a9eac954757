"""Ratings that readers made with the form: a folder of its CSV files, read with the key to the cards.

A rater gives each feature No, Maybe or Yes, as 0, 1 or 2. Features come in pairs of two methods.
"""

import hashlib
from pathlib import Path

import pandas as pd

from saebook.common.errors import UserError

LABELS = {"No": 0, "Maybe": 1, "Yes": 2}


def commitment(key: pd.DataFrame) -> str:
    """A hash of the key, shown with the cards: ratings carry it, so that they are only read with the key they belong to."""
    return hashlib.sha256(key.to_csv(index=False).encode()).hexdigest()[:16]


def differences(folder: str | Path, key: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    """Differences of labels, method `one` minus `other`: a row per rater and pair (rater, pair, difference), from the CSVs in `folder`.

    `key` has columns card, pair, method. A pair of which a rater labelled one card only is left out. Raises `UserError` for a
    folder without ratings, a file without the form's columns, one made for other cards, and a label that is none.
    """
    files = sorted(Path(folder).glob("*.csv"))
    if not files:
        raise UserError(f"folder '{folder}' holds no CSV of ratings: download one from the page's form")
    return pd.concat([_one_rater(file, key, one, other) for file in files], ignore_index=True)


def _one_rater(file: Path, key: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
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
    wide = joined.pivot(index="pair", columns="method", values="value").reindex(columns=[one, other]).dropna()
    return pd.DataFrame({"rater": file.stem, "pair": wide.index, "difference": (wide[one] - wide[other]).astype(float)})
