"""The claims on the front page and on the ledger's page: counts, headlines, and every row with what decides it."""

from collections.abc import Sequence
from typing import Any

from saebook.book.site import result_box
from saebook.book.site.forest import drawing
from saebook.book.site.result_box import without_blank_lines
from saebook.claims import bets, ledger, noise, rules, standings, wording
from saebook.claims.grades import Grade
from saebook.claims.ledger import Verdict
from saebook.claims.standings import Standing
from saebook.common.names import PAPERS
from saebook.common.templates import render

# What each paper is read for first. A claim that the ledger does not have, or that has no number yet, is left out.
HEADLINES = {
    "gated": ("gated.fig05.half_the_features", "gated.fig12.every_site", "gated.limits.lead_left"),
    "topk": ("topk.fig02.beats_relu", "topk.fig05.more_than_mse", "topk.fig15.auxk"),
    "e2e": ("e2e.fig01.e2e_below_local", "e2e.fig01.fewer_alive", "e2e.fig02.e2e_leaves_the_path"),
}
_ALL = [*(verdict.value for verdict in Verdict), ledger.NOT_RUN, ledger.NOT_JUDGED, ledger.REPORTED]
_MEANING = "how-it-works.html#what-a-verdict-means"
_JUDGED = [verdict.value for verdict in Verdict if verdict is not Verdict.NOT_COMPARABLE]


def counts(rows: Sequence[Standing]) -> str:
    """Count the claims of each paper by what they rest on and by verdict, as HTML; each number links to its rows.

    Only verdicts have columns, so that the table is narrow; claims without one share a line of words.
    """
    by_paper = {paper: tallies for paper, tallies in standings.counts(rows).items() if tallies}
    judged = [tally for of_paper in by_paper.values() for grade, tally in of_paper.items() if grade]
    words = [word for word in _JUDGED if any(word in tally for tally in judged)] or _JUDGED
    papers = [
        {
            "key": paper, "name": PAPERS[paper],
            "lines": [
                {"grade": grade, "counts": [(word, tally.get(word, 0)) for word in words]}
                for grade, tally in of_paper.items() if grade
            ],
            "without": [(word, count) for word in _ALL if (count := of_paper.get(None, {}).get(word))],
        }
        for paper, of_paper in by_paper.items()
    ]  # fmt: skip
    return _html("counts.html", papers=papers, words=words)


def headlines(rows: Sequence[Standing], pages: set[str]) -> str:
    """State the result of each paper's main claims, one sentence each, as HTML."""
    by_id = {row.claim.id: row for row in rows}
    papers = []
    for paper, ids in HEADLINES.items():
        shown = [_headline(by_id[one], pages) for one in ids if one in by_id and by_id[one].recorded]
        if shown:
            told = bets.sentences([row for row in rows if row.claim.paper == paper])
            papers.append({"name": PAPERS[paper], "rows": shown, "sentences": told})
    return _html("headlines.html", papers=papers, meaning=_MEANING, legend=drawing.legend())


def _headline(row: Standing, pages: set[str]) -> dict[str, Any]:
    assert row.recorded is not None
    picture = drawing.row(row.claim, row.verdict, row.recorded.value, ticks=True)
    return described(row, pages, "notebooks/") | {"picture": picture}


def bet_on(rows: Sequence[Standing], pages: set[str]) -> str:
    """The verdicts by what they rest on, as Markdown: what holds on a real model, what only small, and what does not."""
    groups = [_group(group, of_group, pages) for group, of_group in bets.groups(rows)]
    return render("saebook.book.site", "bets.md", reruns=bets.reruns(rows), groups=groups)


def _group(group: bets.Group, rows: Sequence[Standing], pages: set[str]) -> dict[str, Any]:
    """A section for the template. Its lines say their verdict, and what that rests on, where these differ in the section."""
    return {
        "title": group.title, "text": group.text, "rows": [described(row, pages, "notebooks/") for row in rows],
        "grades_differ": len({row.grade for row in rows}) > 1, "verdicts_differ": len({row.verdict for row in rows}) > 1,
    }  # fmt: skip


def table(rows: Sequence[Standing], pages: set[str]) -> str:
    """The ledger as HTML, judged claims first: whole without a script, narrowed by native controls with one."""
    order = sorted(rows, key=lambda row: (list(PAPERS).index(row.claim.paper), row.verdict not in _JUDGED))
    shown = [described(row, pages, "notebooks/") for row in order]
    return _html("ledger.html", rows=shown, **filters(rows))


def filters(rows: Sequence[Standing]) -> dict[str, Any]:
    """What the controls above a list of claims offer: the papers, verdicts and grades that occur in it."""
    return {
        "papers": {paper: name for paper, name in PAPERS.items() if any(row.claim.paper == paper for row in rows)},
        "verdicts": [word for word in _ALL if any(row.verdict == word for row in rows)],
        "grades": [grade.value for grade in Grade if any(row.grade == grade for row in rows)],
    }


def corrections(rows: Sequence[Standing]) -> str:
    """How many verdicts of each paper and tier change when they are corrected for their number, as Markdown."""
    families: dict[tuple[str, str], list[Standing]] = {}
    for row in rows:
        if row.corrected and row.recorded:
            families.setdefault((row.claim.paper, row.recorded.tier), []).append(row)
    lines = []
    for (paper, tier), family in families.items():
        moved = sum(row.corrected != row.verdict for row in family)
        lines.append(f"- {PAPERS[paper]}, {tier} tier: {moved} of {len(family)} verdicts change.")
    return "\n".join(lines or ["No verdict is recorded yet."]) + "\n"


def _html(template: str, **values: Any) -> str:
    return without_blank_lines(render("saebook.book.site", template, **values))


def described(row: Standing, pages: set[str], home: str) -> dict[str, Any]:
    """A claim with its verdict in words, as the templates take it; `pages` are the chapters that a link may lead to."""
    claim = row.claim
    own = (
        row.own if row.own and row.own.verdict in _JUDGED else None
    )  # runs that judge nothing are shown on their chapter's page only
    return {
        "claim": claim,
        "paper": PAPERS[claim.paper],
        "verdict": row.verdict,
        "grade": row.grade or "",
        "link": f"../{home}{claim.notebook}.html" if claim.notebook in pages else "",
        "value": wording.interval(row.recorded.value) if row.recorded else "",
        "sentence": wording.sentence(row.recorded.value) if row.recorded else "",
        "reported": wording.paper(claim),
        "quantity": claim.quantity,
        "needed": wording.needed(claim),
        "rule": wording.rule(claim),
        "open": rules.still_open(claim, row.recorded.value) if row.corrected and row.recorded else "",
        "corrected": row.corrected,
        "family": row.family,
        "over": noise.noise(claim, row.recorded.result["parameters"], row.recorded.value) if row.recorded else "",
        "one_more": wording.one_more(claim, row.recorded.value) if row.recorded else "",
        "needs": _needs(row),
        "result": row.result,
        "stale": wording.staleness(row.stale),
        "converged": row.converged or "",
        "longer": row.longer,
        "control": result_box.on_control(row),
        "own": own,
        "own_value": wording.interval(own.value) if own else "",
    }


def _needs(row: Standing) -> str:
    """What a claim without a recorded verdict waits for."""
    if row.verdict == ledger.REPORTED:
        return f"needs {standings.MEASUREMENTS} recorded measurements"
    return f"needs the {row.claim.tier} tier"
