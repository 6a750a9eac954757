"""Several libraries side by side: one worker process each, asked in turn for the same work, so that no two run at once.

What is compared are times of one round, which lie seconds apart: a machine that slows down slows down all of them.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import environments

HERE = Path(__file__).parent
OURS = "saebook"


class Failed(Exception):
    """A worker could not do what it was asked, and why."""


@dataclass(frozen=True)
class Setting:
    """One way to run one library. `label` is what tables call it, `options` go with every task, `environment` to the process."""

    label: str
    library: str  # a module of `libraries`
    home: str = ""  # its environment in environments.yml; empty: our own
    options: tuple[tuple[str, Any], ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    kinds: tuple[str, ...] = ("relu", "gated", "topk")  # architectures that it trains


SETTINGS = (
    Setting(OURS, "ours"),
    Setting("saebook fp32", "ours", environment=(("SAEBOOK_PRECISION", "fp32"),)),
    Setting("SAELens", "saelens", "saelens"),
    Setting("SAELens bf16", "saelens", "saelens", (("bf16", True),)),
    Setting("SAELens sparse", "saelens", "saelens", (("sparse", True),), kinds=("topk",)),
    Setting("dictionary_learning", "dictlearn", "dictionary_learning"),
    Setting("dictionary_learning bf16", "dictlearn", "dictionary_learning", (("bf16", True),)),
    Setting("sparsify", "eai_sparsify", "sparsify", kinds=("topk",)),
    Setting("sparsify bf16", "eai_sparsify", "sparsify", (("bf16", True),), kinds=("topk",)),
)  # fmt: skip
PLAIN = Setting("reference path", "plain")
SMALL = {"d_in": 64, "d_sae": 512, "k": 8, "batch": 64}  # a training task that loads what a step needs
WITH_SUBJECT = {
    OURS: replace(SETTINGS[0], library="ours_subject"),
    "SAELens": replace(SETTINGS[2], library="saelens_subject"),
    "SAELens bf16": replace(SETTINGS[3], library="saelens_subject"),
}
BY_LABEL = {setting.label: setting for setting in (*SETTINGS, PLAIN)}


class Worker:
    """The process of one setting. Use it as a context manager."""

    def __init__(self, setting: Setting, threads: int, folder: Path):
        """Start it. Raises `Failed` when its library cannot be installed."""
        self.setting = setting
        try:
            python = environments.python(setting.home, folder / "environments") if setting.home else sys.executable
        except environments.NotInstalled as error:
            raise Failed(f"could not be installed: {error}") from None
        counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads))
        quiet = {
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "WANDB_MODE": "disabled",
            "TQDM_DISABLE": "1",
        }
        logs = folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        log = open(logs / f"{setting.label.replace(' ', '_')}.log", "a")  # noqa: SIM115 - the process keeps it
        self._process = subprocess.Popen(
            [str(python), str(HERE / "worker.py"), setting.library],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            env={**os.environ, **counts, **quiet, **dict(setting.environment)},
        )  # fmt: skip
        log.close()
        self.about: dict[str, Any] = {}

    def ready(self) -> None:
        """Wait until the library is imported; `about` then says its version. Raises `Failed` when that went wrong."""
        self.about = self._answer()

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """One request and its answer. Raises `Failed` for an error."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise Failed("the process is gone") from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": "the process ended without an answer"}
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass
class Timed:
    """Seconds of one unit of work in each round, and what the task said of itself afterwards; or why it `failed`."""

    seconds: list[float] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)
    failed: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds) if self.seconds else float("nan")


@contextlib.contextmanager
def workers(
    settings: Sequence[Setting], threads: int, folder: Path
) -> Iterator[tuple[dict[str, Worker], dict[str, str]]]:
    """The workers of `settings` by label, and for each that could not start the reason."""
    started: dict[str, Worker] = {}
    reasons: dict[str, str] = {}
    try:
        for setting in settings:
            try:
                started[setting.label] = Worker(setting, threads, folder)
            except Failed as failure:
                reasons[setting.label] = str(failure)
        for label, worker in list(started.items()):
            try:
                worker.ready()
            except Failed as failure:
                started.pop(label).close()
                reasons[label] = str(failure)
        yield started, reasons
    finally:
        for worker in started.values():
            worker.close()


def compare(
    started: dict[str, Worker],
    task: dict[str, Any],
    rounds: int,
    enough: float,
    warm: int = 2,
    small: dict[str, Any] | None = None,
) -> dict[str, Timed]:
    """Time `task` in every worker, in turn, over several rounds; a request runs as many units as take about `enough` seconds.

    `warm` units are run before and not counted; before that a `small` task, if there is one, so that what a library loads or
    compiles at its first step counts neither as time nor as memory. A worker that fails drops out with its reason.
    """
    timed = {label: Timed() for label in started}
    units: dict[str, int] = {}
    for label, worker in started.items():
        with _noting(timed[label]):
            if small:
                worker.ask("prepare", **{**task, **small}, **dict(worker.setting.options))
                worker.ask("run", n=2)
            worker.ask("prepare", **task, **dict(worker.setting.options))
            if warm:
                worker.ask("run", n=warm)
            units[label] = 1
            if enough:
                units[label] = max(1, round(enough / max(1e-9, worker.ask("run", n=1)["seconds"])))
    for _ in range(rounds):
        for label, worker in started.items():
            if not timed[label].failed:
                with _noting(timed[label]):
                    timed[label].seconds.append(worker.ask("run", n=units[label])["seconds"] / units[label])
    for label, worker in started.items():
        if not timed[label].failed:
            with _noting(timed[label]):
                timed[label].report = worker.ask("report")
        with contextlib.suppress(Failed):
            worker.ask("end")
    return timed


@contextlib.contextmanager
def _noting(timed: Timed) -> Iterator[None]:
    try:
        yield
    except Failed as failure:
        timed.failed, timed.seconds = str(failure), []


def ratios(timed: dict[str, Timed], label: str, ours: str = OURS) -> dict[str, float | None]:
    """Time of `label` over `ours`, by round: its median and range; None where one of them has no times."""
    pairs = list(zip(timed[label].seconds, timed[ours].seconds, strict=False)) if ours in timed else []
    if not pairs:
        return {"ratio": None, "ratio_low": None, "ratio_high": None}
    by_round = [theirs / mine for theirs, mine in pairs]
    return {"ratio": statistics.median(by_round), "ratio_low": min(by_round), "ratio_high": max(by_round)}
