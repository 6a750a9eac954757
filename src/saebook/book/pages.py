"""Fragments of the book that are made from data at build time: ledger, results, subject, tuning, choices, status.

Prose pages include them, so that no number in prose is typed. What has not been measured is said to be missing.
"""

import json
import math
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import pandas as pd

from saebook.book.status import State
from saebook.claims import choices, ledger, results, standings
from saebook.claims.standings import Standing
from saebook.common import paths
from saebook.training import tuning

SUBJECT = "prose-4l128"
TIERS_THAT_COUNT = ledger.TIERS[1:]
_PAPERS = {"gated": "Gated", "topk": "Top-k", "e2e": "e2e"}


def generate(staging: Path, tier: str, states: Sequence[State]) -> None:
    """Write every fragment into ``staging/book/_generated``."""
    home = staging / "book" / "_generated"
    home.mkdir(parents=True, exist_ok=True)
    rows = standings.standings()
    pages = {state.name for state in states}
    (home / "counts.md").write_text(counts(rows), "utf-8")
    (home / "ledger.html").write_text(ledger_table(rows, pages), "utf-8")
    (home / "subject.md").write_text(subject(paths.data() / "subjects" / SUBJECT), "utf-8")
    (home / "tuning.md").write_text(tuning_tables(), "utf-8")
    (home / "choices.md").write_text(choices.table(), "utf-8")
    (home / "status.md").write_text(status(states), "utf-8")


def counts(rows: Sequence[Standing]) -> str:
    """How many claims of each paper have each verdict."""
    found = standings.counts(rows)
    words = list(next(iter(found.values())))
    return _table(
        ["verdict", *_PAPERS.values()], [[word, *(found[paper][word] or "" for paper in _PAPERS)] for word in words]
    )


def ledger_table(rows: Sequence[Standing], pages: set[str]) -> str:
    """The ledger as HTML, judged claims first: whole without a script, narrowed by native controls with one."""
    judged = [w.value for w in ledger.Verdict if w is not ledger.Verdict.NOT_COMPARABLE]
    order = sorted(rows, key=lambda r: (list(_PAPERS).index(r.claim.paper), r.verdict not in judged))
    words = [w for w in [*(v.value for v in ledger.Verdict), ledger.NOT_RUN] if any(r.verdict == w for r in rows)]
    options = "".join(f"<option>{escape(word)}</option>" for word in words)
    papers = "".join(f'<option value="{p}">{name}</option>' for p, name in _PAPERS.items())
    body = "".join(_ledger_row(row, pages) for row in order)
    return (
        '<form class="ledger-filter" hidden aria-label="Narrow the table">'
        f'<label>paper <select name="paper"><option value="">all</option>{papers}</select></label>'
        f'<label>verdict <select name="verdict"><option value="">all</option>{options}</select></label>'
        '<label>words <input type="search" name="words" autocomplete="off"></label>'
        '<output aria-live="polite"></output></form>'
        '<table class="ledger"><thead><tr><th scope="col">claim</th><th scope="col">verdict</th>'
        '<th scope="col">here (95&nbsp;% interval)</th><th scope="col">paper</th><th scope="col">rests on</th></tr></thead>'
        f"<tbody>{body}</tbody></table>\n{_FILTER}"
    )


def _ledger_row(row: Standing, pages: set[str]) -> str:
    claim = row.claim
    link = f"../notebooks/{claim.notebook.replace('.', '/')}.html"
    where = escape(f"{_PAPERS[claim.paper]}, {claim.where}")
    where = f'<a href="{link}">{where}</a>' if claim.notebook.replace(".", "/") in pages else where
    doubt = "" if claim.confirmed else " <small>(recalled, not read in the paper)</small>"
    here = f"{escape(ledger.shown(row.live))}<br><small>{escape(claim.quantity)}</small>" if row.live else ""
    if claim.not_comparable:
        here = f"<small>{escape(claim.not_comparable)}</small>"
    rests = ""
    if row.result:
        rests = f"{row.result['tier']} tier, {row.result['date']}<br><small>{escape(row.result['device'])}</small>"
        rests += (
            f"<br><strong>stale</strong> <small>({escape(', '.join(row.stale))} changed)</small>" if row.stale else ""
        )
    elif not claim.not_comparable:
        rests = f"<small>needs the {claim.tier} tier</small>"
    paper = escape(claim.expected) + (f"<br><small>{escape(claim.precision)}</small>" if claim.precision else "")
    cells = [("claim", f"{escape(claim.claim)}<br><small>{where}{doubt}</small>"),
             ("verdict", f'<span class="verdict">{escape(row.verdict)}</span>'),
             ("here", here), ("paper", paper), ("rests on", rests)]  # fmt: skip
    inside = "".join(f'<td data-label="{label}">{content}</td>' for label, content in cells)
    return f'<tr data-paper="{claim.paper}" data-verdict="{escape(row.verdict)}" id="{claim.id}">{inside}</tr>\n'


