"""How many logits change when one latent is ablated at one token (Top-k paper, section 4.4).

The contribution of a latent, z_i times its decoder row, is subtracted from the activations of one token; the blocks above run
again, and their logits are compared at that token and those after it. Letters: B tokens, D width of the site, M d_sae, n removed
directions of each token, T positions of a row, L length of the span that is looked at, V vocabulary.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saebook.common.errors import UserError
from saebook.common.progress import bar
from saebook.evaluation.intervals import Interval, joint_level, t_interval
from saebook.sae.base import SAEStack
from saebook.subject.model import Intervention, Site, Subject
from saebook.subject.unembedding import Unembedding

# What is removed at a token: a latent that is active there, a random direction of the same norm, what a latent contributes to
# another token, and a channel of the site's own basis.
LATENT, RANDOM, ELSEWHERE, CHANNEL = "latent", "random direction", "latent of another token", "channel"
GAUSSIAN = 2 / math.pi  # (E|x|)^2 / E x^2 of a normal distribution: what effects without any sparsity have
_DRAW = 44  # a stream of random numbers apart from those of training
_LOGITS = {"cpu": 2**21, "cuda": 2**27}  # logits [n*B, L, V] of one pass


def centred(change: Tensor) -> Tensor:
    """Changes of logits [..., V] without their median over the vocabulary, which leaves the predictions as they are."""
    return change - change.median(-1, keepdim=True).values


def density(change: Tensor) -> Tensor:
    """(L1 / (L2 sqrt(V L)))^2 [...] of `centred` changes of logits [..., L, V].

    About the share of logits that change: 1 / (V L) if one does, `GAUSSIAN` if all do as a normal distribution has it. NaN where
    none does.
    """
    flat = change.flatten(-2)
    return (flat.abs().sum(-1) / torch.linalg.vector_norm(flat, dim=-1)).square() / flat.shape[-1]


@dataclass(frozen=True)
class Places:
    """Tokens drawn from a text: the rows [B, T] that they stand in, and their `positions` [B]."""

    rows: Tensor
    positions: Tensor

    def split(self, tokens: int) -> list["Places"]:
        """The same in parts of `tokens` or more, but fewer than twice as many, if there are so many at all."""
        parts = max(1, len(self.positions) // tokens)
        return [
            Places(*part) for part in zip(*(x.tensor_split(parts) for x in (self.rows, self.positions)), strict=True)
        ]

    def until(self, length: int) -> "Places":
        """The same, without what stands `length` positions or more after the last of the tokens: no token looks ahead."""
        return Places(self.rows[:, : int(self.positions.max()) + length], self.positions)

    def at(self, x: Tensor) -> Tensor:
        """Of `x` [B, T, *] what stands at the positions [B, *]."""
        return x[torch.arange(len(x), device=x.device), self.positions]

    def span(self, x: Tensor, length: int) -> Tensor:
        """Of `x` [..., B, T, D] the `length` positions from each token on [..., B, L, D]."""
        along = self.positions[:, None] + torch.arange(length, device=x.device)
        return x[..., torch.arange(len(self.rows), device=x.device)[:, None], along, :]


def drawn_places(rows: Tensor, count: int, skip: int, length: int, seed: int) -> Places:
    """`count` tokens of `rows` [N, T], drawn at random, at positions of at least `skip` with `length` from themselves on; by position.

    Raises `UserError` where no position does.
    """
    last = rows.shape[1] - length
    if last < skip:
        raise UserError(
            f"a span of {length} tokens does not fit: rows have {rows.shape[1]}, of which {skip} are left out"
        )
    rng = np.random.default_rng([_DRAW, seed])
    chosen, positions = rng.integers(len(rows), size=count), rng.integers(skip, last + 1, size=count)
    early = np.argsort(positions, kind="stable")  # tokens that go through the model together then end about alike
    return Places(rows[torch.from_numpy(chosen[early])], torch.from_numpy(positions[early]).to(rows.device))


def changes(
    intervention: Intervention, clean: Tensor, places: Places, removed: Tensor, length: int, unembedding: Unembedding
) -> Tensor:
    """Changes of the logits [n, B, L, V] when `removed` [B, n, D] is subtracted from the activations of each token, one at a time.

    `clean` [B, T, d_model] are the hidden states of the unchanged pass. A bias of the unembedding cancels.
    """
    n = removed.shape[1]
    new = intervention.activations.expand(n, *intervention.activations.shape).clone()
    each = torch.arange(len(places.rows), device=new.device)
    new[:, each, places.positions] -= removed.transpose(0, 1)
    hidden = intervention.onwards(new.flatten(0, 1))[0].unflatten(0, (n, -1))
    return (places.span(hidden, length) - places.span(clean, length)) @ unembedding.W_U


@torch.inference_mode()
def measured(
    table: pd.DataFrame, saes: Sequence[SAEStack], subject: Subject, site: Site, rows: Tensor, skip: int, tokens: int,
    latents: int, length: int,
) -> pd.DataFrame:  # fmt: skip
    """Densities of the effects of ablations at `tokens` tokens of `rows` [N, T], by SAE and by what is removed.

    `saes` are stacks of one, the runs of a sweep's `table` line by line. All SAEs of a seed are measured at the same tokens,
    with `latents` of the active latents of each, drawn at random, and as many channels; another seed has other tokens. One row
    per SAE and `removed` (LATENT, RANDOM, ELSEWHERE, CHANNEL): method, seed, sparsity, `density`, `own_density` (of the logits at
    the token itself), `own_share` (of the squared change that falls on that token), `size` (norm of what is removed over that of
    the activation) and how many ablations the means are over. Raises `UserError` for a span that does not fit into a row.
    """
    unembedding = subject.unembedding
    places = {seed: drawn_places(rows, tokens, skip, length, int(seed)) for seed in table.seed.unique()}
    logits = latents * length * unembedding.W_U.shape[1]
    together = max(2, _LOGITS.get(subject.device.type, _LOGITS["cpu"]) // logits)  # ELSEWHERE takes two tokens
    parts: list[pd.DataFrame] = []
    runs = [
        {str(name): value for name, value in run.items()}
        for run in table[["method", "seed", "sparsity"]].to_dict("records")
    ]
    with bar(tokens * len(runs), "ablating", "token") as progress:
        for seed, of_seed in places.items():
            generator = torch.Generator(subject.device).manual_seed(int(seed))
            mine = [(run, sae.to(subject.device)) for run, sae in zip(runs, saes, strict=True) if run["seed"] == seed]
            for some in (part.until(length) for part in of_seed.split(together)):
                intervention = subject.intervene(some.rows, site)
                clean = intervention.onwards(intervention.activations)[0]
                x = some.at(intervention.activations)

                read = functools.partial(_read, intervention, clean, some, length, unembedding)
                channels = read(_channels(x, latents, generator))
                for run, sae in mine:
                    own = _contributions(sae, x, latents, generator)
                    removed = {LATENT: own, RANDOM: _like(own, generator), ELSEWHERE: own.roll(1, 0)}
                    each = {CHANNEL: channels} | {what: read(directions) for what, directions in removed.items()}
                    parts += [one.assign(**run, removed=what) for what, one in each.items()]
                    progress.update(len(x))
    every = pd.concat(parts, ignore_index=True).dropna()
    grouped = every.groupby(["method", "seed", "sparsity", "removed"])
    return grouped.mean().assign(ablations=grouped.size()).reset_index()


def _contributions(sae: SAEStack, x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """What `count` active latents of each token `x` [B, D], drawn at random, add to it [B, count, D]; zero where there are fewer."""
    z, _, spread = sae.prepare(x)
    f = sae.encode(z)[0]
    # An SAE that takes normalised tokens gives their spread back to what it reconstructs.
    scores = torch.rand(f.shape, generator=generator, device=f.device) * (f > 0)
    latents = scores.topk(min(count, f.shape[1])).indices
    return f.gather(1, latents)[:, :, None] * sae.W_dec[0][latents] * spread.expand(len(x), 1)[:, :, None]


def _channels(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` channels of each token `x` [B, D], drawn at random, each with all others set to zero [B, count, D]."""
    chosen = torch.rand(x.shape, generator=generator, device=x.device).topk(min(count, x.shape[1])).indices
    return torch.nn.functional.one_hot(chosen, x.shape[1]) * x[:, None]


