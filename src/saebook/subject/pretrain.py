"""Train an embedded subject model: a small GPT-2 on the embedded corpus, shipped as a Hugging Face folder.

The only room that trains a language model. Muon (Jordan 2024) on the hidden matrices, AdamW on embeddings, norms and
biases, a warm-up, a constant rate, and a linear decay over the last part: the constant part does not depend on the
number of tokens, so a longer run begins as a shorter one did. Letters: B rows, T positions, D d_model, V vocabulary.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saebook.common import hardware
from saebook.common.errors import UserError
from saebook.common.progress import bar
from saebook.text.sources import corpus
from saebook.text.tokens import tokenizer_hash, tokens, train_tokenizer

_CHUNK = 512  # positions whose logits exist at one time: 8 MB at V 4096, so that they stay in the processor's cache


@dataclass(frozen=True)
class Recipe:
    """How a subject is made. `tokens` counts repeats; rates are per step."""

    source: str = "environment"
    vocabulary: int = 4096
    context: int = 128
    d_model: int = 128
    layers: int = 4
    heads: int = 4
    tokens: int = 30_000_000
    rows_per_step: int = 32
    muon_lr: float = 0.02
    adam_lr: float = 3e-3
    weight_decay: float = 0.01
    warmup_steps: int = 100
    decay_share: float = 0.4
    seed: int = 0

    def steps(self) -> int:
        return self.tokens // (self.rows_per_step * self.context)

    def rate(self, step: int) -> float:
        """Share of the peak learning rate at a step."""
        decay = max(1, round(self.decay_share * self.steps()))
        return min(1.0, (step + 1) / self.warmup_steps, (self.steps() - step) / decay)


class _TiedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of `hidden @ weight.T` without ever holding all logits; both gradients are made on the way."""

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


def pretrain(recipe: Recipe, folder: Path, device: str = "cpu", checkpoint_every: int = 250) -> dict:
    """Train by `recipe`, write model, tokenizer, manifest and RECIPE.json to `folder`, and return the recipe's record.

    A run that was cut off continues from `folder/checkpoint.pt`; the file goes when the model is whole.
    """
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "RECIPE.json").is_file():
        raise UserError(
            f"{folder} already holds a finished subject: name another, or delete the folder to train it again"
        )
    text = corpus(recipe.source)
    if not (folder / "tokenizer.json").is_file():
        train_tokenizer(text.train, recipe.vocabulary, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    train = tokens(recipe.source, tokenizer, "train", recipe.context)
    validation = torch.from_numpy(tokens(recipe.source, tokenizer, "validation", recipe.context).astype(np.int64))

    torch.manual_seed(recipe.seed)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=recipe.vocabulary, n_positions=recipe.context, n_embd=recipe.d_model, n_layer=recipe.layers,
            n_head=recipe.heads, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
            activation_function="gelu_pytorch_tanh",  # GPT-2's own "gelu_new" in one pass over memory instead of seven
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        )
    ).to(device)  # fmt: skip
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
            held = evaluate(model, validation[:128])
            curve.append([done * recipe.rows_per_step * recipe.context, float(running) / (done - curve_from), held])
            running.zero_()
            curve_from = done
            progress.set_postfix_str(f"loss {curve[-1][1]:.3f}, held-out {held:.3f}")
            aside = checkpoint.with_suffix(".aside")
            torch.save(
                {
                    "model": model.state_dict(), "optimisers": [o.state_dict() for o in optimisers],
                    "step": done, "curve": curve, "seconds": time.monotonic() - begun,
                },
                aside,
            )  # fmt: skip
            aside.replace(checkpoint)

    progress.close()
    seconds = time.monotonic() - begun
    model.config.activation_function = "gelu_new"  # the same function under the name that every reader of GPT-2 knows
    model.save_pretrained(folder, max_shard_size="15MB")
    (folder / "manifest.tsv").write_text("".join(f"{p}\t{h}\n" for p, h in text.manifest.items()))
    record = {
        "recipe": asdict(recipe),
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
    (folder / "RECIPE.json").write_text(json.dumps(record, indent=1) + "\n")
    checkpoint.unlink(missing_ok=True)
    return record


@torch.inference_mode()
def evaluate(model, rows: Tensor) -> float:
    """Mean next-token loss in nats over all of `rows` [N, T]."""
    device = model.transformer.wte.weight.device
    total = sum(float(next_token_loss(model, part.to(device))) * len(part) for part in rows.split(32))
    return total / len(rows)


def _rows(train: np.ndarray, recipe: Recipe, step: int) -> np.ndarray:
    """The rows of one step: every pass over the corpus has its own order, fixed by the seed alone."""
    per_pass = len(train) // recipe.rows_per_step
    order = np.random.default_rng([recipe.seed, step // per_pass]).permutation(len(train))
    first = step % per_pass * recipe.rows_per_step
    return train[np.sort(order[first : first + recipe.rows_per_step])]
