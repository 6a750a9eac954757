"""Evidence that a subject is a language model: its validation loss beside n-gram models' and Hugging Face's, and samples."""

import json
import math
from pathlib import Path

import numpy as np
import torch

from saebook.common import paths
from saebook.common.errors import UserError
from saebook.common.files import write_text
from saebook.common.progress import bar
from saebook.subject import packaged
from saebook.subject.model import Subject
from saebook.subject.pretraining.pretrain import embedded_folder
from saebook.text import ngrams
from saebook.text.sources import parts

_SAMPLE = 512  # rows of one source on which bits per byte are measured: 65 thousand tokens
_SOURCES, _CONTEXT = ("sotu", "environment"), 128
_OWN = "prose-4l128"  # the embedded subject that others are set beside
_PROMPTS = ("The function returns", "If the input is a matrix,", "This parameter controls")


def evidence(name: str) -> dict:
    """Measure the subject `name` on validation rows and write ``data/subjects/NAME/EVIDENCE.json``.

    An embedded subject is measured on every validation row of the text that it was trained on, and on the parts of a
    mixture by `by_text`; a packaged one by `on_text`. Raises `UserError` when an embedded subject has no readable recipe,
    a packaged one has not been fetched, or our loss and the Hugging Face implementation's differ beyond float precision.
    """
    from transformers import GPT2LMHeadModel

    if name in packaged.PACKAGED:
        return _of_packaged(name)

    folder = embedded_folder(name)
    recipe = _recipe(name, folder / "RECIPE.json")
    source, context = recipe["recipe"]["source"], recipe["recipe"]["context"]
    subject = Subject.load(name, device="cpu")
    train, validation = (subject.rows(source, split, context) for split in ("train", "validation"))
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
    ours, theirs = 0.0, 0.0
    with bar(len(validation), "measuring the subject", "row") as progress, torch.inference_mode():
        for part in torch.from_numpy(validation.astype(np.int64)).split(32):
            ours += float(subject.loss(part).double().mean()) * len(part)
            theirs += float(model(part, labels=part).loss) * len(part)
            progress.update(len(part))
    ours, theirs = ours / len(validation), theirs / len(validation)
    _require_equal(ours, theirs)
    measured = {
        "held_out_loss": ours,
        "hf_loss": theirs,
        "bits_per_byte": ours / math.log(2) * recipe["held_out_tokens"] / recipe["held_out_bytes"],
        **ngrams.baselines(train, validation, len(subject.tokenizer)),
        "held_out_tokens": int(validation.size),
        "train_tokens": int(train.size),
        "weights_hash": subject.weights_hash,
        "own": _OWN,
        "texts": by_text(subject, source),
        "samples": _samples(model, subject.tokenizer),
    }
    write_text(folder / "EVIDENCE.json", json.dumps(measured, indent=1) + "\n")
    return measured


def _of_packaged(name: str) -> dict:
    """A packaged subject on two kinds of text, beside our own subject and counting models, in bits per byte."""
    from transformers import AutoModelForCausalLM

    subject, own = Subject.load(name, device="cpu"), Subject.load(_OWN, device="cpu")
    leave_out = packaged.PACKAGED[name].leave_out
    texts = {source: on_text(subject, source, own, leave_out) for source in _SOURCES}
    some = _sample(subject, _SOURCES[0])[:16]
    model = AutoModelForCausalLM.from_pretrained(packaged.place(name), dtype=torch.float32).eval()
    with torch.inference_mode():
        theirs = float(model(some, labels=some).loss)
    ours = float(subject.loss(some).double().mean())
    _require_equal(ours, theirs)
    measured = {
        "package": str(packaged.PACKAGED[name].wheel), "layers": subject.n_layers, "d_model": subject.d_model,
        "vocabulary": len(subject.tokenizer), "parameters": sum(p.numel() for p in model.parameters()),
        "leave_out": leave_out, "own": own.name, "loss_of_16_rows": ours, "hf_loss_of_16_rows": theirs,
        "texts": texts, "weights_hash": subject.weights_hash,
    }  # fmt: skip
    write_text(paths.data() / "subjects" / name / "EVIDENCE.json", json.dumps(measured, indent=1) + "\n")
    return measured


