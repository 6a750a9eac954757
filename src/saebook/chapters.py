"""What a chapter needs between its budget and its tables: methods from a budget, rows for a page.

Plumbing only; the method of a chapter lies in `saebook.analysis`, its numbers in `saebook.results`.
"""

from types import SimpleNamespace

import pandas as pd
import torch

from saebook import claims
from saebook.sae import build
from saebook.sae.base import Member, Stack
from saebook.stats import Interval
from saebook.subject import Site, Subject
from saebook.sweep import Data, Method
from saebook.text.tokens import tokens
from saebook.train import Training


def data(budget: SimpleNamespace) -> Data:
    """The text of a budget: which source, how much of it is measured on."""
    return Data(source=budget.source, eval_rows=budget.eval_rows, block=budget.block)


def gated_against_baseline(budget: SimpleNamespace) -> list[Method]:
    """Gated at `d_sae` and the ReLU baseline at `baseline_width` times that: equal training compute (section 3.6)."""

    def training(lr: float) -> Training:
        return Training(lr=lr, tokens=budget.tokens, batch=budget.batch)

    return [
        Method("gated", budget.d_sae, tuple(budget.gated_sparsities), training(budget.gated_lr)),
        Method(
            "relu", round(budget.d_sae * budget.baseline_width), tuple(budget.baseline_sparsities),
            training(budget.baseline_lr),
        ),
    ]  # fmt: skip


def untrained(architecture: str, subject: Subject, site: Site, budget: SimpleNamespace) -> tuple[Stack, torch.Tensor]:
    """A fresh SAE of one member with small random biases, and activations [B, D] to try it on."""
    stack = build(architecture, site.d_in, budget.d_sae, (Member(seed=0, sparsity=1.0),), device=subject.device)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in stack.named_parameters():
        if name not in ("W_enc", "W_dec"):
            noise = 0.1 * torch.randn(parameter.shape, generator=generator)
            parameter.data += noise.to(parameter.device)
    rows = torch.from_numpy(tokens(budget.source, subject.tokenizer, "held_out", subject.context)[:4].astype("int64"))
    return stack, subject.activations(rows, site).flatten(0, 1)


def comparison(ours: Interval, published: pd.DataFrame) -> pd.DataFrame:
    """Ours with its interval above the published ratios: the median and range of each model's sites and layers."""
    rows = [{"": "this book", "L0 ratio": ours.mean, "from": ours.low, "to": ours.high, "n": f"{ours.n} seeds"}]
    for model, group in published.dropna().groupby("model"):
        rows.append(
            {
                "": f"paper, {model}", "L0 ratio": group.ratio.median(), "from": group.ratio.min(),
                "to": group.ratio.max(), "n": f"{len(group)} sites and layers",
            }
        )  # fmt: skip
    return pd.DataFrame(rows).set_index("").round(2)


def verdicts(prefix: str, live: dict[str, Interval], budget: SimpleNamespace) -> list[dict]:
    """One row per claim of the ledger whose id starts with `prefix`, judged by its live interval.

    At the smoke tier nothing is judged: its budgets check the plumbing.
    """
    rows = []
    for claim in claims.load(prefix):
        interval = live[claim.live]
        verdict = claims.NOT_JUDGED if budget.tier == "smoke" else claims.verdict(claim, interval).value
        rows.append(
            {
                "id": claim.id, "claim": claim.claim, "quantity": claim.quantity, "paper": claim.expected, "ours": interval.mean,
                "low": interval.low, "high": interval.high, "verdict": verdict,
            }
        )  # fmt: skip
    return rows


def verdict_table(rows: list[dict]) -> pd.DataFrame:
    """The verdicts as a reader sees them."""
    shown = [
        {"claim": r["claim"], "quantity": r["quantity"], "paper": r["paper"], "ours": f"{r['ours']:.2f}", "interval": f"{r['low']:.2f} to {r['high']:.2f}",
         "verdict": r["verdict"]}
        for r in rows
    ]  # fmt: skip
    return pd.DataFrame(shown).set_index("claim")
