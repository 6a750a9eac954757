"""Several notebooks at a time: none starts before the one it waits for, and none is left running."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from saebook.book.running import parallel
from saebook.book.running.parallel import Job
from saebook.common import sidecar
from saebook.common.names import TIERS


def process(seconds, code="pass"):
    return subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds}); {code}"])


def test_job_waits_for_the_one_whose_runs_it_shares():
    begun, ended = {}, []

    def start(name, slot):
        assert slot in (0, 1)
        begun[name] = time.monotonic()
        return process(0.2)

    todo = [Job("root"), Job("leaf", "root"), Job("other"), Job("last")]
    for name, done in parallel.run(todo, start, 2, pause=0.01):
        assert done.returncode == 0
        ended.append((name, time.monotonic()))
    at = dict(ended)
    assert [name for name, _ in ended][:2] in (["root", "other"], ["other", "root"])
    assert begun["leaf"] >= at["root"] - 0.05 and begun["other"] < at["root"]
    assert set(at) == {"root", "leaf", "other", "last"}


@pytest.mark.parametrize("told", [True, False])
def test_interrupt_leaves_no_process(monkeypatch, told):
    monkeypatch.setattr(parallel, "_PATIENCE", 1.0)
    started = []

    def start(name, slot):
        started.append(process(60))
        return started[-1]

    running = parallel.run(
        [Job("a"), Job("b"), Job("c"), Job("d")],
        lambda n, slot: process(0.0) if n == "a" else start(n, slot),
        3,
    )
    assert next(running)[0] == "a"
    if told:  # a terminal tells the whole group
        for one in started:
            one.send_signal(signal.SIGINT)
    running.close()
    assert len(started) == 2 and all(one.poll() is not None for one in started)


def test_sigterm_ends_the_notebooks_too(tmp_path):
    sleeper = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    program = (
        "import subprocess, sys; from saebook.book.running import parallel; parallel._PATIENCE = 0.5\n"
        f"start = lambda name, slot: subprocess.Popen([sys.executable, '-c', {sleeper!r}])\n"
        "list(parallel.run([parallel.Job('a')], start, 1))"
    )
    book = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 30
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    book.terminate()
    assert book.wait(20) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_wall_time_follows_the_schedule():
    todo = [Job("long", None, 10.0), Job("root", None, 4.0), Job("leaf", "root", 5.0), Job("short", None, 1.0)]
    assert parallel.wall(todo, 1) == 20.0 and parallel.wall(todo, 2) == 10.0 and parallel.wall(todo, 4) == 10.0
    assert parallel.wall([Job("a", None, 2.0), Job("b", "a", 3.0)], 4) == 5.0


def test_jobs_follow_the_sidecars():
    expected = {"gated/fig05_pareto": 100.0, "gated/fig04_jumprelu": 200.0, "topk/fig05_downstream": 1.0}
    jobs = {job.name: job for job in parallel.jobs(expected, "cpu")}
    assert list(jobs) == ["gated/fig04_jumprelu", "gated/fig05_pareto", "topk/fig05_downstream"]
    assert jobs["gated/fig04_jumprelu"].after == "gated/fig05_pareto" and jobs["gated/fig05_pareto"].after is None
    assert jobs["topk/fig05_downstream"].after is None  # the one whose runs it shares is not to run
    agreement = "e2e/fig24_tab07_agreement"  # whose SAEs are those of another chapter at one tier
    roots = dict.fromkeys(("e2e/fig01_pareto", "e2e/fig05_second_subject", agreement), 1.0)
    after = {
        tier: {job.name: job.after for job in parallel.jobs(roots, tier)}[agreement] for tier in ("cpu", "overnight")
    }
    assert after == {"cpu": "e2e/fig01_pareto", "overnight": "e2e/fig05_second_subject"}
    for tier in TIERS:  # no job waits for ever
        names = sidecar.names_at(tier)
        assert parallel.wall(parallel.jobs(dict.fromkeys(names, 1.0), tier), 3) <= len(names)


@pytest.mark.parametrize(
    ("threads", "memory", "gpu", "asked", "expected"),
    [(2, 8, False, None, (2, 1)), (4, 24, False, None, (4, 1)), (16, 64, False, None, (4, 4)), (8, 4, False, None, (1, 8)),
     (16, 64, True, None, (1, 16)), (4, 24, False, 2, (2, 2)), (2, 24, False, 9, (2, 1)), (1, 1, False, None, (1, 1))],
)  # fmt: skip
def test_slots_follow_processors_and_memory(monkeypatch, threads, memory, gpu, asked, expected):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(
        parallel.os, "sysconf", lambda name: {"SC_PAGE_SIZE": 2**12, "SC_PHYS_PAGES": memory * 2**18}[name]
    )
    assert parallel.share(asked) == expected
