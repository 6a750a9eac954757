"""The runner checks everything first, says how a run ended, and keeps a tier's good page."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from saebook.book import budgets
from saebook.book.running import execution, preflight, runner
from saebook.common.errors import UserError

PARAMETERS = """
tier: str = "smoke"  # the budget = how long it takes
seeds: list[int] = []  # several
lr: float = 3e-4  # a rate
layer: int = None  # which
"""
FIGURE = "gated/fig05_pareto"
WITHOUT = "gated/fig04_jumprelu"  # has no overnight budget


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A repository with one notebook of the reader's own, made of the given cells."""
    (tmp_path / "_config.yml").write_text("")
    monkeypatch.setenv("SAEBOOK_HOME", str(tmp_path))

    def make(*cells, metadata=None):
        kernel = {"kernelspec": {"name": "python3", "display_name": "x", "language": "python"}}
        notebook = nbformat.v4.new_notebook(metadata=kernel if metadata is None else metadata)
        first = nbformat.v4.new_code_cell(PARAMETERS.strip())
        first.metadata["tags"] = ["parameters"]
        notebook.cells = [first, *map(nbformat.v4.new_code_cell, cells)]
        file = tmp_path / "notebooks" / "paper" / "note.ipynb"
        file.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, file)
        return file

    return make


def command(*arguments, **others):
    words = [sys.executable, "-m", "saebook.cli", *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=False, **others)


def everything(folder):
    return sorted((file, file.stat().st_mtime_ns) for file in folder.rglob("*"))


def test_warnings_are_said_once_before_the_run(book, monkeypatch, capsys):
    book("print(seeds)")
    asked = replace(runner.request("paper/note", "smoke"), warnings=("mine was made elsewhere",))
    monkeypatch.setattr(runner, "request", lambda *_: asked)
    monkeypatch.setattr(runner.execution, "execute", lambda *_: pytest.fail("it ran"))
    with pytest.raises(pytest.fail.Exception):
        runner.run("paper/note")
    assert capsys.readouterr().err == "saebook: warning: mine was made elsewhere\n"


def test_parameters_are_described_with_the_values_of_a_tier():
    smoke, cpu = (dict(line.split(": ", 1) for line in runner.describe(FIGURE, tier)) for tier in ("smoke", "cpu"))
    assert smoke["tier"].startswith("str = smoke") and cpu["tier"].startswith("str = cpu")
    for said, tier in ((smoke, "smoke"), (cpu, "cpu")):
        assert f" = {budgets.resolve(FIGURE, tier).plain()['d_sae']}  " in said["d_sae"]
    with pytest.raises(UserError, match="tier 'huge' is not known"):
        list(runner.describe(FIGURE, "huge"))


def test_notebook_without_a_budget_is_described_with_its_own_defaults(book):
    book("print(seeds)")
    assert next(runner.describe("paper/note", "cpu")).startswith("tier: str = cpu")


def test_run_is_recorded_and_other_parameters_get_their_own_page(book):
    book("print(seeds, layer)")
    kept, file = runner.run("paper/note", given={"seeds": "1,2", "layer": "3"})
    assert (kept.status, kept.error, kept.unran) == ("ok", None, 0)
    assert runner.record(file) == kept and file.stem.startswith("note@") and file.parent.name == "paper"
    assert not runner.executed("paper/note", "smoke").exists()
    assert kept.parameters == {"tier": "smoke", "seeds": [1, 2], "layer": 3}
    cells = nbformat.read(file, 4).cells
    assert cells[-1].outputs[0].text == "[1, 2] 3\n"
    (injected,) = (c for c in cells if "injected-parameters" in c.metadata.get("tags", []))
    assert "hide-input" in injected.metadata["tags"]
    own, page = runner.run("paper/note")
    assert (
        page == runner.executed("paper/note", "smoke")
        and nbformat.read(page, 4).cells[-1].outputs[0].text == "[] None\n"
    )
    assert runner.record(page) == own and not list(page.parent.glob(".*"))


