"""Parts of prose pages that are made from data when the book is built. The pages include them.

So no number in prose is typed, and what has not been measured is said to be missing.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saebook.book.brought import course
from saebook.book.site import claim_tables, rate_grids, speed
from saebook.book.site.forest import rows as forest
from saebook.book.site.latents import browser, rating_key
from saebook.book.site.rate_grids import markdown_table
from saebook.book.site.result_box import without_blank_lines
from saebook.book.status import State
from saebook.claims import choices, rules, settings
from saebook.claims.reruns.kinds import RERUNS
from saebook.claims.standings import Standing
from saebook.common import paths
from saebook.common.errors import UserError
from saebook.common.names import TIERS
from saebook.common.templates import render

SUBJECT, PACKAGED = "prose-4l128", "smollm2-135m"
FAMILY, DEEPER = ("prose-4l32", "prose-4l64", SUBJECT), "prose-6l256"
_TEXTS = {"sotu": "presidents' messages", "environment": "prose of Python packages"}


def generate(staging: Path, states: Sequence[State], rows: Sequence[Standing]) -> None:
    """Write every generated part into `book/_generated` below the `staging` folder."""
    home = staging / "book" / "_generated"
    home.mkdir(parents=True, exist_ok=True)
    chapters = {state.name for state in states}
    tier = next((state.tier for state in states), TIERS[0])
    parts = {
        "counts.html": claim_tables.counts(rows), "headlines.html": claim_tables.headlines(rows, chapters),
        "forest.html": forest.plot(rows, chapters), "bets.md": claim_tables.bet_on(rows, chapters), "ledger.html": claim_tables.table(rows, chapters), "corrections.md": claim_tables.corrections(rows),
        "verdicts.md": rules.meanings(), "subject.md": subject(paths.data() / "subjects" / SUBJECT),
        "deeper_subject.md": subject(paths.data() / "subjects" / DEEPER),
        "subject_family.md": family([paths.data() / "subjects" / name for name in FAMILY]),
        "packaged_subject.md": packaged_subject(paths.data() / "subjects" / PACKAGED),
        "tuning.md": rate_grids.tables(), "choices.md": choices.table(), "settings.md": settings.tables(),
        "status.html": status_table(states), "features.html": browser.page(tier),
        "rating_key.md": rating_key.tables(tier),
        **course.parts(),
        **speed.parts(home),
    }  # fmt: skip
    for name, text in parts.items():
        (home / name).write_text(text, "utf-8")


def status_table(states: Sequence[State]) -> str:
    """The state of every notebook at this build's tier, as HTML."""
    return without_blank_lines(
        render("saebook.book.site", "status.html", states=states, reruns=[one.words for one in RERUNS])
    )


def subject(folder: Path) -> str:
    """Describe an embedded subject: its recipe, its losses beside those of counting models, and what it writes.

    Raises `UserError` when its records are damaged.
    """
    if not (folder / "RECIPE.json").is_file():
        return f"The subject {folder.name} has not been trained in this copy.\n"
    try:
        record = json.loads((folder / "RECIPE.json").read_text("utf-8"))
        evidence = folder / "EVIDENCE.json"
        seen = json.loads(evidence.read_text("utf-8")) if evidence.is_file() else None
        return "\n".join([_recipe(folder.name, record), *_evidence(seen), *_curve(record["curve"])])
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"the records of {folder} are damaged: restore RECIPE.json and EVIDENCE.json from git"
        ) from None


def family(folders: Sequence[Path]) -> str:
    """A table of embedded subjects of one recipe: width, parameters and loss. Raises `UserError` for a damaged record."""
    rows = []
    for folder in folders:
        if not (folder / "EVIDENCE.json").is_file():
            rows.append([f"`{folder.name}`", "not trained in this copy", "", "", ""])
            continue
        try:
            made, seen = (json.loads((folder / file).read_text("utf-8")) for file in ("RECIPE.json", "EVIDENCE.json"))
            rows.append([
                f"`{folder.name}`", f"{made['recipe']['d_model']}", f"{made['parameters']:,}", f"{seen['held_out_loss']:.3f}",
                f"{seen['bits_per_byte']:.3f}",
            ])  # fmt: skip
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"the records of {folder} are damaged: restore RECIPE.json and EVIDENCE.json from git"
            ) from None
    heads = ["model", "d_model", "parameters", "validation loss (nats per token)", "bits per byte"]
    return markdown_table(heads, rows)


