"""Short measurements of this machine that an estimate multiplies: a pass of the subject, a few training steps, one start."""

import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from saebook.common.errors import UserError
from saebook.evaluation import metrics
from saebook.sae.base import Member, SAEStack
from saebook.sae.kernels import precision
from saebook.subject.model import Site, Subject
from saebook.text import prose
from saebook.training import activation_store
from saebook.training.config import Data, Method
from saebook.training.loop import TrainState
from saebook.training.objectives import Reference, members_at_once, rounded

_ROWS, _STEPS = 32, 4  # how much of each kind of work is measured, at most
_PASS = 1.0  # seconds that a measured pass of the subject should take at most; one row may take longer
_LONG = 1.0  # seconds after which work is not repeated: what takes so long is hardly disturbed
_MOMENTS = 16  # bytes of a parameter in training: itself, its gradient, Adam's two moments
_PROSE_SHARE, _BYTES_PER_SECOND = 0.13, 3e6  # prose in the packages' files; what is split and tokenised a second


class Cost:
    """What some work costs: seconds by kind, bytes of memory and of disk."""

    def __init__(self) -> None:
        self.seconds = {"subject": 0.0, "training": 0.0, "measuring": 0.0}
        self.memory = self.disk = 0.0


def of_sweep(
    subject: Subject, site: Site, missing: list[tuple[Method, Member]], data: Data, uncollected: float = 1.0
) -> Cost:
    """The cost of training and measuring the `missing` runs of a sweep.

    `uncollected` is the share of their activations that no sweep before has left on disk.
    """
    cost = Cost()
    first, length = missing[0][0], data.row_length(subject.context)
    training = first.training
    rows, forward = _pass_of(subject, site, length)
    per_row = length - data.skip
    if first.objective is None:
        x = subject.activations(rows, site)[:, data.skip :].flatten(0, 1)
        batch = x.repeat(-(-training.batch // len(x)), 1)[: training.batch]
        as_trained = precision.current(subject.device.type)
        forward_of_training = seconds_of(lambda: subject.activations(rows, site, as_trained)) / len(rows)
        cost.seconds["subject"] = uncollected * forward_of_training * training.tokens / per_row
    else:
        whole = torch.randint(0, 100, (max(1, training.batch // length), length))
        blocks = rounded(subject)
        batch = Reference(subject, whole, site, blocks)
        past = any(method.objective and not method.objective.local for method, _ in missing)
        # What is compared with is made once a batch for all SAEs.
        once = seconds_of(lambda: _pass(Reference(subject, whole, site, blocks), past))
        cost.seconds["subject"] = once * training.steps
    intervention = subject.intervene(rows, site)
    replaced = seconds_of(lambda: intervention.loss(intervention.activations)) / len(rows)
    # The moments of the activations, the activations themselves, and the clean and two ablated losses.
    cost.seconds["measuring"] = data.eval_rows * (2 * forward + 3 * replaced)
    scratch = parameters = 0
    for method in dict.fromkeys(method for method, _ in missing):
        members = tuple(member for other, member in missing if other == method)
        together = method.objective and members_at_once(method.objective, training.batch, subject.device.type)
        stack = method.build(site.d_in, members[: together or 1], subject.device)
        probed = len(stack.members)
        parameters += len(members) * sum(p.numel() for p in stack.parameters()) // probed
        scratch = max(scratch, 6 * training.batch * method.d_sae * 4)
        cost.seconds["training"] += _step(stack, batch, method) / probed * training.steps * len(members)
        stack = stack.member(0)
        read = seconds_of(lambda stack=stack: _read(stack, intervention.activations)) / len(rows)
        cost.seconds["measuring"] += data.eval_rows * len(members) * (read + replaced)
    cost.memory = parameters * _MOMENTS + scratch
    cost.disk = parameters * 4 + parameters * _MOMENTS  # the stored runs, and a checkpoint while they train
    per_token = 4 * site.d_in
    if first.objective is None:
        collected = training.tokens // per_row * length * per_token
        kept = min(collected, activation_store.limit())
        cost.disk += uncollected * kept
        # A chunk as its pieces, joined; and where the store does not take everything, what is mixed at a time.
        mixed = min(collected, data.block * length * per_token) if kept < collected else 0
        cost.memory += mixed + 2 * activation_store.rows_in_chunk(length) * length * per_token
    else:
        cost.memory += 4 * _ROWS * length * per_token
    return cost


@cache
def _pass_of(subject: Subject, site: Site, length: int) -> tuple[torch.Tensor, float]:
    """Rows to measure on, as many as take about `_PASS` seconds, and the seconds of one row up to the site."""
    rows = torch.randint(0, 100, (_ROWS, length))
    one = seconds_of(lambda: subject.activations(rows[:1], site))
    rows = rows[: max(1, min(_ROWS, int(_PASS / one)))]
    return rows, seconds_of(lambda: subject.activations(rows, site)) / len(rows)


def _pass(batch: Reference, past: bool) -> None:
    """What a batch costs besides its SAEs, where some or none of them look past the site."""
    if past:
        batch.clean()


def _step(stack: SAEStack, batch: torch.Tensor | Reference, method: Method) -> float:
    """Seconds of one training step of a stack on a batch."""
    x = batch.x if isinstance(batch, Reference) else batch
    stack.init_bias(stack.prepare(x)[0])
    state = TrainState(stack, method.training, method.objective, precision=precision.current(x.device.type))
    state.step(batch, 0)
    return seconds_of(lambda: [state.step(batch, step) for step in range(1, _STEPS + 1)]) / _STEPS


@torch.inference_mode()
def _read(stack: SAEStack, activations: torch.Tensor) -> None:
    x, _, _ = stack.prepare(activations.flatten(0, 1))
    f = stack.encode(x)
    metrics.Sums().add(x, f, stack.decode(f))


def seconds_of(work: Callable[[], object]) -> float:
    """The best of three: what the machine can do, not what something beside it took away. Long work is measured once.

    A first time is not counted, since compiled loops and buffers are made in it.
    """
    work()
    times = []
    while len(times) < 3 and sum(times) < _LONG:
        begun = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return min(times)


@cache
def start(subject: str) -> tuple[float, float]:
    """Seconds until a fresh process holds the subject ("" for none), as a kernel does, and the bytes that it then takes."""
    program = (
        "import sys; from saebook.book import chapter; from saebook.plotting import curves;"
        "from saebook.common import hardware; from saebook.subject.model import Subject;"
        "sys.argv[1] and Subject.load(sys.argv[1]); print(hardware.peak_memory())"
    )
    begun = time.monotonic()
    made = subprocess.run([sys.executable, "-c", program, subject], capture_output=True, text=True, check=False)
    if made.returncode:
        last = (made.stderr.strip().splitlines() or ["the probe failed"])[-1]
        raise UserError(last.removeprefix("saebook.common.errors.UserError: "))
    return 1.3 * (time.monotonic() - begun), float(made.stdout.split()[-1])  # a kernel and its notebook add a third


def corpus() -> float:
    """Seconds to read, split and tokenise the environment's prose."""
    files, _ = prose.installed_files()
    some = files[:: max(1, len(files) // 200)]
    begun = time.monotonic()
    prose.read_documents(some)
    size = sum(Path(place).stat().st_size for _, place in files)
    return (time.monotonic() - begun) * len(files) / len(some) + size * _PROSE_SHARE / _BYTES_PER_SECOND
