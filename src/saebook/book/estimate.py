"""What a notebook will cost on this machine, before it runs: time, memory, disk and download, from a short probe.

The probe does a little of each kind of work (a pass of the subject, a few training steps of every kind and width, one
piece of the measurement) and multiplies. Runs that the store already holds, and runs that an earlier notebook of the same
estimate will have made, cost nothing.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import torch

from saebook.book import budgets, chapter, parallel
from saebook.common import hardware, paths
from saebook.common.errors import UserError
from saebook.evaluation import metrics
from saebook.papers import plans
from saebook.sae.base import Member, SAEStack
from saebook.subject.model import Site, Subject
from saebook.text import prose, sources
from saebook.training.loop import TrainState
from saebook.training.objectives import Reference, members_at_once
from saebook.training.store import Store
from saebook.training.sweep import Data, Method, runs

_ROWS, _STEPS = 32, 4  # how much of each kind of work the probe does
_MOMENTS = 16  # bytes of a parameter in training: itself, its gradient, Adam's two moments
_PROSE_SHARE, _BYTES_PER_SECOND = 0.13, 3e6  # prose in the packages' files; what is split and tokenised a second


@dataclass
class Estimate:
    """Cost of one notebook: seconds by kind of work, bytes of memory and disk, and what comes over the network."""

    notebook: str
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


def estimate(tier: str, names: list[str] | None = None) -> Iterator[Estimate]:
    """One estimate per notebook (PAPER/NAME; default: all of the tier), in the order in which they would run."""
    done: set[str] = set()
    for name in names or [n.replace(".", "/", 1) for n in budgets.load(tier)]:
        notebook = name.replace("/", ".")
        yield _notebook(notebook, budgets.resolve(notebook, tier), done)


def _notebook(notebook: str, budget: SimpleNamespace, done: set[str]) -> Estimate:
    if not hasattr(budget, "subject"):  # published tables and toys: seconds, and no model to probe
        start, resting = _start("")
        return Estimate(notebook, {"start": start}, resting)
    if not _at_hand(budget.subject):  # nothing is fetched only to be measured
        return Estimate(notebook, download=_download(budget), known=False)
    start, resting = _start(budget.subject)
    found = Estimate(notebook, {"start": start}, resting, download=_download(budget))
    subject = _subject(budget.subject)
    unread = budget.source.startswith("hub:") or (
        budget.source == "environment" and not sources.environment_is_cached()
    )
    if unread and budget.source == "environment" and "corpus" not in done:
        found.seconds["corpus"] = _corpus()
        done.add("corpus")
    plan = plans.PLANS.get(notebook)
    if plan is None:
        return found
    for site in chapter.sites(
        subject, budget
    ):  # one after the other: time and disk add up, memory is that of the largest
        methods = plan(plans.at(budget, site)) if hasattr(budget, "sites") else plan(budget)
        here = _one_site(notebook, subject, site, methods, budget, unread, done)
        found.trains, found.stored = found.trains + here.trains, found.stored + here.stored
        for kind, seconds in here.seconds.items():
            found.seconds[kind] = found.seconds.get(kind, 0.0) + seconds
        found.memory, found.disk = max(found.memory, resting + here.memory), found.disk + here.disk
    return found


def _one_site(
    notebook: str, subject: Subject, site: Site, methods: list[Method], budget: SimpleNamespace, unread: bool, done: set[str]
) -> Estimate:  # fmt: skip
    """What the sweep at one site still has to train, without the start of the notebook."""
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
    here = Estimate(notebook, trains=len(missing), stored=len(wanted) - len(missing))
    if missing:
        of_sweep(here, subject, site, [(method, member) for method, member, _ in missing], data)
    return here


def of_sweep(
    found: Estimate, subject: Subject, site: Site, missing: list[tuple[Method, Member]], data: Data
) -> Estimate:
    """Add to `found` what training and measuring the `missing` runs costs."""
    training = missing[0][0].training
    rows = torch.randint(0, 100, (_ROWS, subject.context))
    forward = _time(lambda: subject.activations(rows, site)) / _ROWS
    per_row = subject.context - data.skip
    if missing[0][0].objective is None:
        x = subject.activations(rows, site)[:, data.skip :].flatten(0, 1)
        batch = x.repeat(-(-training.batch // len(x)), 1)[: training.batch]
        found.seconds["subject"] = forward * training.tokens / per_row
    else:
        whole = torch.randint(0, 100, (training.batch // subject.context, subject.context))
        batch = Reference(subject, whole, site)
        past = any(not method.objective.local for method, _ in missing)
        # What is compared with is made once a batch for all SAEs.
        once = _time(lambda: Reference(subject, whole, site).clean() if past else subject.activations(whole, site))
        found.seconds["subject"] = once * training.steps
    found.seconds["training"] = found.seconds["measuring"] = 0.0
    intervention = subject.intervene(rows, site)
    spliced = _time(lambda: intervention.loss(intervention.activations)) / _ROWS
    # The moments of the activations, the activations themselves, and the clean and two ablated losses.
    found.seconds["measuring"] += data.eval_rows * (2 * forward + 3 * spliced)
    scratch = parameters = 0
    for method in {method for method, _ in missing}:
        members = tuple(member for other, member in missing if other == method)
        together = method.objective and members_at_once(method.objective, training.batch, subject.device.type)
        stack = method.build(site.d_in, members[: together or 1], subject.device)
        probed = len(stack.members)
        parameters += len(members) * sum(p.numel() for p in stack.parameters()) // probed
        scratch = max(scratch, 6 * training.batch * method.d_sae * 4)
        found.seconds["training"] += _steps(stack, batch, method) / probed * training.steps * len(members)
        stack = stack.member(0)
        read = _time(lambda stack=stack: _read(stack, intervention)) / _ROWS
        found.seconds["measuring"] += data.eval_rows * len(members) * (read + spliced)
    # A block is held as its pieces, joined, mixed, and scaled.
    rows_held = min(data.block, training.tokens // per_row + 1) if missing[0][0].objective is None else _ROWS
    block = 4 * rows_held * per_row * site.d_in * 4
    found.memory += block + parameters * _MOMENTS + scratch
    found.disk += parameters * 4 + parameters * _MOMENTS  # the stored runs, and a checkpoint while they train
    return found


def _steps(stack: SAEStack, batch: torch.Tensor | Reference, method: Method) -> float:
    """Seconds of one training step of a stack on a batch."""
    x = batch.x if isinstance(batch, Reference) else batch
    stack.init_bias(stack.prepare(x)[0])
    job = TrainState(stack, method.training, method.objective)
    job.step(batch, 0)
    return _time(lambda: [job.step(batch, step) for step in range(1, _STEPS + 1)]) / _STEPS


@torch.inference_mode()
def _read(stack: SAEStack, intervention) -> None:
    x, _, _ = stack.prepare(intervention.activations.flatten(0, 1))
    f = stack.encode(x)
    metrics.Sums().add(x, f[0], stack.decode(f)[0])


def _time(work: Callable) -> float:
    """The best of three: what the machine can do, not what something beside it took away."""
    work()
    found = []
    for _ in range(3):
        begun = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        found.append(time.perf_counter() - begun)
    return min(found)


@cache
def _subject(name: str) -> Subject:
    return Subject.load(name)


@cache
def _start(subject: str) -> tuple[float, float]:
    """Seconds until a fresh process holds the subject ("" for none), and the bytes it then takes: the like of a kernel."""
    program = (
        "import sys; from saebook.book import chapter; from saebook.plotting import curves; from saebook.common import hardware; from saebook.subject.model import Subject;"
        "sys.argv[1] and Subject.load(sys.argv[1]); print(hardware.peak_memory())"
    )
    begun = time.monotonic()
    made = subprocess.run([sys.executable, "-c", program, subject], capture_output=True, text=True, check=False)
    if made.returncode:
        raise UserError((made.stderr.strip().splitlines() or ["the probe failed"])[-1])
    return 1.3 * (time.monotonic() - begun), float(made.stdout.split()[-1])  # a kernel and its notebook add a third


def _corpus() -> float:
    """Seconds to read, split and tokenise the environment's prose."""
    files, _ = prose.installed_files()
    some = files[:: max(1, len(files) // 200)]
    begun = time.monotonic()
    prose.read_documents(some)
    size = sum(Path(place).stat().st_size for _, place in files)
    return (time.monotonic() - begun) * len(files) / len(some) + size * _PROSE_SHARE / _BYTES_PER_SECOND


def _at_hand(subject: str) -> bool:
    """Whether a subject can be opened without a network."""
    from huggingface_hub import try_to_load_from_cache

    folders = (paths.data() / "subjects" / subject, Path(subject))
    if any((folder / "config.json").is_file() for folder in folders):
        return True
    return isinstance(try_to_load_from_cache(subject, "config.json"), str) if subject.count("/") <= 1 else False


def _download(budget: SimpleNamespace) -> str:
    """What has to come over the network, in words."""
    parts = []
    if not _at_hand(budget.subject):
        parts.append(f"the model {budget.subject} ({_size(budget.subject)})")
    if budget.source.startswith("hub:"):
        parts.append(f"the data set {budget.source.removeprefix('hub:')}, streamed")
    return " and ".join(parts) or "nothing"


def _size(name: str) -> str:
    from huggingface_hub import HfApi

    try:
        files = HfApi().model_info(name, files_metadata=True, timeout=5).siblings
    except Exception:  # the hub's client raises a dozen kinds of its own; the estimate goes on without it
        return "size unknown: the hub does not answer"
    kept = [f for f in files if f.rfilename.endswith(".safetensors")] or files
    return megabytes(sum(f.size or 0 for f in kept))


def megabytes(count: float) -> str:
    """Bytes as a reader wants them."""
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"


def table(found: list[Estimate], tier: str, at_once: int) -> list[str]:
    """The estimate as lines for a terminal; the book of `tier` runs `at_once` notebooks at a time."""
    lines = [f"{'notebook':32s} {'time':>8s} {'memory':>8s} {'disk':>8s}  trains  download"]
    for e in found:
        if not e.known:
            lines.append(
                f"{e.notebook.replace('.', '/', 1):32s} not known before its subject is here; download: {e.download}"
            )
            continue
        lines.append(
            f"{e.notebook.replace('.', '/', 1):32s} {e.total:6.0f} s {megabytes(e.memory):>8s} {megabytes(e.disk):>8s}"
            f"  {e.trains:3d}{f' (+{e.stored} stored)' if e.stored else ''}  {e.download}"
        )
    if not any(e.known for e in found):
        return lines
    whole = sum(e.total for e in found)
    most = max((e.memory for e in found), default=0.0)
    lines.append(f"{'in all':32s} {whole:6.0f} s {megabytes(most):>8s} {megabytes(sum(e.disk for e in found)):>8s}")
    if at_once > 1:
        todo = parallel.jobs({e.notebook.replace(".", "/", 1): e.total for e in found})
        lines.append(
            f"{f'as a book, {at_once} at a time':32s} {parallel.wall(todo, at_once):6.0f} s, rendering and what pages compute besides training"
        )
    kinds = {
        kind: sum(e.seconds.get(kind, 0.0) for e in found)
        for kind in ("start", "corpus", "subject", "training", "measuring")
    }
    lines.append("of which " + ", ".join(f"{kind} {seconds:.0f} s" for kind, seconds in kinds.items() if seconds))
    lines.append(f"on {hardware.device('cuda' if torch.cuda.is_available() else 'cpu')}")
    return lines