def _like(directions: Tensor, generator: torch.Generator) -> Tensor:
    """Random directions of the norms of `directions` [..., D]."""
    noise = torch.randn(directions.shape, generator=generator, device=directions.device)
    norms = torch.linalg.vector_norm(directions, dim=-1, keepdim=True)
    return torch.nn.functional.normalize(noise, dim=-1) * norms


def _read(
    intervention: Intervention, clean: Tensor, places: Places, length: int, unembedding: Unembedding, removed: Tensor
) -> pd.DataFrame:
    """The numbers of the ablation of each of `removed` [B, n, D]; no density where nothing changes."""
    change = centred(changes(intervention, clean, places, removed, length, unembedding))
    squares = change.square().sum(-1)
    norms = torch.linalg.vector_norm(places.at(intervention.activations), dim=-1)
    numbers = {
        "density": density(change), "own_density": density(change[:, :, :1]),
        "own_share": squares[..., 0] / squares.sum(-1), "size": torch.linalg.vector_norm(removed, dim=-1).T / norms,
    }  # fmt: skip
    return pd.DataFrame({name: value.flatten().cpu().numpy() for name, value in numbers.items()})


# What the chapter reads off -----------------------------------------------------------------------------------------------


def log_ratios(effects: pd.DataFrame, above: str, below: str = LATENT, column: str = "density") -> pd.DataFrame:
    """log `column` of what is removed `above` over that `below`, one line a seed and one column a k."""
    wide = effects.pivot(index=["seed", "sparsity"], columns="removed", values=column)
    return (wide[above] / wide[below]).apply(math.log).unstack()


def order(effects: pd.DataFrame, above: str = CHANNEL) -> list[Interval]:
    """The log ratio of densities, `above` over latents, at each k: intervals over seeds that hold together."""
    ratios = log_ratios(effects, above)
    return [t_interval(ratios[k].to_list(), joint_level(len(ratios.columns))) for k in ratios]


def by_k(effects: pd.DataFrame) -> list[Interval]:
    """Density at the smallest k minus that at the sparsest, and at the largest minus that: intervals that hold together.

    Which k is sparsest is told by the other seeds, so that neither difference is above zero by the choice alone.
    """
    wide = effects[effects.removed == LATENT].pivot(index="seed", columns="sparsity", values="density")
    ends: list[list[float]] = [[], []]
    for row, seed in enumerate(wide.index) if len(wide) > 1 else ():
        shares, others = wide.to_numpy(float)[row], wide.drop(index=seed).to_numpy(float)
        sparsest = shares[np.nanargmin(np.nanmean(others, 0))]
        ends[0].append(float(shares[0] - sparsest))
        ends[1].append(float(shares[-1] - sparsest))
    return [t_interval(end, joint_level(2)) for end in ends]
