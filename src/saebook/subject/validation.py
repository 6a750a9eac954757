"""Evidence that a subject is a language model: its validation loss beside n-gram models' and Hugging Face's, and samples."""

import json
import math
from pathlib import Path

import numpy as np
import torch

from saebook.common.errors import UserError
from saebook.common.files import write_text
from saebook.common.progress import bar
from saebook.subject import ngrams
from saebook.subject.model import Subject
from saebook.subject.pretrain import embedded_folder

_PROMPTS = ("The function returns", "If the input is a matrix,", "This parameter controls")


def evidence(name: str) -> dict:
    """Measure the embedded subject `name` on every validation row and write ``data/subjects/NAME/EVIDENCE.json``.

    Raises `UserError` when the subject has no readable recipe, or when our loss and the Hugging Face implementation's
    differ beyond float precision.
    """
    from transformers import GPT2LMHeadModel

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
    if abs(ours - theirs) > 1e-4:
        raise UserError(f"our loss {ours:.6f} is not Hugging Face's {theirs:.6f}: the bridge changes the model")
    measured = {
        "held_out_loss": ours,
        "hf_loss": theirs,
        "bits_per_byte": ours / math.log(2) * recipe["held_out_tokens"] / recipe["held_out_bytes"],
        **ngrams.baselines(train, validation, len(subject.tokenizer)),
        "held_out_tokens": int(validation.size),
        "train_tokens": int(train.size),
        "weights_hash": subject.weights_hash,
        "samples": _samples(model, subject.tokenizer),
    }
    write_text(folder / "EVIDENCE.json", json.dumps(measured, indent=1) + "\n")
    return measured


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
