"""Train an embedded subject model: a small GPT-2 on the embedded corpus, saved as a Hugging Face folder.

Muon (Jordan 2024) trains the hidden matrices, AdamW the embeddings, norms and biases. The rate warms up, stays constant, and
decays linearly over the last part. The constant part does not depend on the number of tokens, so a longer run begins exactly
as a shorter one. Letters: B rows, T positions, D d_model, V vocabulary.
"""

import contextlib
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saebook.common import hardware, paths
from saebook.common.errors import UserError
from saebook.common.files import write_text, write_whole
from saebook.common.progress import bar
from saebook.subject import packaged
from saebook.subject.pretraining.muon import Muon
from saebook.subject.pretraining.subject_recipe import Recipe
from saebook.subject.pretraining.tied_head import tied_cross_entropy
from saebook.text.sources import Corpus, corpus
from saebook.text.tokens import tokenizer_hash, tokens, train_tokenizer


def next_token_loss(model, rows: Tensor) -> Tensor:
    """Mean next-token cross-entropy in nats of `rows` [B, T] under a GPT-2 with a tied head."""
    hidden = model.transformer(rows[:, :-1], use_cache=False).last_hidden_state
    return tied_cross_entropy(hidden.flatten(0, 1), model.transformer.wte.weight, rows[:, 1:].flatten())


def embedded_folder(name: str) -> Path:
    """The folder of the embedded subject `name`. Raises `UserError` for a name that is not a plain one, or that is taken."""
    if name in packaged.PACKAGED:
        raise UserError(f"'{name}' is the name of a subject from a package: choose another")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UserError(f"'{name[:80]}' cannot name a subject: use letters, digits, dots, hyphens and underscores")
    return paths.data() / "subjects" / name


def pretrain(recipe: Recipe, folder: Path, device: str = "cpu", checkpoint_every: int = 250) -> dict:
    """Train by `recipe`, write model, tokenizer, manifest and RECIPE.json to `folder`, and return what RECIPE.json holds.

    An interrupted run continues from `folder/checkpoint.pt`, which is removed when the model is complete. Raises
    `UserError` for a device that is not there, too little text, or a folder that holds a finished subject.
    """
    hardware.checked(device)
    if (folder / "RECIPE.json").is_file():
        raise UserError(
            f"{folder} already holds a finished subject: name another, or delete the folder to train it again"
        )
    text = corpus(recipe.source)
    with _removed_if_unstarted(folder):
        return _trained(recipe, text, folder, device, checkpoint_every)