@pytest.mark.parametrize(
    ("cell", "status", "words"),
    [
        ("raise ValueError('no such thing\\nsecond line')", "failed", "ValueError: no such thing"),
        ("from saebook.common.errors import UserError\nraise UserError('give more text')", "failed", "give more text"),
        ("assert 1 == 2", "failed", "AssertionError"),
        ("import sys\nsys.exit(3)", "failed", "SystemExit"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "killed", "kernel died"),
        ("import time\ntime.sleep(60)", "timeout", "longer than 4 s"),
    ],
)
def test_failed_run_records_how_it_ended(book, cell, status, words):
    book(cell, "print('never')")
    kept, file = runner.run("paper/note", timeout=4)
    assert kept.status == status
    assert words in kept.error and "AssertionError: AssertionError" not in kept.error
    assert "\n" not in kept.error
    assert kept.unran >= 1
    assert file == runner.failed("paper/note", "smoke") == runner.latest("paper/note", "smoke")
    assert runner.record(file) == kept


@pytest.mark.parametrize(("limits", "status"), [({"smoke": 2}, "timeout"), ({"cpu": 2}, "ok")])
def test_a_tier_without_a_limit_lets_a_cell_take_its_time(book, monkeypatch, limits, status):
    monkeypatch.setattr(runner, "TIMEOUTS", limits)
    book("import time\ntime.sleep(4)")
    kept, _ = runner.run("paper/note", "smoke")
    assert kept.status == status


def test_failed_run_keeps_the_good_page_and_a_good_run_removes_the_failed_one(book):
    book("assert layer is None or layer == 1, 'wrong layer'")
    _, page = runner.run("paper/note")
    good = page.read_bytes()
    kept, other = runner.run("paper/note", given={"layer": 7})
    assert kept.status == "failed" and other.stem.startswith("note@") and page.read_bytes() == good
    assert runner.latest("paper/note", "smoke") == page
    book("raise ValueError('broken')")
    kept, failed = runner.run("paper/note")
    assert failed.name == "note@failed.ipynb" and page.read_bytes() == good
    assert runner.record(runner.latest("paper/note", "smoke")) == kept
    book("1")
    runner.run("paper/note")
    assert not failed.exists() and runner.latest("paper/note", "smoke") == page


def test_notebook_without_a_kernelspec_runs(book, tmp_path):
    book("print(1)", metadata={})
    out = tmp_path / "a {b} c" / "out.ipynb"
    kept, file = runner.run("paper/note", out=out)
    assert kept.status == "ok" and file == out and not runner.executed("paper/note", "smoke").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("paper/not", r"did you mean paper/note\?"),
        ("../../outside/evil", "not a notebook of this book"),
        ("paper/../paper/note", "not a notebook of this book"),
        ("/etc/passwd", "is not below"),
        ("x" * 5000, "not a notebook of this book"),
        ("paper/no\0te", "not a notebook of this book"),
        ("", "no notebook ''"),
        ("paper", "no notebook 'paper'"),
    ],
)
def test_name_that_is_not_a_notebook_is_refused(book, tmp_path, name, words):
    book()
    evil = tmp_path.parent / "outside" / "evil.ipynb"
    evil.parent.mkdir(exist_ok=True)
    evil.write_text("{}")
    with pytest.raises(UserError, match=words) as refused:
        runner.source(name)
    assert len(str(refused.value)) < 400 and str(refused.value).isprintable()


def test_name_may_be_a_path(book):
    file = book()
    for name in (
        "paper/note",
        "paper/note.ipynb",
        "notebooks/paper/note.ipynb",
        "./notebooks/paper/note.ipynb",
        str(file),
    ):
        assert runner.source(name) == file


