"""Trained SAEs that the reader names (`-p sae`), measured as a chapter's own are and set beside them.

    mine = own.open(page)                                # checked before anything is computed
    mine.on(figure, {0: ("l0", "loss_recovered")})       # a mark of its own in the first panel
    mine.beside(table)                                   # its rows below the chapter's

Where none is named, the figure and the table stay as they are. Claims are judged by the chapter's SAEs alone.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from saebook.book import budgets
from saebook.book.brought import drawing, fetching, fitting, naming
from saebook.book.chapter import Chapter
from saebook.common import fingerprint
from saebook.common.errors import UserError
from saebook.evaluation import metrics
from saebook.formats.portable import Origin
from saebook.sae import registry
from saebook.sae.base import SAEStack
from saebook.text.sources import corpus_hash
from saebook.text.tokens import tokenizer_hash
from saebook.training.store import Store, key_of

_MEASURING = "saebook.evaluation.metrics"
_METHODS = {"local", "e2e", "e2e+ds", "baseline"}  # of chapters, beside the architectures


@dataclass(frozen=True)
class Own:
    """The SAEs that a run of `page` names, by what tables call them; `also` adds the columns that the chapter's table has."""

    page: Chapter
    stacks: dict[str, SAEStack]
    labels: dict[str, str]
    also: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per SAE, with the columns of the chapter's sweep: measured on the same rows, once, and kept in the store.

        `sparsity` is k, or 0 where a file does not say its penalty. Empty, without columns, where no SAE is named.
        """
        if not self.stacks:
            return pd.DataFrame()
        store, keys = Store(), {name: self._key(stack) for name, stack in self.stacks.items()}
        missing = {keys[name]: stack for name, stack in self.stacks.items() if not store.has(keys[name])}
        if missing:
            page = self.page
            saes = [stack.to(page.subject.device) for stack in missing.values()]
            measured = metrics.measure(saes, page.subject, page.site, page.validation_rows(), page.data.skip)
            for (key, stack), (values,) in zip(missing.items(), measured, strict=True):
                about = {"model_name": page.subject.name, "hook_name": page.site.hook_name, "data": asdict(page.data)}
                store.save_sae(key, stack, 0, about | {"metrics": values})
        rows = [
            {"method": name, "d_sae": stack.d_sae, "sparsity": stack.members[0].sparsity, "seed": stack.members[0].seed,
             "key": keys[name], **store.metadata(keys[name])["metrics"]}
            for name, stack in self.stacks.items()
        ]  # fmt: skip
        return self.also(pd.DataFrame(rows))

    def measured(self, measure: Callable[[pd.DataFrame, list[SAEStack]], pd.DataFrame]) -> pd.DataFrame:
        """What `measure` says of each SAE, given its row of `table` and a list of it alone; empty where none is named."""
        parts = (
            [measure(row, self.page.saes(row)) for _, row in self.table.groupby("method", sort=False)]
            if self.stacks
            else []
        )
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    def beside(self, table: pd.DataFrame, rows: pd.DataFrame | None = None) -> pd.DataFrame:
        """`table` with the `rows` of these SAEs (default: their own table) below; the very same where none is named.

        A sparsity that no file says is left blank there: 0 would read as a penalty of 0.
        """
        if not self.stacks:
            return table
        rows = self.table if rows is None else rows
        if "sparsity" in rows and (unsaid := rows.sparsity == 0).any():
            rows = rows.assign(sparsity=rows.sparsity.astype(object).mask(unsaid, ""))
        return pd.concat([table, rows], ignore_index=True)

    def show(self, columns: Mapping[str, str], rows: pd.DataFrame | None = None) -> None:
        """Print `columns` of `rows` (default: of their own table) under the words given, where a chapter's table lists no SAE."""
        if self.stacks:
            table = self.table if rows is None else rows
            print(table[["method", *columns]].rename(columns=dict(columns)).round(3).to_string(index=False))

    def on(
        self, figure: Figure, at: Mapping[int, tuple[str | None, str]], rows: pd.DataFrame | None = None, where: str = ""
    ) -> None:  # fmt: skip
        """Mark these SAEs in the panels of `figure`, as `brought.drawing.marked` does; leave it alone where none is named.

        Of `rows` (default: their own table) those are taken `where` a query of pandas holds.
        """
        if self.stacks:
            table = self.table if rows is None else rows
            drawing.marked(figure, table.query(where) if where else table, at, self.labels)

    @property
    def findings(self) -> dict[str, Any]:
        """For a result: the name of each SAE and a hash of what it computes with."""
        return {"sae": {name: _digest(stack) for name, stack in self.stacks.items()}} if self.stacks else {}

    def _key(self, stack: SAEStack) -> str:
        """Everything that a row's numbers depend on, as for a run that was trained here."""
        page, data = self.page, self.page.data
        made_by = fingerprint.of(_MEASURING, registry.get(stack.architecture).__module__)
        return key_of({
            "brought": _digest(stack), "subject": page.subject.weights_hash, "tokenizer": tokenizer_hash(page.subject.tokenizer),
            "site": page.site.hook_name, "corpus": corpus_hash(data.source), "data": asdict(data), "source": made_by,
            "torch": torch.__version__.split("+")[0], "device": page.subject.device.type,
        })  # fmt: skip


