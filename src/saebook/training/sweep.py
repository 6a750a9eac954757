"""From a grid of configurations to a table of measured runs: the store is asked first, what it lacks is trained together.

A run is one SAE. Its key covers everything that its numbers depend on: subject weights, site, corpus, tokeniser,
training, data order, evaluation, the member's seed and sparsity, and the library's own source: the import closure of
`training.run`, which trains and measures it, and of the module of its architecture, over syntax trees without comments
and docstrings. So a new architecture, a new method of a paper, a comment, or this module change no key. A store written
before such a source changed or moved is not carried over: its runs are trained again under new keys.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby

import pandas as pd
import torch

from saebook.common import fingerprint
from saebook.common.errors import UserError
from saebook.formats import saelens
from saebook.sae import registry
from saebook.sae.base import Member
from saebook.sae.kernels import precision
from saebook.subject.model import Site, Subject
from saebook.text.sources import corpus_hash
from saebook.text.tokens import tokenizer_hash, tokens
from saebook.training.activation_store import SiteActivations, collect
from saebook.training.buffers import ActivationBuffer
from saebook.training.config import Data, Method
from saebook.training.run import END_TO_END, ON_CUDA, Trained, train_and_measure
from saebook.training.store import Store, key_of

_TRAINING = "saebook.training.run"  # the module whose closure makes the numbers of every run


@dataclass(frozen=True)
class SweepResult:
    """A sweep's `table`, one row per run, and how many of the runs were `trained` now rather than read from the store."""

    table: pd.DataFrame
    trained: int


def sweep(
    subject: Subject, site: Site, methods: Sequence[Method], seeds: Sequence[int], data: Data, store: Store | None = None
) -> SweepResult:  # fmt: skip
    """Train what the store lacks. Columns of the table: method, d_sae, sparsity, seed, key and all metrics.

    Runs of one seed see the same activations in the same order; the subject runs once per batch for all of them. Raises
    `UserError` for a grid that cannot be trained together (`runs`).
    """
    store = store or Store()
    wanted = runs(subject, site, methods, seeds, data)
    with store.lock(key_of({"runs": sorted(key for *_, key in wanted)})):
        missing = [entry for entry in wanted if not store.has(entry[2])]
        for ordered, together in _by_order(missing, data):
            _train(subject, site, together, ordered, store)
    table = pd.DataFrame([_row(method, member, key, store) for method, member, key in wanted])
    return SweepResult(table, len(missing))


def across(
    subject: Subject, sites: Sequence[Site], methods: Callable[[Site], list[Method]], seeds: Sequence[int], data: Data,
    store: Store | None = None,
) -> SweepResult:  # fmt: skip
    """A `sweep` at each of `sites` by its own `methods`: one table, with the columns site and layer before its own.

    The activations of all sites where something is to be trained are collected first, in one pass of the subject.
    """
    store = store or Store()
    collected = _collect(subject, [(site, methods(site)) for site in sites], seeds, data, store)  # in use: kept
    parts = [(site, sweep(subject, site, methods(site), seeds, data, store)) for site in sites]
    del collected
    table = pd.concat([part.table.assign(site=site.kind, layer=site.layer) for site, part in parts], ignore_index=True)
    table = table[["site", "layer", *(column for column in table if column not in ("site", "layer"))]]
    return SweepResult(table, sum(part.trained for _, part in parts))


def runs(
    subject: Subject, site: Site, methods: Sequence[Method], seeds: Sequence[int], data: Data
) -> list[tuple[Method, Member, str]]:
    """The runs of a sweep, each with its key in the store.

    Raises `UserError` for a grid without runs or with one run twice, and for methods that take different batches.
    """
    shared = _shared(subject, site, data)
    wanted = [
        (method, Member(seed, sparsity), _key(shared, method, Member(seed, sparsity), data.of_seed(seed)))
        for method in methods
        for sparsity in method.sparsities
        for seed in seeds
    ]
    if not wanted:
        raise UserError("there is nothing to train: give at least one method, one sparsity and one seed")
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
    for row in table[["key", "method", "d_sae", "sparsity", "seed"]].to_dict("records"):
        curve = pd.DataFrame(store.metadata(row.pop("key"))["history"])
        parts.append(curve.assign(**{str(name): value for name, value in row.items()}))
    return pd.concat(parts, ignore_index=True)