_FILTER = """<script>
(() => {
  const form = document.querySelector(".ledger-filter"), rows = [...document.querySelectorAll("table.ledger tbody tr")];
  const narrow = () => {
    const wanted = Object.fromEntries(new FormData(form)), words = wanted.words.toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = (wanted.paper && row.dataset.paper !== wanted.paper)
        || (wanted.verdict && row.dataset.verdict !== wanted.verdict) || !row.textContent.toLowerCase().includes(words);
      shown += !row.hidden;
    }
    form.querySelector("output").value = `${shown} of ${rows.length} claims`;
  };
  form.hidden = false;
  form.addEventListener("input", narrow);
  form.addEventListener("submit", (event) => event.preventDefault());
  narrow();
})();
</script>
"""


def recorded(name: str) -> str:
    """The end of a chapter (PAPER/NAME): what each tier found for its claims, what that cost, and the files."""
    notebook = name.replace("/", ".")
    kept = {tier: found for tier in ledger.TIERS if (found := results.read(notebook, tier))}
    judging = {tier: result for tier, result in kept.items() if tier in TIERS_THAT_COUNT}
    parts = ["## Recorded results, and what they cost\n"]
    if not judging:
        parts.append("No result of this page is recorded yet.\n")
    found = [
        [claim.quantity, *(_found(claim, result, tier) for tier, result in judging.items())]
        for claim in ledger.judged_by(notebook)
    ]
    if found and judging:
        parts.append(_table(["quantity", *(f"{tier} tier" for tier in judging)], found))
    rows = []
    for tier, result in kept.items():
        moved = results.stale(result)
        home = f"../../results/{tier}/{name}"
        rows.append([
            f"`saebook run {name} --tier {tier}`", f"{result['seconds']:.0f} s", f"{result['peak_memory_mb']} MB",
            result["trained_runs"], result["device"], result["date"],
            f"**stale** ({', '.join(moved)} changed)" if moved else "fresh",
            f"{{download}}`JSON <{home}.json>`, {{download}}`CSV <{home}.csv>`",
        ])  # fmt: skip
    if rows:
        parts.append(_table(["command", "time", "memory", "SAEs trained", "machine", "made", "seal", "files"], rows))
    return "\n".join(parts)


def _found(claim: ledger.Claim, result: dict, tier: str) -> str:
    if claim.key not in result["live"]:
        return "not recorded"
    live = results.live(result, claim.key)
    return f"{ledger.shown(live)}: {ledger.judged(claim, live, tier)}"


