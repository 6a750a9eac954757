"""Metrics of an SAE on validation tokens: sparsity, reconstruction, shrinkage, and the loss that it adds to the subject.

Every expectation is taken over all evaluation tokens first, and ratios are made of expectations (the Gated paper's
Eq. 10 and section 2.3), never averaged over batches. Letters: N rows, T positions, D d_in, S members.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from saebook.common.progress import bar
from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject

_ROWS = 32  # rows a pass


@dataclass
class Sums:
    """Running sums over tokens for one member, in float64."""

    tokens: int = 0
    x_norm2: float = 0.0
    xhat_norm2: float = 0.0
    dot: float = 0.0
    error2: float = 0.0
    l0: float = 0.0
    loss: float = 0.0
    losses: int = 0
    fired: Tensor = field(default_factory=lambda: torch.tensor(False), repr=False)  # [M] once tokens were added

    def add(self, x: Tensor, f: Tensor, xhat: Tensor) -> None:
        """Add tokens `x` [B, D], latents `f` [B, M], reconstructions `xhat` [B, D]."""
        self.tokens += len(x)
        self.x_norm2 += float(x.double().square().sum())
        self.xhat_norm2 += float(xhat.double().square().sum())
        self.dot += float((x.double() * xhat.double()).sum())
        self.error2 += float((x.double() - xhat.double()).square().sum())
        active = f > 0
        self.l0 += float(active.sum())
        self.fired = active.any(0) | self.fired


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
    members = [[stack.member(i) for i in range(len(stack.members))] for stack in stacks]
    sums = [[Sums() for _ in group] for group in members]
    prepare = {stack.per_token: stack.prepare for stack in stacks}
    mean, variance = _moments(subject, site, rows, skip, prepare)
    ce = {"clean": 0.0, "zero": 0.0, "mean": 0.0}
    predictions = 0
    with torch.inference_mode(), bar(len(rows), "measuring", "row") as progress:
        for part in rows.split(_ROWS):
            intervention = subject.intervene(part, site)
            own = intervention.activations

            def scored(new: Tensor, intervention=intervention, own=own) -> float:
                whole = torch.cat([own[:, :skip], new.view_as(own[:, skip:])], 1)
                return float(intervention.loss(whole)[:, skip:].double().sum())

            x = own[:, skip:].flatten(0, 1)
            ce["clean"] += float(intervention.loss()[:, skip:].double().sum())
            ce["zero"] += scored(torch.zeros_like(x))
            ce["mean"] += scored(mean.to(x.dtype).expand_as(x))
            predictions += len(part) * (part.shape[1] - 1 - skip)
            for group, totals in zip(members, sums, strict=True):
                for single, total in zip(group, totals, strict=True):
                    z, back, spread = single.prepare(x)
                    f = single.encode(z)
                    zhat = single.decode(f)[0]
                    total.add(z, f[0], zhat)
                    total.loss += scored(zhat * spread + back)
            progress.update(len(part))
    ce = {name: total / predictions for name, total in ce.items()}
    return [
        [_metrics(total, ce, variance[stack.per_token], predictions) for total in totals]
        for stack, totals in zip(stacks, sums, strict=True)
    ]


def _metrics(total: Sums, ce: dict[str, float], variance: float, predictions: int) -> dict:
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
        "alive": float(total.fired.float().mean()),
        "eval_tokens": total.tokens,
    }


def _moments(
    subject: Subject, site: Site, rows: Tensor, skip: int, prepare: dict[bool, Callable]
) -> tuple[Tensor, dict[bool, float]]:
    """The mean activation [D] over all evaluation tokens, and E||z - E z||^2 of each space that SAEs live in."""
    new = torch.zeros(site.d_in, dtype=torch.float64, device=subject.device)
    total, sums, squares, count = new, {space: new.clone() for space in prepare}, dict.fromkeys(prepare, 0.0), 0
    for part in rows.split(_ROWS):
        x = subject.activations(part, site)[:, skip:].flatten(0, 1)
        total = total + x.double().sum(0)
        count += len(x)
        for space, to in prepare.items():
            z = to(x)[0].double()
            sums[space] += z.sum(0)
            squares[space] += float(z.square().sum())
    variance = {space: squares[space] / count - float((sums[space] / count).square().sum()) for space in prepare}
    return total / count, variance
