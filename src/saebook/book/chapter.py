"""What a notebook calls: a chapter opened in one line, its sweep in one call, and closed in one line.

    page = chapter.open("gated/fig05_pareto", globals())
    table = page.sweep()
    page.close(table, live, findings, figure)

What lies between these lines is the chapter's own.
"""

import functools
import math
import time
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure

from saebook.book import budgets
from saebook.claims import ledger, results, standings, wording
from saebook.claims.results import Live
from saebook.common.errors import UserError
from saebook.common.limits import Budget, SiteBudget, SitesBudget, SubjectBudget, SweepBudget, TrainingBudget
from saebook.evaluation.intervals import Interval
from saebook.sae.base import Member, SAEStack
from saebook.sae.registry import build
from saebook.subject.model import Site, Subject
from saebook.text.held_out import held_out
from saebook.text.tokens import tokens
from saebook.training import plan as plans
from saebook.training.buffers import ActivationBuffer
from saebook.training.store import Store
from saebook.training.sweep import Data, across, sweep


class Chapter:
    """An opened chapter: its budget, and on demand its subject, sites, text and sweep."""

    def __init__(self, name: str, budget: Budget):
        self.name, self.budget = name, budget
        self.trained = 0  # SAEs that this run trained, as opposed to took from the store
        self._begun = time.monotonic()

    @functools.cached_property
    def subject(self) -> Subject:
        """The budget's language model."""
        return Subject.load(self._text.subject)

    @functools.cached_property
    def site(self) -> Site:
        """The one site that the chapter looks at."""
        if not isinstance(self.budget, SiteBudget):
            raise UserError(f"{self.name} has no single site: use page.sites")
        return self.subject.site(self.budget.site, self.budget.layer)

    @functools.cached_property
    def sites(self) -> list[Site]:
        """Every site that the chapter looks at: one, or each of `sites` in each of `layers`."""
        if isinstance(self.budget, SitesBudget):
            return [self.subject.site(kind, layer) for kind in self.budget.sites for layer in self.budget.layers]
        return [self.site]

    @property
    def context(self) -> int:
        """Tokens in a row of text."""
        return self.data.row_length(self.subject.context)

    def validation_rows(self, count: int | None = None) -> torch.Tensor:
        """The first `count` of the validation rows [N, T] that judge (default: those that the sweep is evaluated on)."""
        rows = held_out(self._text.source, self.subject.tokenizer, self.context, count or self._text.eval_rows)
        return torch.from_numpy(rows.astype("int64")).to(self.subject.device)

    def methods(self, site: Site | None = None) -> list:
        """What the chapter's plan trains at a site."""
        methods = budgets.plan(self.name).methods
        if methods is None:
            raise UserError(f"{self.name} trains nothing: its plan has no methods")
        return methods(self.budget, site or self.sites[0])

    @property
    def data(self) -> Data:
        """Which text feeds training and evaluation, and in which order."""
        return plans.data(self._text)

    def buffer(self) -> ActivationBuffer:
        """Batches of activations at the chapter's site: those that the sweep trains on, in the same order."""
        assert isinstance(self.budget, TrainingBudget)
        rows = tokens(self._text.source, self.subject.tokenizer, "train", self.context)
        batch, data = self.budget.batch, self.data
        steps = self.budget.tokens // batch
        return ActivationBuffer(
            self.subject, self.site, rows, batch, data.order_seed or 0, data.skip, data.block, steps
        )

    @property
    def beside(self) -> list[Site]:
        """The other sites of the same layer where the same is trained, of a budget that names some."""
        return [self.subject.site(kind, self.site.layer) for kind in getattr(self.budget, "beside", ())]

    def sweep(self, site: Site | None = None) -> pd.DataFrame:
        """Train what the store lacks of the chapter's plan, at the chapter's sites or at `site`; one row per SAE with all its metrics."""
        if not isinstance(self.budget, TrainingBudget):
            raise UserError(f"{self.name} trains nothing: its budget has no tokens")
        seeds, data = list(self.budget.seeds), self.data
        if isinstance(self.budget, SweepBudget):
            site = site or self.site
            result = sweep(self.subject, site, self.methods(site), seeds, data)
        else:
            result = across(self.subject, self.sites, self.methods, seeds, data)
        self.trained += result.trained
        return result.table

    def saes(self, table: pd.DataFrame) -> list[SAEStack]:
        """The trained SAEs of the rows of a sweep's `table`, each a stack of one."""
        return [Store().load_sae(key).to(self.subject.device) for key in table.key]

    def untrained(self, architecture: str, d_sae: int | None = None) -> tuple[SAEStack, torch.Tensor]:
        """A fresh SAE of one member with small random biases, and activations [B, D] to try it on."""
        width = d_sae or getattr(self.budget, "d_sae", None) or max(getattr(self.budget, "widths"))  # noqa: B009
        member = Member(seed=0, sparsity=8.0 if architecture == "topk" else 1.0)
        stack = build(architecture, self.sites[0].d_in, width, (member,), device=self.subject.device)
        generator = torch.Generator().manual_seed(0)
        for name, parameter in stack.named_parameters():
            if name not in ("W_enc", "W_dec"):
                noise = 0.1 * torch.randn(parameter.shape, generator=generator)
                parameter.data += noise.to(parameter.device)
        return stack, self.subject.activations(self.validation_rows()[:4], self.sites[0]).flatten(0, 1)

    def close(
        self, points: pd.DataFrame, live: Live, findings: dict | None = None, figure: Figure | None = None
    ) -> pd.DataFrame:
        """Write the chapter's result and return the verdicts on its claims.

        `points` are the plotted rows, `live` the intervals that the claims are judged by, `findings` whatever else. Raises
        `KeyError` when a claim's live quantity is missing.
        """
        subject = self.subject if isinstance(self.budget, SubjectBudget) else None
        own = self.budget == budgets.resolve(self.name, self.budget.tier)
        seconds = time.monotonic() - self._begun
        costs = {"trained": self.trained, "seconds": seconds}
        results.write(self.name, self.budget, subject, points, live, findings, figure, own=own, **costs)
        return verdicts(self.name, live, self.budget.tier)

    @property
    def _text(self) -> SubjectBudget:
        if not isinstance(self.budget, SubjectBudget):
            raise UserError(f"{self.name} reads no language model")
        return self.budget


