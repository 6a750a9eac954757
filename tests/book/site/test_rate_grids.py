"""The tuning page marks the chosen rates, and says which rates are out and why."""

import json

import pandas as pd
import pytest

from saebook.book.site import rate_grids
from saebook.claims import results
from saebook.common.errors import UserError


def test_table_marks_one_winner_per_method(home, cells):
    table = cells(rate_grids.tables())[2:]
    assert [row[0] for row in table] == ["gated"] * 3 + ["relu"] * 3
    assert [row[1] for row in table if "chosen" in row[1]] == ["0.04 **(chosen, at the end of the grid)**"] * 2
    assert [row[2] for row in table[:3]] == ["2.00", "1.00", "0.50"]
    place = home / "data" / "results" / "cpu" / "gated" / "tuning_fig05_pareto.csv"
    grid = pd.read_csv(place)
    grid.loc[(grid.method == "relu") & (grid.lr == 1e-3), "loss_recovered"] -= 0.5  # meets no other rate's curve
    grid.to_csv(place, index=False)
    assert [row[2] for row in cells(rate_grids.tables())[5:6]] == ["the curves do not meet"]
    bent = grid.copy()
    loosest = (bent.method == "gated") & (bent.lr == 0.01) & (bent.sparsity == bent.sparsity.min())
    bent.loc[loosest, "loss_recovered"] = 0.0  # it may use the most features, and recovers nothing
    bent.to_csv(place, index=False)
    assert [row[2] for row in cells(rate_grids.tables())[3:5]] == [
        "out: 2 SAEs collapsed",
        "out: a smaller rate is out already",
    ]
    grid.to_csv(place, index=False)
    file = place.with_suffix(".json")
    file.write_text(file.read_text().replace("0.04", "0.01", 1))
    marked = [row[1] for row in cells(rate_grids.tables())[2:] if "chosen" in row[1]]
    assert marked == ["0.01 **(chosen)**", "0.04 **(chosen, at the end of the grid)**"]


def test_title_names_what_a_grid_was_given_in_place_of_its_tiers_values(home):
    file = home / "data" / "results" / "cpu" / "gated" / "tuning_fig05_pareto.json"
    before = rate_grids.tables().splitlines()[0]
    assert before == "For `gated/fig05_pareto` at tier cpu, measured on 8 rows of text:"
    record = json.loads(file.read_text())
    record["findings"]["given"] = {"eval_rows": 8, "tokens": 4096}
    file.write_text(json.dumps(record))
    after = rate_grids.tables().splitlines()[0]
    assert after == "For `gated/fig05_pareto` at tier cpu but with tokens 4096, measured on 8 rows of text:"


def test_missing_grids_are_named_and_damaged_ones_are_one_line(home, tmp_path, monkeypatch):
    (home / "data" / "results" / "cpu" / "gated" / "tuning_fig05_pareto.csv").unlink()
    with pytest.raises(UserError, match="restore it and its CSV"):
        rate_grids.tables()
    monkeypatch.setattr(results, "folder", lambda tier: tmp_path / tier)
    assert "No grid has been run" in rate_grids.tables()
