"""The tied Gated encoder as a JumpReLU (Gated paper, section 3.2.1 and Figure 4): where the two differ, and the shape of single latents.

Letters: B tokens, D d_in, M d_sae. Pre-activations are in magnitude units, z = e^r_mag W_enc (x - b_dec) + b_mag.
"""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from saebook.evaluation.intervals import Interval
from saebook.sae.gated import Gated
from saebook.subject.model import Site, Subject
from saebook.training.store import Store

_ROWS = 4  # rows a pass
STATED, FLIPPED, UNSCALED = "stated", "sign of b_gate flipped", "without e^r_mag"


def jumprelu(z: Tensor, theta: Tensor) -> Tensor:
    """1[z > theta] * ReLU(z), for `z` [B, M] and `theta` [M]. With theta < 0 it is a plain ReLU."""
    return (z > theta) * z.relu()


def pre_activations(sae: Gated, x: Tensor) -> Tensor:
    """z [B, M] of `x` [B, D], for an SAE alone in its stack."""
    return (x - sae.b_dec[0]) @ sae.W_enc[0] * sae.r_mag[0].exp() + sae.b_mag[0]


def thresholds(sae: Gated) -> dict[str, Tensor]:
    """The stated threshold [M], and two wrong ones: with the sign of b_gate turned round, and with its scale forgotten."""
    b_gate, b_mag = sae.b_gate[0], sae.b_mag[0]
    return {
        STATED: sae.threshold()[0], FLIPPED: b_mag + sae.r_mag[0].exp() * b_gate, UNSCALED: b_mag - b_gate,
    }  # fmt: skip


def _gated(key: str, store: Store | None) -> Gated:
    sae = (store or Store()).load_sae(key)
    assert isinstance(sae, Gated), f"run {key} is not a Gated SAE"
    return sae


@torch.inference_mode()
def compared(
    table: pd.DataFrame, subject: Subject, site: Site, rows: Tensor, skip: int, store: Store | None = None
) -> pd.DataFrame:
    """Every Gated SAE of a sweep's `table` against JumpReLUs on `rows` [N, T]: one line per SAE, threshold and float type.

    `different`: activations on one side zero and on the other not, out of `activations`; `largest_difference`: over the
    largest latent; `nearest`: of those that differ, the largest distance |z - theta| over the largest |z| (0 where none does).
    """
    lines = []
    inputs = [subject.activations(part, site)[:, skip:].flatten(0, 1) for part in rows.split(_ROWS)]
    for row in table[table.method == "gated"].itertuples():
        single = _gated(str(row.key), store).to(subject.device)
        for dtype in (torch.float32, torch.float64):
            sae = single.to(dtype)
            parts = [_differences(sae, x.to(dtype)) for x in inputs]
            of_run = {"method": row.method, "seed": row.seed, "sparsity": row.sparsity, "l0": row.l0}
            for name, group in pd.concat(parts).groupby(level=0, sort=False):
                lines.append(
                    of_run | {
                        "threshold": name, "dtype": str(dtype).removeprefix("torch."),
                        "different": int(group.different.sum()), "activations": int(group.activations.sum()),
                        "largest_difference": group.difference.max() / group.largest.max(),
                        "nearest": group.distance.max() / group.largest_z.max(),
                    }
                )  # fmt: skip
    return pd.DataFrame(lines)


def _differences(sae: Gated, x: Tensor) -> pd.DataFrame:
    """Counts and maxima over `x` [B, D], one line per threshold."""
    gated, z = sae.encode(x)[0], pre_activations(sae, x)
    lines = {}
    for name, theta in thresholds(sae).items():
        jump = jumprelu(z, theta)
        flipped = (jump > 0) != (gated > 0)
        distance = (z - theta).abs()[flipped]
        lines[name] = {
            "different": int(flipped.sum()), "activations": z.numel(), "difference": float((jump - gated).abs().max()),
            "largest": float(gated.max()), "largest_z": float(z.abs().max()),
            "distance": float(distance.max()) if len(distance) else 0.0,
        }  # fmt: skip
    return pd.DataFrame.from_dict(lines, orient="index")


def over_all(values: Sequence[float]) -> Interval:
    """Mean and range of `values`. An identity leaves nothing to estimate: the interval holds every SAE, not a share of them."""
    return Interval(
        float(sum(values)) / len(values), float(min(values)), float(max(values)), len(values), tuple(values)
    )


@torch.inference_mode()
def shapes(
    row, subject: Subject, site: Site, rows: Tensor, skip: int, quantiles: Sequence[float], at_least: int = 20,
    store: Store | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Pre-activation `z` and `activation` of some latents of one Gated SAE on `rows` [N, T], one line per latent and token.

    Chosen by rule: of the latents that fire on `at_least` tokens (of all, where none does), those whose threshold lies at
    the `quantiles`. `row` is a line of a sweep's table.
    """
    sae = _gated(str(row.key), store).to(subject.device)
    x = torch.cat([subject.activations(part, site)[:, skip:].flatten(0, 1) for part in rows.split(_ROWS)])
    f, z, theta = sae.encode(x)[0], pre_activations(sae, x), sae.threshold()[0]
    often = ((f > 0).sum(0) >= at_least).nonzero()[:, 0]
    often = often if len(often) else torch.arange(sae.d_sae, device=theta.device)
    order = often[theta[often].argsort()]
    parts = []
    for quantile in quantiles:
        latent = int(order[round(quantile * (len(order) - 1))])
        columns = {"z": z[:, latent].cpu().numpy(), "activation": f[:, latent].cpu().numpy()}
        parts.append(pd.DataFrame(columns).assign(latent=latent, quantile=quantile, theta=float(theta[latent])))
    return pd.concat(parts, ignore_index=True)


@torch.inference_mode()
def positive_thresholds(table: pd.DataFrame, store: Store | None = None) -> list[float]:
    """The share of latents whose threshold is above zero, so that they jump, one value per Gated SAE of `table`."""
    saes = (_gated(str(row.key), store) for row in table[table.method == "gated"].itertuples())
    return [float((sae.threshold() > 0).float().mean()) for sae in saes]