def open(name: str, given: dict[str, Any]) -> Chapter:
    """The chapter `name` with the parameters among `given`, a notebook's `globals()`; None means the tier's own value.

    Raises `UserError` in one line for a value out of bounds, before anything is computed.
    """
    pd.set_option("display.max_colwidth", None)  # a claim is shown whole
    fields = budgets.budget_class(name).model_fields
    asked = {field: given[field] for field in fields if given.get(field) is not None and field != "tier"}
    return Chapter(name, budgets.resolve(name, given.get("tier", "smoke"), **asked))


def verdicts(name: str, live: Live, tier: str) -> pd.DataFrame:
    """The verdicts on the claims that chapter `name` judges, from its `live` intervals, as a reader sees them.

    At a tier below the one that a claim names nothing is judged. Raises `KeyError` when a live quantity is missing.
    """
    rows = [
        {
            "claim": claim.claim, "verdict": standings.judged(claim, live[claim.live], tier),
            "here (95 % interval)": wording.interval(live[claim.live]), "replicates if": wording.criterion(claim),
            "the paper": wording.paper(claim), "quantity": claim.quantity,
        }
        for claim in ledger.judged_by(name)
    ]  # fmt: skip
    return (
        pd.DataFrame(rows).set_index("claim") if rows else pd.DataFrame({"verdict": ["this chapter judges no claim"]})
    )


def _fixed(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "no value" if math.isnan(value) else "no limit"


def intervals(live: dict[str, Interval]) -> pd.DataFrame:
    """Named intervals as a table."""
    rows = {name: [*(_fixed(end) for end in (one.mean, one.low, one.high)), one.n] for name, one in live.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "low", "high", "n"])


def comparison(ours, published: pd.DataFrame) -> pd.DataFrame:
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
