"""`saebook profile`: where the time of a chapter's sweep goes, by phase.

While it runs, the functions of a few phases are replaced by ones that also read a clock; afterwards they are what they were.
So training code holds no timers, and nothing is slower when nothing is profiled. A phase's seconds leave out those of the
phases that it calls. All of it runs on one thread, as a notebook of a book does that is built several notebooks at a time.
"""

import contextlib
import importlib
import inspect
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from saebook.book import budgets
from saebook.common.errors import UserError
from saebook.common.limits import Budget, TrainingBudget

REST = "everything else"
_IMPORTS = "imports"
# Phase -> its functions, as module:name. A method counts in every subclass that has its own.
PHASES = {
    "opening the subject": ("saebook.subject.model:Subject.load",),
    "text and tokens": (
        "saebook.text.tokens:tokens", "saebook.text.tokens:tokenizer_hash", "saebook.text.sources:corpus_hash",
    ),
    "subject: activations": (
        "saebook.subject.model:Subject.activations", "saebook.subject.model:Subject.activations_at",
        "saebook.subject.model:Intervention.__init__",
    ),
    "batches": (
        "saebook.training.buffers:ActivationBuffer.batches", "saebook.training.buffers:ActivationBuffer.sample",
        "saebook.training.objectives:RowBuffer.batches", "saebook.training.objectives:RowBuffer.sample",
    ),
    "starting the SAEs": ("saebook.sae.registry:build", "saebook.training.loop:_init_biases"),
    "SAE steps: encode, decode, gradients": (
        "saebook.sae.base:SAEStack.member_gradients", "saebook.sae.base:SAEStack.step_gradients",
        "saebook.sae.base:SAEStack.plain_gradients", "saebook.sae.base:SAEStack.pulled",
    ),
    "SAE steps: Adam and constraints": ("saebook.training.adam:Adam.member", "saebook.training.adam:Adam.stack"),
    "SAE steps: counts and readings": ("saebook.training.loop:TrainState.steps",),
    "end-to-end: upper blocks, and all backward": ("saebook.training.objectives:pull", "saebook.training.objectives:Reference.clean"),
    "end-to-end: KL, forward": ("saebook.training.objectives:kl",),
    "resampling": ("saebook.training.loop:TrainState.resample",),
    "evaluation": ("saebook.evaluation.metrics:measure",),
    "keys and store": ("saebook.training.sweep:runs", "saebook.training.store:Store.save_sae"),
}  # fmt: skip


class Clock:
    """Seconds by phase: at any moment one phase is running, the one entered last."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys((_IMPORTS, *PHASES, REST), 0.0)
        self._entered, self._since = [REST], time.perf_counter()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens inside for `name`."""
        self._count()
        self._entered.append(name)
        try:
            yield
        finally:
            self._count()
            self._entered.pop()

    def read(self) -> dict[str, float]:
        """Seconds by phase so far."""
        self._count()
        return dict(self.spent)

    def _count(self) -> None:
        now = time.perf_counter()
        self.spent[self._entered[-1]] += now - self._since
        self._since = now


def profile(name: str, tier: str, given: dict[str, Any] | None = None) -> dict[str, float]:
    """Seconds by phase of the sweep of chapter `name`, on its first seed unless `given` names seeds, without stored runs.

    Raises `UserError` for what `saebook run` would refuse, and for a chapter that trains nothing.
    """
    budget = _budget(name, tier, given or {})
    clock = Clock()
    with clock.phase(_IMPORTS):
        import torch

        from saebook.book.chapter import Chapter

        importlib.import_module("transformer_lens.model_bridge")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _throw_away(), timed(clock):
            Chapter(name, budget).sweep()
    finally:
        torch.set_num_threads(threads)
    return clock.read()


def table(spent: dict[str, float]) -> list[str]:
    """The phases that took time, as lines for a terminal, the longest first."""
    whole = sum(spent.values())
    shown = sorted(((seconds, name) for name, seconds in spent.items() if seconds >= 0.005), reverse=True)
    lines = [f"{name:42s} {seconds:8.2f} s {seconds / whole:6.1%}" for seconds, name in shown]
    return [*lines, f"{'in all, on one thread':42s} {whole:8.2f} s"]


@contextlib.contextmanager
def timed(clock: Clock) -> Iterator[None]:
    """Have `clock` count the functions of `PHASES`, wherever they were imported to, and put all back afterwards."""
    undo: list[tuple[Any, str, Any]] = []
    try:
        for phase, targets in PHASES.items():
            for target in targets:
                for owner, attribute in places(target):
                    before = vars(owner)[attribute]
                    undo.append((owner, attribute, before))
                    setattr(owner, attribute, _wrapped(before, clock, phase))
        yield
    finally:
        for owner, attribute, before in reversed(undo):
            setattr(owner, attribute, before)


def places(target: str) -> list[tuple[Any, str]]:
    """Where the function `module:name` is held: its class and subclasses that have their own, or every module of ours.

    Raises `AttributeError` when there is no such function.
    """
    module_name, _, path = target.partition(":")
    module = importlib.import_module(module_name)
    owner, _, attribute = path.rpartition(".")
    if owner:
        home = getattr(module, owner)
        getattr(home, attribute)
        return [(one, attribute) for one in _family(home) if attribute in vars(one)]
    function = getattr(module, attribute)
    ours = [one for key, one in list(sys.modules.items()) if key.split(".")[0] == "saebook" and one is not None]
    return [(one, key) for one in ours for key, value in list(vars(one).items()) if value is function]


def _family(home: type) -> list[type]:
    """A class and all that inherit from it, the architectures of the registry among them."""
    from saebook.sae import registry

    registry.names()  # imports every architecture
    known, waiting = [home], [home]
    while waiting:
        new = [one for one in waiting.pop().__subclasses__() if one not in known]
        known += new
        waiting += new
    return known


def _wrapped(before: Any, clock: Clock, phase: str) -> Any:
    """`before`, a function, a class method or a generator, counted for `phase`."""
    if isinstance(before, classmethod):
        return classmethod(_wrapped(before.__func__, clock, phase))
    function: Callable = before
    if inspect.isgeneratorfunction(function):

        def generated(*args: Any, **kwargs: Any) -> Iterator[Any]:
            items = function(*args, **kwargs)
            while True:
                with clock.phase(phase):
                    item = next(items, _END)
                if item is _END:
                    return
                yield item

        return generated

    def counted(*args: Any, **kwargs: Any) -> Any:
        with clock.phase(phase):
            return function(*args, **kwargs)

    return counted


_END = object()


@contextlib.contextmanager
def _throw_away() -> Iterator[None]:
    """A store of runs for this sweep alone, and no stored activations: what was done before must not shorten a phase."""
    names = ("SAEBOOK_RUNS", "SAEBOOK_ACTIVATIONS_GIB")
    before = {name: os.environ.get(name) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(zip(names, (folder, "0"), strict=True))
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def _budget(name: str, tier: str, given: dict[str, Any]) -> Budget:
    from saebook.book.running import runner

    asked = runner.request(name, tier, given)
    if not isinstance(asked.budget, TrainingBudget):
        raise UserError(f"{name} trains nothing, so there is no sweep to profile")
    values = {
        key: value for key, value in asked.values.items() if key in type(asked.budget).model_fields and key != "tier"
    }
    return budgets.resolve(name, tier, **{"seeds": list(asked.budget.seeds)[:1], **values})