def test_link_to_a_notebook_outside_is_refused(book, tmp_path):
    file = book()
    outside = tmp_path / "elsewhere.ipynb"
    file.rename(outside)
    file.symlink_to(outside)
    with pytest.raises(UserError, match="no notebook"):
        runner.source("paper/note")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"gated_sparsities": "-1.0"}, "gated_sparsities must be greater than 0"),
        ({"gated_sparsities": "[]"}, "gated_sparsities must name at least one value"),
        ({"seeds": "1,1"}, "seeds must not name a value twice"),
        ({"seeds": "-1"}, "seeds must be"),
        ({"seeds": str(10**23)}, "seeds must be"),
        ({"tokens": "0"}, "tokens must be greater than 0"),
        ({"tokens": "1"}, "tokens must fill at least one batch"),
        ({"tokens": str(10**21)}, "tokens must be less than"),
        ({"d_sae": "0"}, "d_sae must be greater than 0"),
        ({"d_sae": str(10**11)}, "d_sae must be less than"),
        ({"baseline_width": "-0.5"}, "baseline_width must be greater than 0"),
        ({"batch": "0"}, "batch must be greater than 0"),
        ({"layer": "99"}, "layer must be from 0 to 3"),
        ({"layer": "-1"}, "layer must be"),
        ({"site": "nowhere"}, "site must be 'resid_pre'"),
        ({"subject": "./nowhere"}, "does not exist"),
        ({"source": "folder:nowhere"}, "does not exist"),
        ({"context": "1"}, "context must be"),
        ({"tier": "cpu"}, "give the tier once"),
    ],
)
def test_value_out_of_bounds_is_refused_before_anything_runs(asked, words):
    with pytest.raises(UserError, match=words) as refused:
        runner.request(FIGURE, "smoke", asked)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("e2e/fig01_pareto", {"tokens": 1}),
        ("gated/fig02_shrinkage_toy", {"steps": 0}),
        ("gated/fig07_interpretability", {"contexts": 0}),
        ("gated/fig07_interpretability", {"features": 100_000}),
        ("topk/fig15_dead_latents", {"k": 0}),
        ("topk/fig15_dead_latents", {"k": 10_000}),
        ("topk/fig02_activations", {"ks": [2**23]}),
    ],
)
def test_bounds_of_other_chapters_hold_too(name, asked):
    known = budgets.budget_class(name).model_fields
    assert set(asked) <= set(known)
    with pytest.raises(UserError, match=next(iter(asked))):
        budgets.resolve(name, "smoke", **asked)


def test_values_of_the_tier_count_as_its_own(tmp_path):
    own = budgets.resolve(FIGURE, "smoke")
    asked = runner.request(FIGURE, "smoke", {"layer": str(own.layer), "seeds": ",".join(map(str, own.seeds))})
    assert asked.own and asked.budget == own
    assert not runner.request(FIGURE, "smoke", {"layer": own.layer + 1}).own


def test_tier_without_a_budget_is_refused_before_anything_runs(monkeypatch):
    with pytest.raises(UserError, match="tier 'huge' is not known"):
        runner.request(FIGURE, "huge")
    with pytest.raises(UserError, match=f"{WITHOUT} has no budget at tier overnight: run it at smoke"):
        runner.request(WITHOUT, "overnight")


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("notebooks/paper/note.ipynb", "must not be below notebooks/"),
        ("notebooks/new.ipynb", "must not be below notebooks/"),
        ("link.ipynb", "must not be below notebooks/"),
        (".", "is a folder"),
        ("folder.ipynb", "is a folder"),
        ("/dev/null", "name of a notebook"),
        ("pipe.ipynb", "a device or a pipe"),
        ("out.txt", "name of a notebook"),
        ("file/out.ipynb", "is a file, not a folder"),
        ("file/deeper/out.ipynb", "is a file, not a folder"),
        ("x" * 5000, "at most 1000"),
    ],
)
def test_out_must_be_a_place_for_a_notebook(book, tmp_path, monkeypatch, out, words):
    source = book("1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder.ipynb").mkdir()
    (tmp_path / "link.ipynb").symlink_to(source)
    os.mkfifo(tmp_path / "pipe.ipynb")
    before = everything(tmp_path)
    with pytest.raises(UserError, match=words):
        runner.run("paper/note", out=Path(out))
    assert everything(tmp_path) == before


def test_refused_commands_are_one_line_and_write_nothing(book, tmp_path):
    book("print(1)")
    (tmp_path / "odd.yml").write_bytes(b"layer: \xff")
    before = everything(tmp_path)
    for wrong in (
        ["-p", "layr", "3"], ["-p", "seeds", "abc"], ["--tier", "huge"], ["-f", "absent.yml"], ["-f", "odd.yml"],
        ["-p", "layer", "1", "-p", "layer", "2"], ["-p", "lr", "1e999"], ["-o", "notebooks/paper/note.ipynb"],
        ["-p", "lr", os.fsdecode(b"\xff")],
    ):  # fmt: skip
        done = command("run", "paper/note", *wrong, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("saebook: ")
        assert len(done.stderr.strip().splitlines()) == 1
    assert everything(tmp_path) == before


def test_kernel_that_cannot_start_is_one_line(book, tmp_path):
    book("1")
    kernel = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps({"argv": ["/nowhere/python"], "display_name": "x", "language": "python"}))
    done = command("run", "paper/note", env=os.environ | {"JUPYTER_PATH": str(tmp_path / "jupyter")})
    assert done.returncode == 2 and "kernel could not be started" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list((tmp_path / "_build").rglob("*.ipynb"))


