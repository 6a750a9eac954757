"""The rows of the forest plot, each with the card of evidence that it opens."""

from collections.abc import Sequence
from typing import Any

from saebook.book.site import claim_tables
from saebook.book.site.forest import drawing
from saebook.book.site.result_box import without_blank_lines
from saebook.claims.ledger import Verdict
from saebook.claims.standings import Standing
from saebook.common import sidecar
from saebook.common.names import PAPERS
from saebook.common.templates import render


def plot(rows: Sequence[Standing], pages: set[str]) -> str:
    """Every judged claim as an interval beside the range in which it holds, by paper, as HTML that needs no script."""
    judged = [row for row in rows if row.grade]
    papers = [
        {"key": paper, "name": name, "rows": [_row(row, pages) for row in judged if row.claim.paper == paper]}
        for paper, name in PAPERS.items()
    ]
    offered = claim_tables.filters(judged)
    html = render(
        "saebook.book.site", "forest.html",
        papers=[paper for paper in papers if paper["rows"]], count=len(judged),
        legend=drawing.legend(),
        papers_offered=offered.pop("papers"), **offered,
    )  # fmt: skip
    return without_blank_lines(html)


def _row(row: Standing, pages: set[str]) -> dict[str, Any]:
    assert row.recorded is not None
    claim, value = row.claim, row.recorded.value
    card = sidecar.load(claim.notebook)
    return claim_tables.described(row, pages, "notebooks/") | {
        "mark": drawing.mark(row.verdict),
        "picture": drawing.row(claim, row.verdict, value),
        "large": drawing.card(claim, row.verdict, value),
        "reach": f"{drawing.reach(claim, value):.3f}",
        "rank": list(drawing.MARKS).index(Verdict(row.verdict).value),
        "differs": card.differs,
        "caveat": card.caveat,
    }
