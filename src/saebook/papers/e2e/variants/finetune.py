"""Trained local SAEs, trained on for a little under KL + MSE (Karvonen 2025), or under their own objective as a control.

The text goes on where the SAE's training stopped, the penalty keeps its lambda, and the weight of the KL divergence makes it
as large as the error at the first batch, so that lambda keeps its meaning. Fine-tuned SAEs are in the store like any run.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saebook.common import fingerprint
from saebook.evaluation import metrics
from saebook.sae.base import SAEStack
from saebook.sae.kernels import precision
from saebook.subject.model import Site, Subject
from saebook.text.held_out import held_out
from saebook.training.config import Data, Objective, TrainConfig
from saebook.training.loop import TrainState, train
from saebook.training.objectives import Reference, RowBuffer, pull
from saebook.training.store import Store, key_of
from saebook.training.sweep import SweepResult, source

FINETUNED, CONTINUED = "finetuned", "continued"
LOCAL = Objective(reconstruction=1.0)


@dataclass(frozen=True)
class Finetune:
    """How: on `tokens` more in batches of `batch`, at a rate that falls linearly from `lr` to zero, after `begun` tokens."""

    tokens: int
    lr: float
    batch: int
    begun: int

    def training(self) -> TrainConfig:
        """Adam as in the e2e paper's recipe, with no warm-up."""
        return TrainConfig(
            lr=self.lr, tokens=self.tokens, batch=self.batch, beta1=0.9, warmup_share=0.0, decay_share=1.0,
            clip_norm=10.0, resample_at=(),
        )  # fmt: skip


@dataclass
class LaterText:
    """The batches of `rows` from number `first` on, which count from zero here."""

    rows: RowBuffer
    first: int
    batch: int = field(init=False)
    seed: int = field(init=False)

    def __post_init__(self) -> None:
        self.batch, self.seed = self.rows.batch, self.rows.seed

    def sample(self, count: int) -> Tensor:
        """As that of `rows`."""
        return self.rows.sample(count)

    def batches(self, start: int, steps: int) -> Iterator[Reference]:
        """Batches with the numbers from `start` up to `steps`, that one left out."""
        return self.rows.batches(self.first + start, self.first + steps)


@torch.no_grad()
def balanced(stack: SAEStack, reference: Reference) -> Objective:
    """Half the error at the site plus the KL divergence, with the weight at which both are equal on `reference`."""
    terms, _ = pull(stack.reconstruct(reference.x), reference, Objective(reconstruction=1.0, kl=1.0))
    return Objective(reconstruction=0.5, kl=0.5 * float(terms["reconstruction"][0]) / float(terms["kl"][0]))


def finetuned(
    table: pd.DataFrame, subject: Subject, site: Site, data: Data, how: Finetune, store: Store | None = None
) -> SweepResult:
    """The SAEs of a sweep's `table`, all of one architecture, trained on: methods FINETUNED (KL + MSE) and CONTINUED (MSE).

    A table like it, measured as a sweep is; `trained` says how many were trained now. The runs must be in the store.
    """
    store, parts, trained = store or Store(), [], 0
    for seed, runs in table.groupby("seed", sort=False):
        order = data.of_seed(int(str(seed)))
        keys = {
            (key, kind): _key(store, key, kind, order, how, subject)
            for key in runs.key
            for kind in (FINETUNED, CONTINUED)
        }
        with store.lock(key_of({"finetuned": sorted(keys.values())})):
            missing = {of: key for of, key in keys.items() if not store.has(key)}
            if missing:
                _train(missing, subject, site, order, how, store)
        trained += len(missing)
        for kind in (FINETUNED, CONTINUED):
            parts += [
                {"method": kind, "d_sae": row["d_sae"], "sparsity": row["sparsity"], "seed": row["seed"], "key": key}
                | store.metadata(key)["metrics"]
                for row in runs.to_dict("records")
                for key in [keys[row["key"], kind]]
            ]
    return SweepResult(pd.DataFrame(parts), trained)


def weights(table: pd.DataFrame, store: Store | None = None) -> pd.Series:
    """The weight of the KL divergence over that of the error, of each run of the method FINETUNED in `finetuned`'s table."""
    store = store or Store()
    objectives = [store.metadata(key)["objective"] for key in table.key]
    return pd.Series([one["kl"] / one["reconstruction"] for one in objectives], table.index, name="weight")


def _key(store: Store, run: str, kind: str, data: Data, how: Finetune, subject: Subject) -> str:
    about: dict[str, Any] = {"run": run, "kind": kind, "data": asdict(data), "how": asdict(how)}
    made_by = source(store.load_sae(run).architecture, subject.device.type, end_to_end=True)
    return key_of(
        about | {"precision": precision.current(subject.device.type), "source": [made_by, fingerprint.of(__name__)]}
    )


def _train(
    missing: dict[tuple[str, str], str], subject: Subject, site: Site, data: Data, how: Finetune, store: Store
) -> None:
    """Train, measure and store what is `missing`, on the same batches."""
    rows = RowBuffer(subject, site, subject.rows(data.source, "train", data.context), how.batch, data.order_seed or 0)
    later = LaterText(rows, how.begun // how.batch)
    first, products, states = next(later.batches(0, 1)), precision.current(subject.device.type), []
    for run, kind in missing:
        stack = store.load_sae(run).to(subject.device)
        objective = balanced(stack, first) if kind == FINETUNED else LOCAL
        states.append(TrainState(stack, how.training(), objective, kind, precision=products))
    checkpoint = store.checkpoint(key_of({"finetuned together": sorted(missing.values())}))
    if checkpoint.load() is None:  # `train` starts biases anew unless it goes on from a state
        checkpoint.save({"step": 0, "jobs": [state.state() for state in states]})
    train(later, states, checkpoint)
    length = data.row_length(subject.context)
    validation = held_out(data.source, subject.tokenizer, length, data.eval_rows, data.eval_part)
    measured = metrics.measure(
        [state.stack for state in states], subject, site, torch.from_numpy(validation.astype(np.int64)), data.skip
    )
    for ((run, _), key), state, (values,) in zip(missing.items(), states, measured, strict=True):
        assert state.objective is not None
        about = {"run": run, "how": asdict(how), "objective": asdict(state.objective), "metrics": values}
        store.save_sae(key, state.stack, metadata=about)
    checkpoint.clear()
