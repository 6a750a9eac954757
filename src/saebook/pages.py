"""Fragments of the book that are made from data at build time: verdicts, subject, tuning, status.

Prose pages include them, so that no number in prose is typed. What has not been measured is said to be missing.
"""

import json
import re
from pathlib import Path

import pandas as pd

from saebook import paths, results, tuning

SUBJECT = "prose-4l128"
TIERS_THAT_JUDGE = ("cpu", "gpu", "paper")


def generate(staging: Path, tier: str, records: list[dict]) -> None:
    """Write every fragment into ``staging/book/_generated``. `records` are the rows of the status table."""
    home = staging / "book" / "_generated"
    home.mkdir(parents=True, exist_ok=True)
    (home / "verdicts.md").write_text(verdicts(), "utf-8")
    (home / "subject.md").write_text(subject(paths.data() / "subjects" / SUBJECT), "utf-8")
    (home / "tuning.md").write_text(tuning_table(), "utf-8")
    (home / "status.md").write_text(status(records, tier), "utf-8")


def verdicts() -> str:
    """One row per judged claim and tier, from the recorded results. A phone shows the first columns: claim and verdict."""
    rows = []
    for tier in TIERS_THAT_JUDGE:
        for file in sorted(results.folder(tier).glob("*/*.json")):
            result = json.loads(file.read_text("utf-8"))
            page = f"../notebooks/{result['notebook'].replace('.', '/')}.ipynb"
            for row in result["findings"].get("verdicts", []):
                live = f"{_number(row['ours'])} ({_number(row['low'])} to {_number(row['high'])})"
                where = f"[{tier}, {result['date']}]({page})"
                rows.append([row["claim"], f"**{row['verdict']}**", live, row["paper"], row["quantity"], where])
    if not rows:
        return "No claim has been judged yet: the tiers that judge have not been run in this copy.\n"
    return _table(
        ["claim", "verdict", "here (95\N{NO-BREAK SPACE}% interval)", "paper", "quantity", "tier and page"], rows
    )


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


def tuning_table(tier: str = "cpu") -> str:
    """The recorded grid of learning rates, with the winners marked."""
    result = results.read("gated.tuning_fig05_pareto", tier)
    if result is None:
        return "The grid has not been run in this copy.\n"
    table = pd.read_csv(results.folder(tier) / "gated" / "tuning_fig05_pareto.csv")
    scored = tuning.scores(table)
    winners = result["findings"]["chosen"]
    rows = [
        [
            r.method,
            f"{r.lr:g}" + (" **(chosen)**" if winners.get(r.method) == r.lr else ""),
            _number(r.l0_ratio),
            r.seeds,
        ]
        for r in scored.itertuples()
    ]
    return _table(["kind", "learning rate", "L0 needed, against the middle rate", "tuning seeds"], rows)


def status(records: list[dict], tier: str) -> str:
    """The runner's record of each notebook at this tier."""
    rows = [
        [f"[{r['name']}](../notebooks/{r['name']}.ipynb)", tier, r["status"],
         "" if r["seconds"] is None else f"{r['seconds']:.0f}", _safe(r["error"] or "")]
        for r in records
    ]  # fmt: skip
    return _table(["notebook", "tier", "status", "seconds", "error"], rows)


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
