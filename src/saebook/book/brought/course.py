"""What the course page says that is computed: how long it takes, what the figure reads, how much text, and what is measured."""

import json
import math

from saebook.book import budgets
from saebook.book.running import preflight, shapes
from saebook.claims import results
from saebook.common import paths
from saebook.common.errors import UserError
from saebook.common.limits import SweepBudget
from saebook.subject.sites import SITES
from saebook.text import held_out, prose

CHAPTER, SEEDS = "gated/fig05_pareto", 3  # the page's figure, and how many seeds its commands ask for
_TRY, _TIER = "smoke", "cpu"  # the tiers that the page runs
_VOCABULARY = "smollm2-135m"  # whose tokens tell how long a token of a common model is


def parts() -> dict[str, str]:
    """The generated parts of the page, by file name."""
    return {
        "course.md": time(),
        "course_defaults.md": defaults(),
        "course_text.md": text(),
        "course_measured.md": measured(),
    }


def time() -> str:
    """How long the course takes: the recorded run of its chapter, and the share of it that the page's seeds are."""
    kept = results.read(CHAPTER, _TIER) or {"parameters": {}}
    seeds, subject = len(kept["parameters"].get("seeds", ())), kept["parameters"].get("subject")
    if not seeds:
        return f"How long it takes has not been measured yet (`saebook run {CHAPTER} --tier {_TIER}`).\n"
    whole, asked = kept["seconds"] / 60, kept["seconds"] / 60 * min(1.0, SEEDS / seeds)
    return (
        f"On our own small model, `{subject}`, the book's run of this figure trained {kept['trained_runs']} SAEs with {seeds} "
        f"seeds in {whole:.0f} minutes ({kept['device']}). The {SEEDS} seeds of this page are about {asked:.0f} of them. "
        "A larger model takes longer in proportion to its size, and a graphics card is used where there is one.\n"
    )


def defaults() -> str:
    """Which model and place the figure reads without parameters, at the tiers of the page."""
    tiers: dict[tuple[str, str, int], list[str]] = {}
    for tier in (_TRY, _TIER):
        budget = _budget(tier)
        tiers.setdefault((budget.subject, budget.site, budget.layer), []).append(f"`{tier}`")
    lines = []
    for (subject, site, layer), names in tiers.items():
        width = shapes.width(preflight.config(subject) or {}, site)
        lines.append(
            f"Without parameters, the tier{'s' if len(names) > 1 else ''} {' and '.join(names)} read{'' if len(names) > 1 else 's'} "
            f"the model `{subject}` at the site `{site}`, layer {layer}: the hook `blocks.{layer}.{SITES[site][0]}`, whose `d_in` "
            f"is {width}."
        )
    return "\n".join(lines) + "\n"


def text() -> str:
    """How files are held out, and how much text the page's tier can use."""
    budget, share, context = _budget(_TIER), prose.HELD_OUT_PERCENT / 100, _context()
    judging = len(held_out.places(300)) / 300
    even = math.ceil(math.log(0.5) / math.log(1 - share))
    megabyte = _bytes_per_token() / 1e6
    training, whole = (
        budget.tokens * megabyte,
        budget.eval_rows * context * megabyte / (share * judging),
    )
    return (
        f"A file is held out with a chance of {share:.0%}, decided by its name; with fewer than {even} files, more likely than not none is. "
        f"At the `{_TIER}` tier an SAE is trained on {budget.tokens:,} tokens, about {training:.1g} MB of English. With rows of "
        f"{context} tokens, about {whole:.0f} MB in all hold out as many rows as the tier measures; with less text or longer "
        "rows, fewer rows are measured.\n"
    )


def measured() -> str:
    """How many tokens every SAE is measured on, and which positions are left out."""
    context, said = _context(), []
    for tier in (_TRY, _TIER):
        budget = _budget(tier)
        tokens = budget.eval_rows * (context - budget.skip)
        said.append(f"{tokens:,} tokens at the `{tier}` tier ({budget.eval_rows} rows)")
    left_out = _budget(_TIER).skip
    first = "position 0" if left_out == 1 else f"positions 0 to {left_out - 1}"
    return (
        f"In training and in measuring, {first} of every row is left out. With rows of {context} tokens, every SAE is measured on "
        f"{' and '.join(said)}.\n"
    )


def _budget(tier: str) -> SweepBudget:
    budget = budgets.resolve(CHAPTER, tier)
    assert isinstance(budget, SweepBudget)
    return budget


def _context() -> int:
    """Tokens in a row of the page's tier: the embedded model's own, where no other is asked for."""
    budget = _budget(_TIER)
    context = budget.context or shapes.context(preflight.config(budget.subject) or {})
    assert context
    return context


def _bytes_per_token() -> float:
    """Of English, under a vocabulary of common size: a loss per token over the same loss per byte."""
    file = paths.data() / "subjects" / _VOCABULARY / "EVIDENCE.json"
    try:
        seen = json.loads(file.read_text("utf-8"))["texts"]["environment"]
        return seen["loss"] / math.log(2) / seen["bits_per_byte"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{file} is damaged: restore it from git") from None
