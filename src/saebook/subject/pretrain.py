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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from torch import Tensor

from saebook.common import hardware, paths
from saebook.common.errors import UserError
from saebook.common.files import write_text, write_whole
from saebook.common.progress import bar
from saebook.subject import packaged
from saebook.text.sources import Corpus, corpus
from saebook.text.tokens import tokenizer_hash, tokens, train_tokenizer

_CHUNK = 512  # positions whose logits exist at one time: 8 MB at V 4096, so that they stay in the processor's cache


Width = Annotated[int, Gt(0), Le(2**16)]
Count = Annotated[int, Gt(0), Lt(10**13)]
Rate = Annotated[float, Gt(0), Lt(1)]


class Recipe(BaseModel):
    """The recipe of an embedded subject. `tokens` counts repeats; rates are per step. All bounds are stated here.

    Training is in single precision. `stored` is what the weights are rounded to when they are written, and they are
    measured as they were written: half the size matters for a model that travels with the book.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: str = "environment"
    vocabulary: Annotated[int, Gt(256), Le(2**20)] = 4096  # the 256 bytes and the end of text at least
    context: Annotated[int, Ge(2), Le(2**15)] = 128
    d_model: Width = 128
    layers: Annotated[int, Gt(0), Le(1000)] = 4
    heads: Width = 4
    tokens: Count = 30_000_000
    rows_per_step: Width = 32
    muon_lr: Rate = 0.02
    adam_lr: Rate = 3e-3
    weight_decay: Annotated[float, Ge(0), Lt(1)] = 0.01
    warmup_steps: Count = 100
    decay_share: Annotated[float, Ge(0), Le(1)] = 0.4
    stored: Literal["float32", "bfloat16"] = "float32"
    seed: Annotated[int, Ge(0), Lt(2**31)] = 0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.d_model % self.heads:
            raise ValueError(f"d_model must be a multiple of heads, and {self.d_model} is not one of {self.heads}")
        if not self.steps():
            raise ValueError(f"tokens must fill one step of {self.rows_per_step * self.context}, and are {self.tokens}")
        return self

    @classmethod
    def read(cls, fields: Iterable[tuple[str, str]]) -> "Recipe":
        """A recipe from `(field, text)` pairs. Raises `UserError` with one line that names the field and its bound."""
        given = dict(fields)
        if unknown := sorted(set(given) - set(cls.model_fields)):
            raise UserError(f"a recipe has no field '{unknown[0]}': it has {', '.join(cls.model_fields)}")
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            words = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
            if not first["loc"]:
                raise UserError(f"recipe: {words}") from None
            raise UserError(f"recipe field {first['loc'][0]} {words}, not '{first['input']}'") from None

    def steps(self) -> int:
        return self.tokens // (self.rows_per_step * self.context)

    def rate(self, step: int) -> float:
        """Share of the peak learning rate at a step."""
        decay = max(1, round(self.decay_share * self.steps()))
        return min(1.0, (step + 1) / self.warmup_steps, (self.steps() - step) / decay)


class _TiedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of `hidden @ weight.T` that never holds all logits; the forward pass computes both gradients."""

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        count = len(hidden)
        d_hidden, d_weight, total = torch.empty_like(hidden), torch.zeros_like(weight), hidden.new_zeros(())
        for first in range(0, count, _CHUNK):
            part = slice(first, first + _CHUNK)
            logits = hidden[part] @ weight.T
            norm = logits.logsumexp(1, keepdim=True)
            total += (norm - logits.gather(1, targets[part, None])).sum()
            probabilities = logits.sub_(norm).exp_().div_(count)
            probabilities.scatter_add_(1, targets[part, None], probabilities.new_full((len(norm), 1), -1 / count))
            torch.mm(probabilities, weight, out=d_hidden[part])
            d_weight.addmm_(probabilities.T, hidden[part])
        ctx.save_for_backward(d_hidden, d_weight)
        return total / count

    @staticmethod
    def backward(ctx, grad: Tensor):
        d_hidden, d_weight = ctx.saved_tensors
        return d_hidden * grad, d_weight * grad, None


def tied_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Mean CE of a tied head. `hidden` [N, D], `weight` [V, D], `targets` [N]; equals `F.cross_entropy(hidden @ weight.T, targets)`."""
    return _TiedCrossEntropy.apply(hidden, weight, targets)


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
        torch.optim.Muon(matrices, lr=recipe.muon_lr, weight_decay=recipe.weight_decay, momentum=0.95, nesterov=True),
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
