"""Cards for raters: where a latent fires most, how its activations are distributed, which tokens it promotes.

They follow the feature pages that the Gated paper's raters saw (appendix H). Letters: N rows, T positions, M latents.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saebook.common.errors import UserError
from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject
from saebook.training.store import Store

_AROUND = (14, 6)  # tokens shown before and after the one where a latent is strongest
_BINS, _PROMOTED, _ROWS = 24, 8, 32


@dataclass(frozen=True)
class Context:
    """A piece of text: its `tokens` as text, and the latent's activation at each (0 where it is off)."""

    tokens: tuple[str, ...]
    activations: tuple[float, ...]


@dataclass(frozen=True)
class Card:
    """One latent without a name: `density` is the share of tokens it fires on, `counts` a histogram from 0 to `largest`."""

    contexts: tuple[Context, ...]
    density: float
    counts: tuple[int, ...]
    largest: float
    promoted: tuple[str, ...]


def drawn(
    chosen: pd.DataFrame, features: int, subject: Subject, site: Site, rows: Tensor, skip: int, contexts: int,
    order_seed: int = 0,
) -> tuple[pd.DataFrame, list[Card]]:  # fmt: skip
    """`features` pairs of random latents of the `chosen` SAEs, mixed: the key and the cards, in the order shown.

    The key has columns card (from 1), pair, method, seed, sparsity, l0, latent. Latents are drawn from those that fire in
    as many of `rows` [N, T] as a card has `contexts`; the pairs go round the seeds. Order and draw are functions of
    `order_seed` alone. Raises `UserError` where fewer latents do.
    """
    rng = np.random.default_rng(order_seed)
    seeds = list(chosen.seed.unique())
    inputs = [subject.activations(part, site)[:, skip:] for part in rows.split(_ROWS)]  # once for all SAEs
    entries, made = [], []
    for _, row in chosen.iterrows():
        pairs = [pair for pair in range(features) if seeds[pair % len(seeds)] == row.seed]
        sae = Store().load_sae(row.key).to(subject.device)
        f = latents_of(sae, inputs)
        firing = np.flatnonzero((f.amax(1) > 0).sum(0).cpu().numpy() >= contexts)
        if len(firing) < len(pairs):
            raise UserError(
                f"only {len(firing)} latents of {row.method} fire in {contexts} rows of text: ask for fewer features than "
                f"{features}, or fewer contexts"
            )
        latents = rng.choice(firing, len(pairs), replace=False)
        for pair, latent in zip(pairs, latents, strict=True):
            entries.append([pair, row.method, int(row.seed), row.sparsity, row.l0, int(latent)])
            made.append(card(sae, int(latent), f[..., latent], subject, site, rows[:, skip:], contexts))
    order = rng.permutation(len(made))
    key = pd.DataFrame([entries[i] for i in order], columns=["pair", "method", "seed", "sparsity", "l0", "latent"])
    key.insert(0, "card", range(1, len(key) + 1))
    return key, [made[i] for i in order]


@torch.inference_mode()
def latents_of(sae: SAEStack, inputs: Sequence[Tensor]) -> Tensor:
    """Latents [N, T, M] of a stack of one on all of `inputs`, activations [n, T, D] each."""
    parts = [sae.encode(sae.prepare(x.flatten(0, 1))[0])[0].view(*x.shape[:2], -1) for x in inputs]
    return torch.cat(parts)


def card(sae: SAEStack, latent: int, f: Tensor, subject: Subject, site: Site, rows: Tensor, contexts: int) -> Card:
    """The card of one latent with activations `f` [N, T] on tokens `rows` [N, T]: one context for each of its best rows."""
    strongest, where = f.max(1)
    best = [int(n) for n in strongest.argsort(descending=True)[:contexts] if strongest[n] > 0]
    shown = []
    for n in best:
        part = slice(max(0, int(where[n]) - _AROUND[0]), int(where[n]) + _AROUND[1] + 1)
        shown.append(Context(tuple(map(subject.tokenizer.decode, rows[n, part].tolist())), tuple(f[n, part].tolist())))
    positive = f[f > 0]
    largest = float(positive.max()) if len(positive) else 0.0
    counts = torch.histc(positive.float().cpu(), _BINS, 0, largest).int().tolist() if largest else [0] * _BINS
    return Card(
        tuple(shown), float((f > 0).float().mean()), tuple(counts), largest, promoted(sae, latent, subject, site)
    )


@torch.inference_mode()
def promoted(sae: SAEStack, latent: int, subject: Subject, site: Site) -> tuple[str, ...]:
    """The tokens whose logits a latent raises most by itself: the largest entries of W_dec @ W_U.

    Layer norm and all later blocks are ignored. Empty if the site does not write to the
    residual stream (neurons, heads before W_O), where that product does not exist.
    """
    if not site.hook_name.endswith(("resid_pre", "resid_post", "mlp_out")):
        return ()
    W_U = subject.unembedding.W_U
    raised = sae.W_dec[0, latent].to(W_U) @ W_U
    return tuple(map(subject.tokenizer.decode, raised.topk(_PROMOTED).indices.tolist()))