def open(
    page: Chapter, also: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table, *,
    architectures: Sequence[str] = (), per_token: bool = True,
) -> Own:  # fmt: skip
    """Fetch, read and check the SAEs that the run of `page` names, and print a line on each.

    `also` adds the columns that a chapter adds to its table. `architectures` are those that the chapter can measure (default:
    all), `per_token` whether it can measure SAEs that normalise each token. Raises `UserError` in one line for an SAE that is not
    there, cannot be read, leaves a convention open, or does not fit the site.
    """
    stacks, labels = {}, {}
    names, theirs = _named(page)
    for name in names:
        place = naming.parsed(name)
        one = fitting.opened(place, fetching.fetched(place), page.site.hook_name, page.site.d_in, page.subject.name)
        _check_measurable(place.label, one.stack, architectures, per_token)
        called = _called(place, name, stacks)
        stacks[called] = one.stack
        labels[called] = ("their weights, " if theirs else "") + called.lstrip("_").replace("$", r"\$")
        print(f"{called}: {_described(one.stack, one.origin, page)}")
    return Own(page, stacks, labels, also)


def directions(sae: SAEStack) -> Tensor:
    """The directions [M, D] of an SAE's decoder, brought to norm one where its architecture leaves norms free."""
    return torch.nn.functional.normalize(sae.W_dec[0].detach(), dim=1)


def _named(page: Chapter) -> tuple[Sequence[str], bool]:
    """The names of a run's SAEs, and whether they are its tier's: those are left out of a run at another site or model."""
    tier = budgets.resolve(page.name, page.budget.tier)
    names, given = (getattr(budget, "sae", None) or () for budget in (page.budget, tier))
    if not names or names != given:
        return names, False
    moved = any(getattr(page.budget, field) != getattr(tier, field) for field in ("subject", "site", "layer"))
    return () if moved else names, True


def _called(place: naming.Place, name: str, taken: Mapping[str, SAEStack]) -> str:
    """What tables call an SAE: its label, or more of its name where that is another's, or what a chapter calls a method."""
    further = [place.label, "/".join(place.file.parts[-2:]) if place.file else name, name]
    return next(one for one in further if one not in taken and one not in _METHODS and one not in registry.names())


def _check_measurable(label: str, stack: SAEStack, architectures: Sequence[str], per_token: bool) -> None:
    if architectures and stack.architecture not in architectures:
        takes = ", ".join(architectures)
        raise UserError(f"{label} is of the architecture {stack.architecture}, and this page can measure only {takes}")
    if stack.per_token and not per_token:
        raise UserError(
            f"{label} normalises each token, and this page approximates activations as they are: leave it out"
        )


def _described(stack: SAEStack, origin: Origin, page: Chapter) -> str:
    does = "normalises each token" if stack.per_token else "takes activations as they are"
    words = f"{stack.architecture}, {stack.d_sae} latents, made for {origin.hook_name}; {does}"
    if stack.per_token != dict(page.methods()[0].options).get("per_token", False):
        words += "; the chapter's own SAEs differ in that, so compare losses and L0, not errors"
    if fitting.same_model(origin.model_name, page.subject.name) is False:
        words += f"; it says it was made for the model {origin.model_name}, and this is {page.subject.name}"
    return words


def _digest(stack: SAEStack) -> str:
    digest = hashlib.sha256(f"{stack.architecture} {stack.options()} {stack.members[0].sparsity}".encode())
    for name, tensor in sorted(stack.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