def _collect(
    subject: Subject, plans: Sequence[tuple[Site, list[Method]]], seeds: Sequence[int], data: Data, store: Store
) -> list[SiteActivations]:  # fmt: skip
    """Have on disk what the sweeps at several sites still have to read, where those read activations."""
    buffers = []
    for site, methods in plans:
        missing = [method for method, _, key in runs(subject, site, methods, seeds, data) if not store.has(key)]
        if missing and missing[0].objective is None:
            rows = tokens(data.source, subject.tokenizer, "train", data.row_length(subject.context))
            buffers.append(ActivationBuffer.for_run(subject, site, rows, missing[0].training, data))
    places = [buffer.activations for buffer in buffers]
    collect(places, range(max((buffer.chunks for buffer in buffers), default=0)))
    return places


def source(architecture: str, device: str = "cpu", end_to_end: bool = False) -> str:
    """The part of a run's key that is about source: a hash of all that trains and measures this `architecture` on a device.

    `end_to_end` says whether it is trained under an objective.
    """
    further = [ON_CUDA] * (device == "cuda") + [END_TO_END] * end_to_end
    return fingerprint.of(_TRAINING, registry.get(architecture).__module__, *further)


def _by_order(
    missing: list[tuple[Method, Member, str]], data: Data
) -> Iterator[tuple[Data, list[tuple[Method, Member, str]]]]:
    """What is to be trained, by the order of the text that it sees: runs of one order share their batches."""

    def order(entry: tuple[Method, Member, str]) -> int:
        return data.of_seed(entry[1].seed).order_seed or 0

    for _, together in groupby(sorted(missing, key=order), key=order):
        runs_of_one = list(together)
        yield data.of_seed(runs_of_one[0][1].seed), runs_of_one


def _train(subject: Subject, site: Site, missing: list[tuple[Method, Member, str]], data: Data, store: Store) -> None:
    # Keyed by what is trained together: members are independent, but a checkpoint holds this very set.
    checkpoint = store.checkpoint(key_of({"together": [key for *_, key in missing]}))
    trained = train_and_measure(subject, site, [(method, member) for method, member, _ in missing], data, checkpoint)
    about = {
        "model_name": subject.name, "hook_name": site.hook_name, "context_size": data.row_length(subject.context), "prepend_bos": False,
        "dataset_path": data.source, "corpus_hash": corpus_hash(data.source), "data": asdict(data),
    }  # fmt: skip
    for (method, _, key), one in zip(missing, trained, strict=True):
        store.save_sae(key, one.stack, one.index, about | {"training": asdict(method.training)} | _measured(one))
    checkpoint.clear()


def _measured(one: Trained) -> dict:
    return {"training_scale": one.scale, "metrics": one.metrics, "history": one.history}


def _shared(subject: Subject, site: Site, data: Data) -> dict:
    """The parts of a run's key that all runs of a sweep share, read once."""
    return {
        "subject": subject.weights_hash,
        "tokenizer": tokenizer_hash(subject.tokenizer),
        "site": site.hook_name,
        "corpus": corpus_hash(data.source),
        "layout": saelens.LAYOUT,
        "torch": torch.__version__.split("+")[0],
        "device": subject.device.type,
        "precision": precision.current(subject.device.type),
    }


def _key(shared: dict, method: Method, member: Member, data: Data) -> str:
    # The grid a run was part of is not part of the run, nor is what a page calls it.
    alone = asdict(replace(method, sparsities=(member.sparsity,), name=""))
    own = {"method": alone, "seed": member.seed, "data": asdict(data)}
    made_by = source(method.architecture, shared["device"], method.objective is not None)
    return key_of(shared | own | {"source": made_by})


def _row(method: Method, member: Member, key: str, store: Store) -> dict:
    return {
        "method": method.name or method.architecture, "d_sae": method.d_sae, "sparsity": member.sparsity, "seed": member.seed,
        "key": key, **store.metadata(key)["metrics"],
    }  # fmt: skip