def packaged_subject(folder: Path) -> str:
    """Describe a subject that ships in a package: how well it predicts two kinds of text, and how badly where a row begins.

    Raises `UserError` when its record is damaged.
    """
    file = folder / "EVIDENCE.json"
    if not file.is_file():
        return f"The subject {folder.name} has not been measured (`saebook subject evidence {folder.name}`).\n"
    try:
        return "\n".join(_packaged(folder.name, json.loads(file.read_text("utf-8"))))
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file} is damaged: restore it from git") from None


def _packaged(name: str, seen: dict[str, Any]) -> list[str]:
    texts, lines = seen["texts"], []
    columns = {
        "unigram_bits_per_byte": "unigram", "bigram_bits_per_byte": "bigram, Kneser-Ney",
        "fivegram_bits_per_byte": "5-gram, Kneser-Ney", "own_bits_per_byte": f"our own `{seen['own']}`",
        "bits_per_byte": f"**`{name}`**",
    }  # fmt: skip
    for key, words in columns.items():
        lines.append([words, *(f"{text[key]:.3f}" for text in texts.values())])
    about = [
        f"`{name}` comes from the package {seen['package']}: {seen['layers']} layers of width {seen['d_model']}, a vocabulary of "
        f"{seen['vocabulary']:,} and {seen['parameters'] / 1e6:.0f} million parameters.\n",
        markdown_table(["bits per byte of validation text", *(_TEXTS[source] for source in texts)], lines),
    ]
    for source, text in texts.items():
        first = text["loss_by_position"]
        about.append(
            f"On {text['tokens']:,} tokens of {_TEXTS[source]} its loss is {text['loss']:.2f} nats a token: "
            f"{first[0]:.2f} for what follows position 0 of a row, {first[1]:.2f} after position 1, and "
            f"{text['loss_after_left_out']:.2f} from position {seen['leave_out']} on.\n"
        )
    return about


def _recipe(name: str, record: dict[str, Any]) -> str:
    recipe, unique = record["recipe"], record["train_tokens_unique"]
    return (
        f"The subject `{name}` has {recipe['layers']} layers of width {recipe['d_model']}, a context of "
        f"{recipe['context']} tokens, a vocabulary of {recipe['vocabulary']} and {record['parameters']:,} parameters. "
        f"It was trained on {recipe['tokens']:,} tokens ({recipe['tokens'] / unique:.1f} passes over {unique:,}), which took "
        f"{record['seconds'] / 60:.0f} minutes on {record['hardware']}. Its corpus has the hash `{record['corpus_hash']}`.\n"
    )


def _evidence(seen: dict[str, Any] | None) -> list[str]:
    if seen is None:
        return ["Its losses have not been compared with counting models yet (`saebook subject evidence`).\n"]
    losses = [
        ["unigram", seen["unigram"]], ["bigram, Kneser-Ney", seen["bigram"]], ["5-gram, Kneser-Ney", seen["fivegram"]],
        ["**the subject**", seen["held_out_loss"]], ["the subject, by Hugging Face's own loss", seen["hf_loss"]],
    ]  # fmt: skip
    return [
        markdown_table(["model", "nats per token, validation"], [[name, f"{loss:.4f}"] for name, loss in losses]),
        f"Measured on {seen['held_out_tokens']:,} tokens of validation documents; the subject's loss is "
        f"{seen['bits_per_byte']:.3f} bits per byte of text.\n",
        *_by_text(seen.get("own", ""), seen.get("texts", {})),
        "What it writes, at a fixed seed. The prompts end at the bar:\n",
        *(_fenced(f"{sample['prompt']} |{sample['text']}") for sample in seen["samples"]),
    ]


def _by_text(own: str, texts: dict[str, dict[str, float]]) -> list[str]:
    """A model trained on a mixture, on each text by itself, beside another subject."""
    if not texts:
        return []
    lines = [
        ["the subject", *(f"{text['bits_per_byte']:.3f}" for text in texts.values())],
        [f"`{own}`", *(f"{text['own_bits_per_byte']:.3f}" for text in texts.values())],
    ]
    return [
        markdown_table(["bits per byte of validation text", *(_TEXTS.get(source, source) for source in texts)], lines)
    ]


def _curve(curve: list[list[float]]) -> list[str]:
    """About eight points of the training curve, the last among them."""
    every = max(1, len(curve) // 8)
    shown = curve[::every] + ([curve[-1]] if (len(curve) - 1) % every else [])
    points = [[f"{int(point[0]):,}", f"{point[2]:.3f}"] for point in shown]
    return [
        "Loss during training, on a fixed part of the validation rows:\n",
        markdown_table(["tokens seen", "nats per token"], points),
    ]


def _fenced(text: str) -> str:
    """Text shown as it is, line by line: the fence is longer than any run of backticks in it."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}\n"
