"""The box at the top of a chapter: its verdicts, the numbers that decide them, what differs from the paper, the main caveat."""

from collections.abc import Sequence
from typing import Any

from saebook.book.site.forest import drawing
from saebook.claims import noise, rules, wording
from saebook.claims.reruns.controls import Word
from saebook.claims.standings import Judgement, Standing, is_verdict
from saebook.common import sidecar
from saebook.common.names import TIERS
from saebook.common.templates import render


def box(name: str, rows: Sequence[Standing], tier: str) -> str:
    """The box of chapter `name` (`paper/name`) as HTML without blank lines, for a book built at `tier`.

    A verdict is this copy's own where its run can judge, else the recorded one, and is labelled as such.
    """
    card = sidecar.load(name)
    own = [row for row in rows if row.claim.notebook == name]
    html = render(
        "saebook.book.site", "result_box.html", claims=[_claim(row) for row in own], differs=card.differs, caveat=card.caveat,
        source=_source(own, tier),
    )  # fmt: skip
    return without_blank_lines(html)


def deciding(row: Standing) -> Judgement | None:
    """The judgement to show: this copy's own where it is a verdict, else the recorded one, else this copy's number."""
    if row.own and is_verdict(row.own):
        return row.own
    return row.recorded or (row.own if row.own and row.own.tier != TIERS[0] else None)


def without_blank_lines(html: str) -> str:
    """HTML that Markdown takes as one block."""
    return "\n".join(line for line in html.splitlines() if line.strip()) + "\n"


def _claim(row: Standing) -> dict[str, Any]:
    claim, judgement = row.claim, deciding(row)
    origin = ""
    if judgement:
        whose = "this copy" if judgement is row.own else "recorded"
        origin = f"{whose}, {judgement.tier} tier, {judgement.result['date']}"
    return {
        "claim": claim.claim,
        "verdict": judgement.verdict if judgement else row.verdict,
        "quantity": claim.quantity,
        "value": wording.sentence(judgement.value) if judgement else "",
        "picture": drawing.row(claim, judgement.verdict, judgement.value, ticks=True) if judgement else "",
        "paper": wording.paper(claim),
        "rule": wording.rule(claim),
        "open": rules.still_open(claim, judgement.value) if judgement and is_verdict(judgement) else "",
        "over": noise.noise(claim, judgement.result["parameters"], judgement.value) if judgement else "",
        "origin": origin,
        "stale": wording.staleness(judgement.stale) if judgement else "",
        "control": on_control(row),
        "changed": claim.changed,
    }


def on_control(row: Standing) -> dict[str, str] | None:
    """What the claim says on random weights, in words; None without a recorded verdict and where the control does not apply."""
    there = row.control
    if there is None or row.recorded is None or there.verdict == Word.NOT_APPLICABLE:
        return None
    origin = "" if there.verdict == Word.NOT_MEASURED else f"recorded, {row.recorded.tier} tier"
    return {"words": str(there), "verdict": there.verdict, "origin": origin, "stale": wording.staleness(there.stale)}


def _source(rows: list[Standing], tier: str) -> str:
    """Name the run that the verdicts come from, in a sentence."""
    if not rows:
        return ""
    recorded = (
        "The verdicts shown are the recorded ones."
        if any(row.recorded and is_verdict(row.recorded) for row in rows)
        else "No verdict is recorded."
    )
    ran = [row for row in rows if row.own]
    if any(row.own and is_verdict(row.own) for row in ran):
        return ""
    if ran and tier == "smoke":
        return f"This copy has only made a smoke run of this page, from which nothing can be concluded. {recorded}"
    if ran:
        return f"This copy's run at the {tier} tier judges none of these claims. {recorded}"
    return f"This copy has not run this page at the {tier} tier. {recorded}"
