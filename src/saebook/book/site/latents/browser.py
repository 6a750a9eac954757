"""The feature browser: a table of latents that reads without a script, and the data from which a script makes dashboards."""

from collections.abc import Iterator
from typing import Any

from saebook.book import budgets
from saebook.book.site.latents import payload
from saebook.book.site.latents.payload import Sample
from saebook.book.site.result_box import without_blank_lines
from saebook.claims import results, wording
from saebook.common.errors import UserError
from saebook.common.templates import render

KINDS = {"gated": "Gated", "relu": "Baseline"}  # short names, for a table
_SHOWN = 3  # tokens of each sort in a line of the table


def page(tier: str) -> str:
    """The browser as HTML without blank lines, for a book built at `tier`; a sentence where there is no sample."""
    of = payload.sample(tier)
    if of is None:
        return f"<p>No sample of latents is recorded yet, and this copy has not run <code>{payload.NAME}</code>.</p>\n"
    saes = of.result["findings"]["saes"]
    html = render(
        "saebook.book.site", "features.html", lines=list(_lines(of)), kinds=KINDS, saes=_runs(saes), origin=_origin(of),
        data=payload.as_script(of), place=_subject(of),
    )  # fmt: skip
    return without_blank_lines(html)


def _runs(saes: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [
        {
            "name": KINDS.get(str(one["method"]), str(one["method"])), "seed": str(one["seed"]), "penalty": f"{one['sparsity']:g}",
            "latents": str(one["d_sae"]), "l0": f"{one['l0']:.1f}", "loss": f"{one['loss_recovered']:.3f}",
            "alive": f"{100 * one['alive']:.1f} %", "key": str(one["key"]),
        }
        for one in saes
    ]  # fmt: skip


def _subject(of: Sample) -> str:
    given = of.result["parameters"]
    return f"{given['subject']}, {given['site']}, layer {given['layer']}"


def _origin(of: Sample) -> str:
    """Where the sample comes from, and what has changed since."""
    result = of.result
    whose = "This copy's own run" if of.where == "live" else "Recorded"
    try:
        moved = results.stale(result, budgets.resolve(payload.NAME, result["tier"]))
    except UserError:
        moved = []
    stale = f"; stale: {wording.staleness(moved)}" if moved else ""
    return f"{whose}, {result['tier']} tier, {result['date']}{stale}"


def _lines(of: Sample) -> Iterator[dict[str, Any]]:
    for line in of.shown:
        kind = of.result["findings"]["saes"][line["sae"]]["method"]
        yield {
            "id": f"{kind}-{line['latent']}", "kind": kind, "name": f"{KINDS.get(kind, kind)} {line['latent']}",
            "fires": [visible(token) for token in peaks(of, line)],
            "raises": [visible(of.tokens[number]) for number, _ in numbered(line["raised"])][:_SHOWN],
            "density": percent(line["density"]), "largest": f"{line['largest']:.3g}",
            "other_seed": nearest(line["other_seed"]), "other_kind": nearest(line["other_kind"]),
        }  # fmt: skip


def peaks(of: Sample, line: dict[str, Any]) -> list[str]:
    """The tokens at which a latent is strongest, from the strongest context on, each once."""
    text, shown = of.result["findings"]["text"], []
    for context in filter(None, line["top"].split("|")):
        row, start, peak = map(int, context.split()[:3])
        shown.append(of.tokens[int(text[row].split()[start + peak])])
    return list(dict.fromkeys(shown))[:_SHOWN]


def numbered(effects: str) -> list[tuple[int, float]]:
    """The tokens of a line's effects, and the changes of their logits."""
    return [(int(number), float(change)) for number, _, change in (one.partition(":") for one in effects.split())]


def nearest(neighbours: str) -> str:
    """The largest cosine of a line's neighbours, as text; nothing where it has none."""
    return f"{int(neighbours.split()[0].split(':')[2]) / 1000:.2f}" if neighbours else ""


def percent(share: float) -> str:
    """A share of tokens in percent, with two significant digits."""
    return f"{100 * share:.2g} %"


def visible(token: str) -> str:
    """A token as text that can be seen: line breaks and tabs by signs, a space at its begin or end by a raised dot."""
    shown = token.replace("\n", "\u21b5").replace("\t", "\u21e5")
    bare = shown.strip(" ")
    return bare if bare else "\u2423" * len(shown)
