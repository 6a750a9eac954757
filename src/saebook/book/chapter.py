"""What a chapter needs between its budget and its tables: an opened subject, text to measure on, rows for a page.

Plumbing only; what a chapter trains is in `saebook.plans`, the method of a chapter lies in `saebook.analysis`, its numbers in `saebook.results`.
"""

from types import SimpleNamespace

import pandas as pd
import torch

from saebook.book import budgets
from saebook.claims import ledger, standings
from saebook.claims.results import Live
from saebook.evaluation.intervals import Interval
from saebook.sae.base import Member, SAEStack
from saebook.sae.registry import build
from saebook.subject.model import Site, Subject
from saebook.text.tokens import tokens

pd.set_option("display.max_colwidth", None)  # a claim is shown whole


def opened(notebook: str, tier: str, **asked) -> tuple[SimpleNamespace, Subject, Site]:
    """The budget of a notebook (dotted) with what was `asked` for in it, its subject and its site."""
    budget = budgets.resolve(notebook, tier, **asked)
    subject = Subject.load(budget.subject)
    return budget, subject, subject.site(budget.site, budget.layer)


def sites(subject: Subject, budget: SimpleNamespace) -> list[Site]:
    """Where a budget reads its subject: one site, or every one of its `sites` in every one of its `layers`."""
    if not hasattr(budget, "sites"):
        return [subject.site(budget.site, budget.layer)]
    return [subject.site(kind, layer) for kind in budget.sites for layer in budget.layers]


def opened_everywhere(notebook: str, tier: str, **asked) -> tuple[SimpleNamespace, Subject, list[Site]]:
    """The same for a notebook that looks at several `sites` and `layers`: its budget, its subject, and all of them."""
    budget = budgets.resolve(notebook, tier, **asked)
    subject = Subject.load(budget.subject)
    return budget, subject, sites(subject, budget)


def validation(subject: Subject, budget: SimpleNamespace) -> torch.Tensor:
    """The held-out rows [N, T] that a budget measures on."""
    rows = tokens(budget.source, subject.tokenizer, "validation", subject.context)[: budget.eval_rows]
    return torch.from_numpy(rows.astype("int64")).to(subject.device)


def intervals(live: Live) -> pd.DataFrame:
    """Named intervals as a table."""
    rows = {name: [f"{one.mean:.4f}", f"{one.low:.4f}", f"{one.high:.4f}", one.n] for name, one in live.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "low", "high", "n"])


def untrained(
    architecture: str, subject: Subject, site: Site, budget: SimpleNamespace
) -> tuple[SAEStack, torch.Tensor]:
    """A fresh SAE of one member with small random biases, and activations [B, D] to try it on."""
    d_sae = budget.d_sae if hasattr(budget, "d_sae") else max(budget.widths)
    member = Member(seed=0, sparsity=8.0 if architecture == "topk" else 1.0)
    stack = build(architecture, site.d_in, d_sae, (member,), device=subject.device)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in stack.named_parameters():
        if name not in ("W_enc", "W_dec"):
            noise = 0.1 * torch.randn(parameter.shape, generator=generator)
            parameter.data += noise.to(parameter.device)
    return stack, subject.activations(validation(subject, budget)[:4], site).flatten(0, 1)


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


def verdicts(notebook: str, live: Live, budget: SimpleNamespace) -> pd.DataFrame:
    """The verdicts on the claims that `notebook` (dotted) judges, from its `live` intervals, as a reader sees them.

    At a tier below the one a claim names nothing is judged. Raises `KeyError` when a live quantity is missing.
    """
    rows = [
        {
            "claim": claim.claim, "verdict": standings.judged(claim, live[claim.key], budget.tier),
            "ours (95 % interval)": standings.shown(live[claim.key]), "paper": claim.expected, "quantity": claim.quantity,
        }
        for claim in ledger.judged_by(notebook)
    ]  # fmt: skip
    return pd.DataFrame(rows).set_index("claim")
