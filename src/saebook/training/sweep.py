"""A grid of configurations to a table of measured runs: the store is asked first, what is missing is trained together.

A run is one SAE. Its key covers everything that its numbers depend on: subject weights, site, corpus, tokeniser,
training, data order, evaluation, the member's seed and sparsity, and the source of the rooms that made it.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from saebook.common.errors import UserError
from saebook.evaluation import metrics as measuring
from saebook.sae.base import Member, SAEStack
from saebook.sae.registry import build
from saebook.subject.model import Site, Subject
from saebook.text.sources import corpus
from saebook.text.tokens import tokenizer_hash, tokens
from saebook.training.buffers import ActivationBuffer, RowBuffer
from saebook.training.loop import TrainConfig, TrainState, train
from saebook.training.objectives import Objective
from saebook.training.store import Store, key_of

_ROOMS = ("sae", "text", "subject", "training", "evaluation")


@dataclass(frozen=True)
class Method:
    """One architecture at one width over several sparsities (lambda in the units of Eq. 4 and 8, or k).

    `options` are arguments of its stack, as pairs; `name` is what tables call it (default: the architecture).
    With an `objective` it is trained on whole rows of text, every position of them; all methods of a sweep have one, or none.
    """

    architecture: str
    d_sae: int
    sparsities: tuple[float, ...]
    training: TrainConfig
    options: tuple[tuple[str, object], ...] = ()
    name: str = ""
    objective: Objective | None = None

    def build(self, d_in: int, members: tuple[Member, ...], device: str | torch.device) -> SAEStack:
        """An untrained stack of these SAEs."""
        return build(self.architecture, d_in, self.d_sae, members, device=device, **dict(self.options))


@dataclass(frozen=True)
class Data:
    """Which text feeds training and evaluation, and in which order. `skip` leading positions of a row are left out."""

    source: str = "environment"
    eval_rows: int = 128
    skip: int = 1
    order_seed: int = 0
    block: int = 1024


def sweep(
    subject: Subject, site: Site, methods: list[Method], seeds: list[int], data: Data, store: Store | None = None
) -> pd.DataFrame:
    """Train what the store lacks and return one row per run: method, d_sae, sparsity, seed, key and all metrics.

    `attrs["trained"]` of the table says how many of the runs were not in the store.

    Every run of the call sees the same activations in the same order; the subject runs once per batch for all.
    """
    store = store or Store()
    wanted = runs(subject, site, methods, seeds, data)
    job_key = key_of({"runs": sorted(key for *_, key in wanted)})
    with store.lock(job_key):
        missing = [entry for entry in wanted if not store.has(entry[2])]
        if missing:
            _train(subject, site, missing, data, store)
    table = pd.DataFrame([_row(method, member, key, store) for method, member, key in wanted])
    table.attrs["trained"] = len(missing)
    return table


def across(
    subject: Subject, sites: Sequence[Site], methods: Callable[[Site], list[Method]], seeds: list[int], data: Data,
    store: Store | None = None,
) -> pd.DataFrame:  # fmt: skip
    """A `sweep` at each of `sites` by its own `methods`: one table, with the columns site and layer before its own."""
    parts = [(site, sweep(subject, site, methods(site), seeds, data, store)) for site in sites]
    table = pd.concat([part.assign(site=site.kind, layer=site.layer) for site, part in parts], ignore_index=True)
    table = table[["site", "layer", *(column for column in table if column not in ("site", "layer"))]]
    table.attrs["trained"] = sum(part.attrs["trained"] for _, part in parts)
    return table


def runs(
    subject: Subject, site: Site, methods: list[Method], seeds: list[int], data: Data
) -> list[tuple[Method, Member, str]]:
    """The runs that a sweep consists of, each with its key in the store. Raises `UserError` when one stands there twice."""
    shared = _shared(subject, site, data)
    wanted = [
        (method, Member(seed, sparsity), _key(shared, method, Member(seed, sparsity)))
        for method in methods
        for sparsity in method.sparsities
        for seed in seeds
    ]
    if len({method.objective is None for method in methods}) > 1 or (data.skip and methods[0].objective):
        raise UserError(
            "objectives that look past the site need whole rows: train them apart, with no position skipped"
        )
    if len({key for *_, key in wanted}) != len(wanted):
        raise UserError("the sweep asks for the same run twice: give every seed and sparsity once")
    return wanted


def histories(table: pd.DataFrame, store: Store | None = None) -> pd.DataFrame:
    """The training curves of the runs of a sweep's `table`: method, d_sae, sparsity, seed, step, loss, l0, dead."""
    store, parts = store or Store(), []
    for row in table.itertuples():
        curve = pd.DataFrame(store.load(row.key)[0]["metadata"]["history"])
        parts.append(curve.assign(method=row.method, d_sae=row.d_sae, sparsity=row.sparsity, seed=row.seed))
    return pd.concat(parts, ignore_index=True)