@pytest.mark.parametrize("variable", ["SAEBOOK_BUILD", "SAEBOOK_RUNS", "SAEBOOK_CACHE"])
def test_folder_that_is_a_file_is_refused_before_anything_runs(book, tmp_path, monkeypatch, variable):
    book("1")
    (tmp_path / "file").write_text("a file")
    monkeypatch.setenv(variable, str(tmp_path / "file" / "deeper"))
    before = everything(tmp_path)
    with pytest.raises(UserError, match=f"file is not a folder: move it away, or set {variable}"):
        runner.run("paper/note")
    assert everything(tmp_path) == before


def test_folder_that_cannot_be_written_is_refused_before_anything_runs(book, tmp_path, monkeypatch):
    book("1")
    before = everything(tmp_path)
    monkeypatch.setattr(preflight.os, "access", lambda folder, mode: False)
    with pytest.raises(UserError, match="_build cannot be written to: set SAEBOOK_BUILD to a folder of yours"):
        runner.run("paper/note", out=tmp_path / "out.ipynb")
    assert everything(tmp_path) == before


def test_leftovers_of_a_killed_run_are_removed(book):
    book("1")
    folder = runner.executed("paper/note", "smoke").parent
    folder.mkdir(parents=True)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left, running = folder / f".note.{gone.pid}.ipynb", folder / f".other.{os.getppid()}.ipynb"
    left.write_text(""), running.write_text("")
    runner._make_room(folder)
    assert not left.exists() and running.exists()


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_run_says_so_in_one_line_and_leaves_nothing(book, tmp_path, sent, status):
    book("open('begun', 'w').close()\nimport time\ntime.sleep(60)")
    process = subprocess.Popen(
        [sys.executable, "-m", "saebook.cli", "run", "paper/note"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    begun = tmp_path / "notebooks" / "paper" / "begun"
    until = time.monotonic() + 60
    while not begun.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(sent)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status, said
    assert said.splitlines() == (
        ["saebook: interrupted; the same command goes on from the last checkpoint"] * (status == 130)
    )
    assert not list((tmp_path / "_build").rglob("*.ipynb"))


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b'{"metadata": {"repl', b"[]", b'{"metadata": {}}', b'{"metadata": {"replication": {"name": 1}}}',
     b'{"metadata": {"replication": {"name": "a", "tier": "cpu", "status": "ok", "error": null, "seconds": "<b>", "unran": 0,'
     b' "parameters": {}}}}'],
)  # fmt: skip
def test_damaged_page_has_no_record(tmp_path, content):
    file = tmp_path / "page.ipynb"
    file.write_bytes(content)
    assert runner.record(file) is None
    assert runner.record(tmp_path / "absent.ipynb") is None


def test_error_during_an_interrupt_counts_as_the_interrupt(tmp_path, monkeypatch):
    import papermill

    def execute(*_, **__):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise FileNotFoundError(2, "No such file or directory")  # noqa: B904 - as jupyter_client does

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    with pytest.raises(KeyboardInterrupt):
        execution.execute(tmp_path / "in.ipynb", tmp_path / "out.ipynb", {}, 1)


def test_last_words_are_one_line():
    assert execution.last_words("ValueError", "a\nb") == "ValueError: a"
    assert execution.last_words("UserError", "give more text") == "give more text"
    assert execution.last_words("AssertionError", "") == "AssertionError"


def test_nbval_can_fail(tmp_path):
    good, bad = (nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c)]) for c in ("1 + 1", "1 / 0"))
    for name, notebook in (("good", good), ("bad", bad)):
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "x", "language": "python"}
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env",
        "--rootdir", str(tmp_path),
    ]  # fmt: skip
    outcome = {
        n: subprocess.run([*command, str(tmp_path / f"{n}.ipynb")], capture_output=True, check=False).returncode
        for n in ("good", "bad")
    }
    assert outcome == {"good": 0, "bad": 1}
