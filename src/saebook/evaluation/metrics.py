"""Metrics of an SAE on validation tokens: sparsity, reconstruction, shrinkage, and the loss that it adds to the subject.

Every expectation is taken over all evaluation tokens first, and ratios are made of expectations (the Gated paper's
Eq. 10 and section 2.3), never averaged over batches. Sums stay on the device, in float64, and are read once at the end.
Letters: N rows, T positions, D d_in, M d_sae, S members, B tokens, n replacements of the same rows.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor

from saebook.common.progress import bar
from saebook.sae.base import SAEStack
from saebook.subject.model import Intervention, Site, Subject

# The bounds of memory, in bytes: of the activations [n*rows, T, D] that go through the subject together, and of the latents
# [S, B, M] that are made together. An operation holds a small multiple of them. On a CPU they stay in its caches.
_ACTIVATIONS = {"cpu": 2**19, "cuda": 2**28}
_LATENTS = {"cpu": 2**22, "cuda": 2**30}


@dataclass(frozen=True)
class Totals:
    """Sums over tokens for one SAE; `loss` over predictions with it in place, `alive` the share of latents that fired."""

    tokens: int
    x_norm2: float
    xhat_norm2: float
    dot: float
    error2: float
    l0: float
    loss: float
    alive: float


@dataclass
class Sums:
    """Running sums over tokens for the S members of a stack: float64, on their device until `totals` reads them."""

    tokens: int = 0
    _running: dict[str, Tensor] = field(default_factory=dict)  # [S] each, and "fires" [S, M]: how often a latent fired

    def add(self, x: Tensor, f: Tensor, xhat: Tensor) -> None:
        """Add tokens `x` [B, D], latents `f` [S, B, M], reconstructions `xhat` [S, B, D]."""
        self.tokens += len(x)
        x64, xhat64 = x.double(), xhat.double()
        self._add("x_norm2", x64.square().sum().expand(len(f)))
        self._add("dot", (xhat64 * x64).sum((1, 2)))
        self._add("error2", (x64 - xhat64).square_().sum((1, 2)))
        self._add("xhat_norm2", xhat64.square().sum((1, 2)))
        # Compared into floats, which are exact up to 2^24: summing booleans takes several times as long.
        self._add("fires", torch.gt(f, 0, out=torch.empty_like(f)).sum(1).double())

    def add_loss(self, losses: Tensor) -> None:
        """Add sums of losses [S] over predictions."""
        self._add("loss", losses)

    def _add(self, name: str, values: Tensor) -> None:
        self._running[name] = self._running[name] + values if name in self._running else values

    def totals(self) -> list[Totals]:
        """The sums so far of each member. Raises `ValueError` before any token was added."""
        if not self.tokens:
            raise ValueError("nothing was added to these sums")
        fires = self._running["fires"]
        sums = {name: values for name, values in self._running.items() if name != "fires"}
        sums |= {"l0": fires.sum(1), "alive": (fires > 0).double().mean(1)}
        sums.setdefault("loss", torch.zeros_like(sums["l0"]))
        columns = torch.stack(list(sums.values())).T.tolist()
        return [Totals(self.tokens, **dict(zip(sums, column, strict=True))) for column in columns]


def normalised_mse(error2: float, variance: float) -> float:
    """E||x - xhat||^2 / E||x - E x||^2: 1 is what the mean activation achieves (Top-k paper, section 2.1)."""
    return error2 / variance


def loss_recovered(clean: float, replaced: float, ablated: float) -> float:
    """1 - (CE_sae - CE_clean) / (CE_ablated - CE_clean) (Gated paper, section 2.3). Can leave [0, 1]."""
    return 1.0 - (replaced - clean) / (ablated - clean)


def relative_reconstruction_bias(xhat_norm2: float, dot: float) -> float:
    """gamma = E||xhat||^2 / E[xhat . x] (Gated paper, Eq. 10 as corrected); below 1 is shrinkage."""
    return xhat_norm2 / dot if dot else float("nan")


def measure(stacks: list[SAEStack], subject: Subject, site: Site, rows: Tensor, skip: int = 0) -> list[list[dict]]:
    """Measure every member of every stack on `rows` [N, T]; one dict of metrics per member, in the stacks' order.

    The SAEs take raw activations; one that normalises each token has its bias and error read in that space, as the
    Top-k paper does, and replaces activations as they are. The first `skip` positions of a row keep their own activations
    and count nowhere.
    Keys: l0, normalised_mse, loss_recovered (zero ablation), loss_recovered_mean (mean ablation), ce, ce_clean,
    ce_zero, ce_mean, relative_reconstruction_bias, alive (share that fired at least once), eval_tokens.
    """
    together, copies = _pass_size(subject, site, rows)
    spaces = {stack.per_token: stack.prepare for stack in stacks}
    parts = [_parts(stack, copies, together * (rows.shape[1] - skip)) for stack in stacks]
    mean, variance = _moments(subject, site, rows.split(together), skip, spaces)
    baselines, predictions = torch.zeros(3, dtype=torch.float64, device=subject.device), 0
    with torch.inference_mode(), bar(len(rows), "measuring", "row") as progress:
        for batch in rows.split(together):
            intervention = subject.intervene(batch, site)
            x = intervention.activations[:, skip:].flatten(0, 1)
            replaced = torch.stack([x, torch.zeros_like(x), mean.to(x.dtype).expand_as(x)]).split(copies)
            baselines += torch.cat([summed_loss(intervention, some, skip) for some in replaced])
            predictions += len(batch) * (batch.shape[1] - 1 - skip)
            prepared = {space: prepare(x) for space, prepare in spaces.items()}
            for passing in _passes(chain(*parts), copies):
                new = [_reconstructed(part, sums, *prepared[part.per_token]) for part, sums in passing]
                losses = summed_loss(intervention, torch.cat(new), skip).split([len(one) for one in new])
                for (_, sums), loss in zip(passing, losses, strict=True):
                    sums.add_loss(loss)
            progress.update(len(batch))
    clean, zero, average = (baselines / predictions).tolist()
    ce = {"clean": clean, "zero": zero, "mean": average}
    return [
        [_metrics(one, ce, variance[stack.per_token], predictions) for _, sums in of_stack for one in sums.totals()]
        for stack, of_stack in zip(stacks, parts, strict=True)
    ]


def summed_loss(intervention: Intervention, new: Tensor, skip: int) -> Tensor:
    """Sums [n] in float64 of the losses with n replacements `new` [n, B, D] in place of all but the first `skip` positions.

    Predictions made at those positions are not counted.
    """
    own, n = intervention.activations, len(new)
    kept = own[:, :skip].expand(n, *own[:, :skip].shape)
    whole = torch.cat([kept, new.view(n, *own[:, skip:].shape)], 2).flatten(0, 1)
    return intervention.loss(whole)[:, skip:].double().unflatten(0, (n, -1)).sum((1, 2))


_Part = tuple[SAEStack, Sums]  # some members of a stack, encoded together


def _pass_size(subject: Subject, site: Site, rows: Tensor) -> tuple[int, int]:
    """Rows a pass of the subject, as many as fit into `_ACTIVATIONS`, and as many replacements of them as fit then."""
    most = _ACTIVATIONS.get(subject.device.type, _ACTIVATIONS["cpu"])
    row = 4 * rows.shape[1] * max(site.d_in, subject.d_model)
    together = max(1, min(len(rows), most // row))
    return together, max(1, most // (together * row))


def _parts(stack: SAEStack, copies: int, tokens: int) -> list[_Part]:
    """A stack in parts of at most `copies` members, whose latents on so many `tokens` fit into `_LATENTS`."""
    size = max(1, min(copies, _most_latents(stack) // (4 * tokens * stack.d_sae)))
    return [(stack.part(slice(i, i + size)), Sums()) for i in range(0, len(stack.members), size)]


def _passes(parts: Iterable[_Part], copies: int) -> Iterator[list[_Part]]:
    """The parts in order, together as far as they have at most `copies` members."""
    passing: list[_Part] = []
    for part in parts:
        if passing and sum(len(one.members) for one, _ in [*passing, part]) > copies:
            yield passing
            passing = []
        passing.append(part)
    if passing:
        yield passing


def _reconstructed(part: SAEStack, sums: Sums, z: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    """Reconstructions [S, B, D] as activations, of tokens `z` [B, D] as the SAEs take them; adds to `sums`."""
    tokens = max(1, _most_latents(part) // (4 * len(part.members) * part.d_sae))
    pieces = []
    for some in z.split(tokens):
        f = part.encode(some)
        pieces.append(part.decode(f))
        sums.add(some, f, pieces[-1])
    return torch.cat(pieces, 1) * spread + mean


def _most_latents(stack: SAEStack) -> int:
    return _LATENTS.get(stack.W_dec.device.type, _LATENTS["cpu"])


def _metrics(total: Totals, ce: dict[str, float], variance: float, predictions: int) -> dict:
    replaced = total.loss / predictions
    return {
        "l0": total.l0 / total.tokens,
        "normalised_mse": normalised_mse(total.error2 / total.tokens, variance),
        "loss_recovered": loss_recovered(ce["clean"], replaced, ce["zero"]),
        "loss_recovered_mean": loss_recovered(ce["clean"], replaced, ce["mean"]),
        "ce": replaced,
        "ce_clean": ce["clean"],
        "ce_zero": ce["zero"],
        "ce_mean": ce["mean"],
        "relative_reconstruction_bias": relative_reconstruction_bias(total.xhat_norm2, total.dot),
        "alive": total.alive,
        "eval_tokens": total.tokens,
    }


def _moments(
    subject: Subject, site: Site, batches: Iterable[Tensor], skip: int, spaces: dict[bool, Callable]
) -> tuple[Tensor, dict[bool, float]]:
    """The mean activation [D] over all evaluation tokens, and E||z - E z||^2 of each space that SAEs live in."""
    zero = torch.zeros(site.d_in, dtype=torch.float64, device=subject.device)
    total, sums, squares, count = zero, dict.fromkeys(spaces, zero), dict.fromkeys(spaces, zero.sum()), 0
    for batch in batches:
        x = subject.activations(batch, site)[:, skip:].flatten(0, 1)
        total, count = total + x.double().sum(0), count + len(x)
        for space, prepare in spaces.items():
            z = prepare(x)[0].double()
            sums[space], squares[space] = sums[space] + z.sum(0), squares[space] + z.square().sum()
    variance = {space: float(squares[space] / count - (sums[space] / count).square().sum()) for space in spaces}
    return total / count, variance