@contextlib.contextmanager
def _removed_if_unstarted(folder: Path) -> Iterator[None]:
    """Remove `folder` again if an error comes before its first checkpoint, and it was not there before."""
    new = not folder.exists()
    try:
        with write_whole(folder / ".writable") as aside:  # says so now if it is not
            aside.touch()
        (folder / ".writable").unlink()
        yield
    except BaseException:
        if new and not (folder / "checkpoint.pt").is_file():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _trained(recipe: Recipe, text: Corpus, folder: Path, device: str, checkpoint_every: int) -> dict:
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    if not (folder / "tokenizer.json").is_file():
        train_tokenizer(text.train, recipe.vocabulary, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    train = tokens(recipe.source, tokenizer, "train", recipe.context)
    if len(train) < recipe.rows_per_step:
        raise UserError(
            f"text source '{recipe.source}' has {len(train)} rows of {recipe.context} tokens, fewer than the "
            f"{recipe.rows_per_step} of a step: give it more text, or set rows_per_step"
        )
    validation = torch.from_numpy(tokens(recipe.source, tokenizer, "validation", recipe.context).astype(np.int64))

    torch.manual_seed(recipe.seed)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=recipe.vocabulary, n_positions=recipe.context, n_embd=recipe.d_model, n_layer=recipe.layers,
            n_head=recipe.heads, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
            activation_function="gelu_pytorch_tanh",  # GPT-2's own "gelu_new" in one pass over memory instead of seven
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        )
    ).to(device)  # fmt: skip  # pyright: ignore[reportArgumentType] - transformers' wrapper of `to` hides its self
    matrices = [p for p in model.transformer.h.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is q for q in matrices)]
    optimisers = [
        Muon(matrices, recipe.muon_lr, recipe.weight_decay),
        torch.optim.AdamW(others, lr=recipe.adam_lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]
    peaks = [recipe.muon_lr, recipe.adam_lr]
    first, curve, spent = 0, [], 0.0
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.is_file():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        for optimiser, kept in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        first, curve, spent = state["step"], state["curve"], state["seconds"]

    begun, running, curve_from = time.monotonic() - spent, torch.zeros((), device=device), first
    progress = bar(recipe.steps(), "pretraining", "step", initial=first)
    for step in range(first, recipe.steps()):
        for optimiser, peak in zip(optimisers, peaks, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = peak * recipe.rate(step)
        rows = torch.from_numpy(_rows(train, recipe, step).astype(np.int64)).to(device)
        for part in rows.split(16):  # two small passes are faster on a CPU than one whose activations leave the cache
            loss = next_token_loss(model, part) * len(part) / len(rows)
            loss.backward()
            running += loss.detach()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        done = step + 1
        progress.update()
        if done % checkpoint_every == 0 or done == recipe.steps():
            loss_now = evaluate(model, validation[:128])
            curve.append([done * recipe.rows_per_step * recipe.context, float(running) / (done - curve_from), loss_now])
            running.zero_()
            curve_from = done
            progress.set_postfix_str(f"loss {curve[-1][1]:.3f}, validation {loss_now:.3f}")
            state = {
                "model": model.state_dict(), "optimisers": [o.state_dict() for o in optimisers],
                "step": done, "curve": curve, "seconds": time.monotonic() - begun,
            }  # fmt: skip
            with write_whole(checkpoint) as aside:
                torch.save(state, aside)

    progress.close()
    seconds = time.monotonic() - begun
    model.config.activation_function = "gelu_new"  # the same function under the name that every reader of GPT-2 knows
    model.to(getattr(torch, recipe.stored)).save_pretrained(folder, max_shard_size="15MB")
    model.float()
    write_text(folder / "manifest.tsv", "".join(f"{p}\t{h}\n" for p, h in text.manifest.items()))
    record = {
        "recipe": recipe.model_dump(),
        "corpus_hash": text.hash,
        "tokenizer_hash": tokenizer_hash(tokenizer),
        "parameters": sum(p.numel() for p in model.parameters()),
        "train_tokens_unique": int(train.size),
        "held_out_tokens": int(validation.numel()),
        "held_out_bytes": sum(len(d.text.encode()) for d in text.validation),
        "held_out_loss": evaluate(model, validation),
        "seconds": round(seconds),
        "hardware": hardware.device("cpu" if device == "cpu" else "cuda"),
        "torch": torch.__version__,
        "curve_columns": ["tokens", "train_loss", "held_out_loss_of_128_rows"],
        "curve": curve,
    }
    write_text(folder / "RECIPE.json", json.dumps(record, indent=1) + "\n")
    checkpoint.unlink(missing_ok=True)
    return record


@torch.inference_mode()
def evaluate(model, rows: Tensor) -> float:
    """Mean next-token loss in nats over all of `rows` [N, T]."""
    device = model.transformer.wte.weight.device
    total = sum(float(next_token_loss(model, part.to(device))) * len(part) for part in rows.split(32))
    return total / len(rows)


def _rows(train: np.ndarray, recipe: Recipe, step: int) -> np.ndarray:
    """The rows of one step [rows_per_step, T]: every pass over the corpus has an order of its own, fixed by the seed."""
    per_pass = len(train) // recipe.rows_per_step
    order = np.random.default_rng([recipe.seed, step // per_pass]).permutation(len(train))
    first = step % per_pass * recipe.rows_per_step
    return train[np.sort(order[first : first + recipe.rows_per_step])]
