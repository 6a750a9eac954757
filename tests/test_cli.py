"""The command line answers in one line, imports what it needs late, and lets real faults show their traceback."""

import errno
import json
import shutil
import signal
import subprocess
import sys

import pytest

from saebook.book import budgets
from saebook.book.running import runner
from saebook.claims import ledger, results
from saebook.cli import actions
from saebook.cli import command_line as cli
from saebook.common import paths

FIGURE = "gated/fig02_shrinkage_toy"


@pytest.mark.parametrize(
    "arguments",
    [None, ["params", "gated/fig05_pareto"], ["run", "gated/fig05_pareto", "-p", "layr", "1"], ["run", "nothing"]],
)
def test_quick_answer_does_not_wait_for_pytorch(arguments):
    call = f"cli.main({arguments})" if arguments else "None"
    program = f"import sys; from saebook.cli import command_line as cli; {call}; print([m for m in ('torch', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/a/file"),
            "saebook: /a/file: the disk is full: free some space",
        ),
        (OSError(errno.EROFS, "Read-only file system", "/a/file"), "saebook: /a/file: the file system is read-only"),
        (PermissionError(errno.EACCES, "Permission denied", "/a/file"), "saebook: /a/file: permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "saebook: the disk is full"),
        (KeyboardInterrupt(), "saebook: interrupted"),
    ],
)
def test_errors_of_the_machine_are_one_line(monkeypatch, capsys, error, words):
    def refuse(options):
        raise error

    monkeypatch.setattr(actions, "status", refuse)
    assert cli.main(["status"]) in (2, 130)
    said = capsys.readouterr().err
    assert said.startswith(words) and len(said.splitlines()) == 1


def test_a_reader_that_has_enough_is_no_error():
    command = [sys.executable, "-m", "saebook.cli", "params", "gated/fig05_pareto"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()  # as head does after its lines
        said = process.stderr.read()
    assert (process.returncode, said) == (128 + signal.SIGPIPE, "")


def test_library_errors_keep_their_traceback(monkeypatch):
    def fail(options):
        raise FileNotFoundError(errno.ENOENT, "No such file", "/a/file")

    monkeypatch.setattr(actions, "status", fail)
    with pytest.raises(FileNotFoundError):
        cli.main(["status"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["status", "--tier", "huge"], "tier 'huge' is not known"),
        (["estimate", "--tier", "huge"], "tier 'huge' is not known"),
        (["estimate", "gated/fig5_pareto"], "did you mean gated/fig05_pareto"),
        (["tune", "gated.fig05_pareto"], "did you mean gated/fig05_pareto"),
        (["tune", FIGURE], "nothing to tune for"),
        (["compare", FIGURE], "does not train SAEs at one site"),
        (["book", "--at-once", "0"], "--at-once takes a number"),
        (["params", "gated/fig5_pareto"], "did you mean gated/fig05_pareto"),
        (["new", "nowhere/fig01"], "is not a chapter's name"),
        (["record", "--tier", "smoke", FIGURE], "smoke results check the plumbing"),
        (["subject", "train", "x", "--set", "layers", "two"], "layers"),
    ],
)
def test_wrong_argument_is_one_line_and_status_2(capsys, arguments, words):
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert words in said and len(said.splitlines()) == 1 and said.startswith("saebook: ")


@pytest.fixture
def copy(tmp_path, monkeypatch):
    for name in ("_config.yml", "requirements.lock", "pyproject.toml"):
        shutil.copy(paths.root() / name, tmp_path)
    shutil.copytree(paths.root() / "notebooks", tmp_path / "notebooks")
    shutil.copytree(paths.root() / "data" / "papers", tmp_path / "data" / "papers")
    monkeypatch.setenv("SAEBOOK_HOME", str(tmp_path))
    return tmp_path


def live(name=FIGURE):
    quantities = {claim.live: {"mean": 1.0, "low": 0.9, "high": 1.1, "n": 3} for claim in ledger.judged_by(name)}
    kept = {
        "notebook": name, "tier": "cpu", "parameters": budgets.resolve(name, "cpu").plain(), "live": quantities,
        "findings": {}, "date": "2030-01-02", "device": "a machine", "hashes": {"library": "1"},
    }  # fmt: skip
    file = results.file(name, "cpu", "live")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(kept))
    file.with_suffix(".csv").write_text("l0\n1\n")


def test_record_makes_live_results_the_recorded_ones(copy, capsys):
    assert cli.main(["record"]) == 2 and "no live result at tier cpu" in capsys.readouterr().err
    live()
    assert cli.main(["record"]) == 0
    assert capsys.readouterr().out.startswith(f"{FIGURE}: recorded for the first time; already stale: ")
    assert sorted(file.name for file in (copy / "data" / "results").rglob("*.*")) == [
        "fig02_shrinkage_toy.csv", "fig02_shrinkage_toy.json",
    ]  # fmt: skip
    assert cli.main(["record", FIGURE]) == 0 and capsys.readouterr().out == f"{FIGURE}: unchanged\n"


def test_record_refuses_a_chapter_whose_last_run_failed(copy, capsys):
    live()
    broken = runner.failed(FIGURE, "cpu")
    broken.parent.mkdir(parents=True)
    record = runner.RunRecord(FIGURE, "cpu", "failed", "ValueError: no", 1.0, 2, {})
    broken.write_text(json.dumps({"cells": [], "metadata": {"replication": vars(record)}}))
    assert cli.main(["record"]) == 2
    assert "its last run failed (failed: ValueError: no)" in capsys.readouterr().err
    assert not (copy / "data" / "results").exists()
