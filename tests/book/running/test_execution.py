"""What a kernel is told about the process that runs it."""

import os
import sys
from pathlib import Path

import pytest

from saebook.book.running import execution


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_the_log_of_the_runner_is_named_to_its_kernels(monkeypatch, tmp_path):
    monkeypatch.delenv("SAEBOOK_PROGRESS", raising=False)
    with open(tmp_path / "log", "w") as log:
        monkeypatch.setattr(sys, "stderr", log)
        with execution.progress_on_this_terminal(), open(os.environ["SAEBOOK_PROGRESS"], "a") as by_kernel:
            by_kernel.write("a line\n")
            by_kernel.flush()
            print("ok", file=log, flush=True)
    assert "SAEBOOK_PROGRESS" not in os.environ
    assert (tmp_path / "log").read_text() == "a line\nok\n"


def test_without_a_standard_error_kernels_show_nothing(monkeypatch, tmp_path):
    monkeypatch.delenv("SAEBOOK_PROGRESS", raising=False)
    with open(tmp_path / "log", "w") as log:
        monkeypatch.setattr(sys, "stderr", log)
    with execution.progress_on_this_terminal():
        assert os.environ["SAEBOOK_PROGRESS"] == "off"