def subject(folder: Path) -> str:
    """What is known of the embedded subject: its recipe, its losses beside baselines, samples."""
    recipe_file, evidence_file = folder / "RECIPE.json", folder / "EVIDENCE.json"
    if not recipe_file.is_file():
        return f"The subject {folder.name} has not been trained in this copy.\n"
    record = json.loads(recipe_file.read_text("utf-8"))
    recipe = record["recipe"]
    parts = [
        f"The subject `{folder.name}` has {recipe['layers']} layers of width {recipe['d_model']}, a context of "
        f"{recipe['context']} tokens, a vocabulary of {recipe['vocabulary']} and {record['parameters']:,} parameters. It saw "
        f"{recipe['tokens']:,} tokens ({recipe['tokens'] / record['train_tokens_unique']:.1f} passes over "
        f"{record['train_tokens_unique']:,}) in {record['seconds'] / 60:.0f} minutes on {record['hardware']}. "
        f"Corpus `{record['corpus_hash']}`.\n"
    ]
    if evidence_file.is_file():
        seen = json.loads(evidence_file.read_text("utf-8"))
        losses = [
            ["unigram", seen["unigram"]], ["bigram, Kneser-Ney", seen["bigram"]], ["5-gram, Kneser-Ney", seen["fivegram"]],
            ["**the subject**", seen["held_out_loss"]], ["the subject, by Hugging Face's own loss", seen["hf_loss"]],
        ]  # fmt: skip
        parts.append(_table(["model", "nats per token, held out"], [[name, f"{loss:.4f}"] for name, loss in losses]))
        parts.append(
            f"Measured on {seen['held_out_tokens']:,} tokens of held-out documents; the subject's loss is "
            f"{seen['bits_per_byte']:.3f} bits per byte of text.\n"
        )
        parts.append("What it writes, at a fixed seed. The prompts end at the bar:\n")
        parts += [_fenced(f"{s['prompt']} |{s['text']}") for s in seen["samples"]]
    else:
        parts.append("Its losses beside counting models have not been measured yet (`saebook subject evidence`).\n")
    curve = record["curve"]
    shown = curve[:: max(1, len(curve) // 8)] + ([curve[-1]] if (len(curve) - 1) % max(1, len(curve) // 8) else [])
    parts.append("Held-out loss during training, on a fixed part of the held-out rows:\n")
    parts.append(_table(["tokens seen", "nats per token"], [[f"{int(c[0]):,}", f"{c[2]:.3f}"] for c in shown]))
    return "\n".join(parts)


def tuning_tables(tier: str = "cpu") -> str:
    """Every recorded grid of learning rates, with the winners marked."""
    parts = [_tuning_table(file) for file in sorted(results.folder(tier).glob("*/tuning_*.json"))]
    return "\n".join(parts) or "No grid has been run in this copy.\n"


def _tuning_table(file: Path) -> str:
    record = json.loads(file.read_text("utf-8"))
    paper, name = file.parent.name, file.stem.removeprefix("tuning_")
    points, winners = pd.read_csv(file.with_suffix(".csv")), record["findings"]["chosen"]
    if "d_sae" in winners:
        return f"For `{paper}/{name}`, without any remedy:\n\n{_dead_table(points, winners)}"
    ends = (points.lr.min(), points.lr.max())
    scored = tuning.scores(points, tuning.RULES[paper])
    first = scored[scored.collapsed > 0].groupby("method").lr.min()
    rows = [
        [
            r.method,
            f"{r.lr:g}" + (_won(r.lr in ends) if winners.get(r.method) == r.lr else ""),
            _cost(r.cost, r.collapsed, r.lr > first.get(r.method, math.inf)),
            r.seeds,
        ]
        for r in scored.itertuples()
    ]
    what = {
        "gated": "features needed at equal loss recovered",
        "topk": "error at equal L0",
        "e2e": "added loss at equal L0",
    }[paper]
    header = ["kind", "learning rate", f"{what}, against the middle of the sound rates", "tuning seeds"]
    return f"For `{paper}/{name}`:\n\n{_table(header, rows)}"


def _cost(cost: float, collapsed: int, above: bool) -> str:
    """What a rate costs, unless it has no say."""
    if collapsed or above:
        return f"out: {collapsed} SAE{'s' * (collapsed > 1)} collapsed" if collapsed else "out: a smaller rate broke some"
    return _number(cost) if math.isfinite(cost) else "the curves do not meet"


def _won(at_the_end: bool) -> str:
    """How a winner is marked: one at the grid's end may have a better rate beyond it, and a reader should see that."""
    return " **(chosen, at the end of the grid)**" if at_the_end else " **(chosen)**"


def _dead_table(points: pd.DataFrame, winner: dict) -> str:
    rows = []
    for r in tuning.dead_scores(points).itertuples():
        here = (r.d_sae, r.k, r.lr) == (winner["d_sae"], winner["k"], winner["lr"])
        rows.append(
            [
                r.d_sae,
                f"{r.k:g}",
                f"{r.lr:g}" + (" **(chosen)**" if here else ""),
                _number(r.normalised_mse),
                _number(r.dead),
            ]
        )
    return _table(["latents", "k", "learning rate", "normalised MSE", "share dead"], rows)


def status(states: Sequence[State]) -> str:
    """How every notebook stands at this build's tier."""
    rows = [
        [f"[{s.name}](../notebooks/{s.name}.ipynb)", s.tier, s.word, "" if s.seconds is None else f"{s.seconds:.0f}",
         _safe(s.why)]
        for s in states
    ]  # fmt: skip
    return _table(["notebook", "tier", "state", "seconds", "why"], rows)


def _table(header: list[str], rows: list[list]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def _fenced(text: str) -> str:
    """Text shown as it is, line by line: the fence is longer than any run of backticks in it."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}\n"


def _safe(text: str) -> str:
    """Text of a model or an error, made harmless inside a page: one line, no markup."""
    line = " ".join(str(text).split())
    return "".join("\\" + c if c in "\\`*_{}[]<>#|$&" else c for c in line)
