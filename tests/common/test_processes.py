"""Forked children answer like `subprocess.Popen`, and do not outlive their parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from saebook.common.processes import Forked, die_with_parent


def forked(work):
    pid = os.fork()
    if not pid:
        work()
        os._exit(3)
    return Forked(pid)


def test_exit_status_is_kept():
    child = forked(lambda: None)
    assert child.wait(10) == 3 and child.poll() == 3
    child.kill()  # nothing happens: it has ended


def test_signals_reach_the_child():
    child = forked(lambda: time.sleep(60))
    assert child.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.05)
    child.terminate()
    assert child.wait(10) == -signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such promise")
def test_child_dies_with_its_parent():
    reading, writing = os.pipe()

    def work():
        parent, pid = os.getpid(), os.fork()
        if not pid:
            die_with_parent(parent)
            os.write(writing, str(os.getpid()).encode())
            time.sleep(60)
        time.sleep(60)

    parent = forked(work)
    child = int(os.read(reading, 20))
    parent.kill()
    parent.wait(10)
    until = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
        assert time.monotonic() < until
        time.sleep(0.02)
