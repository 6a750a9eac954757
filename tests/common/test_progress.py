"""Progress without a terminal: lines now and then, none for short work, none where it is off."""

import io
import sys

import pytest

from saebook.common import progress


@pytest.fixture
def logged(monkeypatch):
    """A function that does some work with a bar, and returns what it wrote into a standard error that is a file."""

    def work(units: int = 3) -> str:
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        with progress.bar(units, "training", "step") as shown:
            for _ in range(units):
                shown.update()
                shown.set_postfix_str("loss 1.5")
        return stream.getvalue()

    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.delenv("SAEBOOK_PROGRESS", raising=False)
    return work


def test_long_work_writes_lines_into_a_log(logged, monkeypatch):
    monkeypatch.setattr(progress, "_LINE_EVERY", 0.0)
    lines = logged().splitlines()
    assert any(line.startswith("training:  33%") and "1.00/3.00" in line for line in lines)
    assert any("loss 1.5" in line for line in lines)
    assert all(line.strip() and "\r" not in line for line in lines)


def test_short_work_writes_nothing_into_a_log(logged):
    assert logged() == ""


def test_off_is_silent(logged, monkeypatch):
    monkeypatch.setattr(progress, "_LINE_EVERY", 0.0)
    monkeypatch.setenv("SAEBOOK_PROGRESS", "off")
    assert logged() == ""


def test_a_notebook_adds_lines_to_the_log_that_its_runner_names(monkeypatch, tmp_path):
    log = tmp_path / "log"
    log.write_text("before\n")
    monkeypatch.setattr(progress, "_LINE_EVERY", 0.0)
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    monkeypatch.setenv("SAEBOOK_PROGRESS", str(log))
    with progress.bar(3, "training", "step") as shown:
        shown.update()
        shown.refresh()
    lines = log.read_text().splitlines()
    assert lines[0] == "before"
    assert any(line.startswith("training:  33%") for line in lines[1:])
