"""The recorded grids of learning rates, as the page on tuning shows them."""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from saebook.book import budgets
from saebook.claims import results
from saebook.common.errors import UserError
from saebook.common.names import TIERS
from saebook.papers.topk.shape_search import dead_scores
from saebook.training import tuning

_AT_EQUAL_QUALITY = {
    "gated": "features needed at equal loss recovered", "topk": "error at equal L0", "e2e": "added loss at equal L0",
}  # fmt: skip


def tables() -> str:
    """Every recorded grid as Markdown, with the chosen rates marked, the smallest tier first."""
    parts = []
    for tier in TIERS:
        parts += [_grid(file, tier) for file in sorted(results.folder(tier).glob("*/tuning_*.json"))]
    return "\n".join(parts) or "No grid has been run in this copy.\n"


def _grid(file: Path, tier: str) -> str:
    name = f"{file.parent.name}/{file.stem.removeprefix('tuning_')}"
    record = results.checked(file)
    try:
        points, winners = pd.read_csv(file.with_suffix(".csv")), record["findings"]["chosen"]
        rows, given = record["parameters"]["eval_rows"], record["findings"].get("given", {})
    except (OSError, KeyError, ValueError):
        raise UserError(f"the grid {file} is damaged: restore it and its CSV from git") from None
    title = f"For `{name}` at tier {tier}{_with(given)}, measured on {rows} rows of text"
    if "d_sae" in winners:
        return f"{title}, without any remedy:\n\n{_shapes(points, winners)}"
    tuner = budgets.plan(name).tuner
    return f"{title}:\n\n{_rates(points, winners, tuner.cost if tuner else tuning.Tuner().cost, file.parent.name)}"


def _with(given: dict[str, Any]) -> str:
    """What a grid was run with in place of its tier's values, in words."""
    words = [f"{field} {value}" for field, value in given.items() if field != "eval_rows"]
    return f" but with {', '.join(words)}" if words else ""


def _rates(points: pd.DataFrame, winners: dict[str, float], cost: tuning.Cost, paper: str) -> str:
    ends = (points.lr.min(), points.lr.max())
    scored = tuning.scores(points, cost)
    first = scored[scored.lost > 0].groupby("method").lr.min().to_dict()
    rows = [
        [
            row.method,
            f"{row.lr:g}" + (_won(row.lr in ends) if winners.get(str(row.method)) == row.lr else ""),
            _cost(row.cost, row.collapsed, row.dying, row.lr > first.get(str(row.method), math.inf)),
            row.seeds,
        ]
        for row in scored.itertuples()
    ]
    compared = f"{_AT_EQUAL_QUALITY[paper]}, relative to the middle rate at which nothing is lost"
    return markdown_table(["method", "learning rate", compared, "tuning seeds"], rows)


def _cost(cost: Any, collapsed: Any, dying: Any, above: Any) -> str:
    """The cost of a rate as text, or the reason why the rate was left out."""
    if collapsed:
        return f"out: {collapsed} SAE{'s' * (collapsed > 1)} collapsed"
    if dying:
        return f"out: latents die at {dying} of the sparsities"
    if above:
        return "out: a smaller rate is out already"
    return f"{cost:.2f}" if math.isfinite(cost) else "the curves do not meet"


def _won(at_the_end: bool) -> str:
    """The mark of the chosen rate. At the end of the grid it also says so, because a better rate may lie beyond it."""
    return " **(chosen, at the end of the grid)**" if at_the_end else " **(chosen)**"


def _shapes(points: pd.DataFrame, winner: dict[str, float]) -> str:
    """A grid of widths and k: error and the share of dead latents of each, averaged over the tuning seeds."""
    rows = []
    for row in dead_scores(points).itertuples():
        here = (row.d_sae, row.k, row.lr) == (winner["d_sae"], winner["k"], winner["lr"])
        rate = f"{row.lr:g}" + (_won(False) if here else "")
        rows.append([row.d_sae, f"{row.k:g}", rate, f"{row.normalised_mse:.2f}", f"{row.dead:.2f}"])
    return markdown_table(["latents", "k", "learning rate", "normalised MSE", "share dead"], rows)


def markdown_table(header: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table; bars inside cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines)