def on_text(subject: Subject, source: str, own: Subject, leave_out: int) -> dict:
    """Bits per byte of a source's validation text under `subject`, counting models of the same tokens, and `own`.

    On `_SAMPLE` rows of `_CONTEXT` tokens, drawn at random, each with its own tokenizer: a bit per byte does not depend on
    what a token is. Also the mean loss in nats at the first positions of a row, and after the first `leave_out` of them.
    """
    rows = _sample(subject, source)
    losses = _losses(subject, rows)
    train = subject.rows(source, "train", _CONTEXT)
    counted = ngrams.baselines(train, rows.numpy(), len(subject.tokenizer))
    per_token = bytes_per_token(subject.tokenizer, rows[:, 1:]) * math.log(2)
    return {
        "tokens": rows.numel(), "loss": float(losses.mean()), "bits_per_byte": float(losses.mean()) / per_token,
        **{f"{name}_bits_per_byte": loss / per_token for name, loss in counted.items()},
        "own_bits_per_byte": _bits_per_byte(own, source), "train_tokens": int(train.size),
        "loss_by_position": [round(one, 4) for one in losses.mean(0)[:16].tolist()],
        "loss_after_left_out": float(losses[:, leave_out:].mean()),
    }  # fmt: skip


def by_text(subject: Subject, source: str) -> dict[str, dict[str, float]]:
    """Bits per byte of validation text under `subject` and under `prose-4l128`, on each part of a mixture by itself.

    On `_SAMPLE` rows of each. A mean over a mixture does not say on which of its texts a model is the better one. Of a
    source that is not a mixture there is nothing to tell apart, and the answer is empty.
    """
    named = parts(source)
    if len(named) == 1:
        return {}
    own = Subject.load(_OWN, device="cpu")
    return {
        one: {"bits_per_byte": _bits_per_byte(subject, one), "own_bits_per_byte": _bits_per_byte(own, one)}
        for one in named
    }


def _bits_per_byte(subject: Subject, source: str) -> float:
    """Bits per byte on `_SAMPLE` rows of a source, each under the subject's own tokenizer."""
    rows = _sample(subject, source)
    per_token = bytes_per_token(subject.tokenizer, rows[:, 1:]) * math.log(2)
    return float(_losses(subject, rows).mean()) / per_token


def bytes_per_token(tokenizer, rows: torch.Tensor) -> float:
    """Mean bytes of text that a token of `rows` stands for, under a byte-level tokenizer: a character of a token is a byte.

    Special tokens stand for none.
    """
    ids, counts = rows.unique(return_counts=True)
    special = set(tokenizer.all_special_ids)
    sizes = [0 if i in special else len(tokenizer.convert_ids_to_tokens(i)) for i in ids.tolist()]
    return float((torch.tensor(sizes, dtype=torch.float64) * counts).sum() / counts.sum())


def _sample(subject: Subject, source: str) -> torch.Tensor:
    rows = subject.rows(source, "validation", _CONTEXT)
    chosen = np.sort(np.random.default_rng(0).permutation(len(rows))[:_SAMPLE])
    return torch.from_numpy(rows[chosen].astype(np.int64))


def _losses(subject: Subject, rows: torch.Tensor) -> torch.Tensor:
    """Losses [N, T-1] in float64."""
    parts = []
    with bar(len(rows), f"measuring {subject.name}", "row") as progress:
        for part in rows.split(16):
            parts.append(subject.loss(part).double())
            progress.update(len(part))
    return torch.cat(parts)


def _require_equal(ours: float, theirs: float) -> None:
    if not abs(ours - theirs) <= 1e-4:
        raise UserError(f"our loss {ours:.6f} is not Hugging Face's {theirs:.6f}: the bridge changes the model")


def _recipe(name: str, file: Path) -> dict:
    if not file.is_file():
        raise UserError(
            f"{name} is not an embedded subject with a recipe: train it with `saebook subject train {name}`"
        )
    try:
        record = json.loads(file.read_text("utf-8"))
        if {"source", "context"} <= set(record["recipe"]) and {"held_out_tokens", "held_out_bytes"} <= set(record):
            return record
    except (ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{file} is damaged: restore it with `git checkout -- {file}`")


def _samples(model, tokenizer) -> list[dict]:
    torch.manual_seed(0)
    samples = []
    for prompt in _PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=0.8, top_k=50, max_new_tokens=60,
            pad_token_id=tokenizer.eos_token_id,
        )  # fmt: skip
        text = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=False).split("<|endoftext|>")[0]
        samples.append({"prompt": prompt, "text": text})
    return samples