def _train(subject: Subject, site: Site, missing: list, data: Data, store: Store) -> None:
    context, corpus_hash = subject.context, corpus(data.source).hash
    rows = tokens(data.source, subject.tokenizer, "train", context)
    validation = tokens(data.source, subject.tokenizer, "validation", context)[: data.eval_rows]
    batch = missing[0][0].training.batch
    if missing[0][0].objective is None:
        stream = ActivationBuffer(subject, site, rows, batch, data.order_seed, data.skip, data.block)
    else:
        stream = RowBuffer(subject, site, rows, batch, data.order_seed)
    groups: dict[Method, list[tuple[Member, str]]] = {}
    for method, member, key in missing:
        groups.setdefault(method, []).append((member, key))
    jobs = []
    for m, group in groups.items():
        stack = m.build(site.d_in, tuple(member for member, _ in group), subject.device)
        jobs.append(TrainState(stack, m.training, m.objective, m.name or m.architecture))
    # Keyed by what is trained together: members are independent, but a checkpoint holds this very set.
    checkpoint = store.checkpoint(key_of({"together": [key for *_, key in missing]}))
    train(stream, jobs, checkpoint)
    stacks: list[SAEStack] = []
    for job in jobs:
        if not job.stack.per_token:  # a token that the SAE itself normalises has no scale to fold
            job.stack.fold_scale(stream.scale)
        stacks.append(job.stack)
    metrics = measuring.measure(stacks, subject, site, torch.from_numpy(validation.astype(np.int64)), data.skip)
    for job, group, found in zip(jobs, groups.values(), metrics, strict=True):
        for i, ((member, key), values) in enumerate(zip(group, found, strict=True)):
            cfg, weights = job.stack.to_saelens(i)
            cfg["metadata"] = cfg.get("metadata", {}) | {
                "model_name": subject.name, "hook_name": site.hook_name, "context_size": context, "prepend_bos": False,
                "dataset_path": data.source, "corpus_hash": corpus_hash, "seed": member.seed,
                "sparsity": member.sparsity, "training": asdict(job.training), "data": asdict(data),
                "training_scale": stream.scale, "metrics": values,
                "history": [{"step": h["step"], **{k: h[k][i] for k in ("loss", "l0", "dead")}} for h in job.history],
            }  # fmt: skip
            store.save(key, cfg, weights)
    checkpoint.clear()


def _shared(subject: Subject, site: Site, data: Data) -> dict:
    """What the keys of all runs of a sweep have in common: read once, for the corpus alone takes a tenth of a second."""
    return {
        "subject": subject.weights_hash,
        "tokenizer": tokenizer_hash(subject.tokenizer),
        "site": site.hook_name,
        "corpus": corpus(data.source).hash,
        "data": asdict(data),
        "rooms": rooms_hash(),
        "torch": torch.__version__.split("+")[0],
        "device": subject.device.type,
    }


def _key(shared: dict, method: Method, member: Member) -> str:
    # The grid a run was part of is not part of the run, nor is what a page calls it.
    alone = asdict(replace(method, sparsities=(member.sparsity,), name=""))
    return key_of(shared | {"method": alone, "seed": member.seed})


def rooms_hash() -> str:
    """A hash of the source of every room that a run's numbers depend on."""
    home = Path(__file__).parents[1]
    files = sorted(f for room in _ROOMS for f in ((home / room).rglob("*.py") if "." not in room else [home / room]))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(home).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _row(method: Method, member: Member, key: str, store: Store) -> dict:
    cfg, _ = store.load(key)
    return {
        "method": method.name or method.architecture, "d_sae": method.d_sae, "sparsity": member.sparsity, "seed": member.seed,
        "key": key, **cfg["metadata"]["metrics"],
    }  # fmt: skip
