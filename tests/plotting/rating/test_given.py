"""The files of ratings, and the key to their cards."""

import pandas as pd
import pytest

from saebook.common.errors import UserError
from saebook.plotting.rating import given

KINDS = ("gated", "relu")


@pytest.fixture
def key():
    rows = [[pair, kind] for pair in range(6) for kind in KINDS]
    made = pd.DataFrame(rows, columns=["pair", "method"]).sample(frac=1, random_state=0, ignore_index=True)
    made.insert(0, "card", range(1, 13))
    return made


def rated(key, folder, name="rater.csv", **columns):
    made = pd.DataFrame(
        {"card": key.card, "label": key.method.map({"gated": "Yes", "relu": "No"}), "explanation": 'a, "b"'}
    )
    made = made.assign(cards_hash=given.commitment(key), **columns)
    made.to_csv(folder / name, index=False)
    return made


def test_ratings_are_read_by_their_key(key, tmp_path):
    filled = rated(key, tmp_path)
    assert given.differences(tmp_path, key, *KINDS).difference.tolist() == [2.0] * 6
    filled.loc[0, "label"] = ""  # a card left open takes its pair out
    filled.to_csv(tmp_path / "rater.csv", index=False)
    assert len(given.differences(tmp_path, key, *KINDS)) == 5
    swapped = key.assign(method=key.method.map({"gated": "relu", "relu": "gated"}))
    with pytest.raises(UserError, match="other cards"):
        given.differences(tmp_path, swapped, *KINDS)


def test_files_that_are_not_ratings_are_refused(key, tmp_path):
    with pytest.raises(UserError, match="holds no CSV"):
        given.differences(tmp_path, key, *KINDS)
    rated(key, tmp_path, label="Perhaps")
    with pytest.raises(UserError, match="'Perhaps'"):
        given.differences(tmp_path, key, *KINDS)
    (tmp_path / "rater.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="lack the column card"):
        given.differences(tmp_path, key, *KINDS)
