"""Notebooks forked from a warm server: the same pages as from new processes, and nothing left running."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

from saebook.book.running import runner, warm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the server forks, which is safe on Linux only")

FEW = ("papermill", "ipykernel.kernelapp")  # enough for tests that look at processes, not at pages
PARAMETERS = 'tier: str = "smoke"  # budget\nmark: int = 0  # told'
SHOW = (
    "import os, sys, numpy, pandas, torch\nimport matplotlib.pyplot as plt\n"
    "print(os.getcwd(), sys.path, os.environ['OMP_NUM_THREADS'], os.environ['TOLD'], torch.get_num_threads(), mark)\n"
    "print(sorted(plt.rcParams.items()), pandas.get_option('display.max_columns'), __name__)",
    "pandas.DataFrame(numpy.ones((2, 15)), columns=[f'a long name {i}' for i in range(15)])",
    "plt.plot([1, 3, 2]);",
)
SLEEP = "import os, time; open('pids', 'w').write(f'{os.getpid()} {os.getppid()}'); time.sleep(60)"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A repository of its own with a few notebooks."""
    home = tmp_path_factory.mktemp("home")
    (home / "_config.yml").write_text("")
    for name, cells in {
        "show": SHOW, "draw": ("import random, numpy, torch; print(random.random(), numpy.random.rand(), torch.rand(()).item())",),
        "fail": ("1 / 0", "2"), "kill": ("import os; os.kill(os.getpid(), 9)", "2"), "sleep": (SLEEP,),
    }.items():  # fmt: skip
        notebook = nbformat.v4.new_notebook(
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        )
        notebook.cells = [nbformat.v4.new_code_cell(source) for source in (PARAMETERS, *cells)]
        notebook.cells[0].metadata["tags"] = ["parameters"]
        file = home / "notebooks" / "paper" / f"{name}.ipynb"
        file.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, file)
    return home


@pytest.fixture(scope="module")
def starters():
    starters = {"warm": warm.Starter(1, warm=True), "new": warm.Starter(1, warm=False)}
    yield starters
    starters["warm"].close()


@pytest.fixture
def run(home, starters, tmp_path):
    """Run a notebook in a warm or a new process; returns the process, what it said, and the page."""

    def run(how, name, *arguments):
        page = tmp_path / f"{how}_{name}.ipynb"
        environment = os.environ | {"SAEBOOK_HOME": str(home), "TOLD": "yes"}
        with open(tmp_path / "output", "w+") as output:
            command = ["run", f"paper/{name}", "-o", str(page), *arguments]
            process = starters[how].start(command, environment, output)
            wait_until(lambda: process.poll() is not None)
            output.seek(0)
            said = output.read()
        return SimpleNamespace(process=process, said=said, page=page)

    return run


def wait_until(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def outputs(page):
    return [cell.get("outputs") for cell in nbformat.read(page, 4).cells]


def test_page_is_the_same_as_from_a_new_process(run):
    pages = {how: run(how, "show", "-p", "mark", "3") for how in ("warm", "new")}
    assert isinstance(pages["warm"].process, warm.RemoteProcess)
    assert [page.process.returncode for page in pages.values()] == [0, 0], pages["warm"].said
    assert outputs(pages["warm"].page) == outputs(pages["new"].page)
    metadata = [nbformat.read(page.page, 4).metadata for page in pages.values()]
    assert metadata[0].kernelspec == metadata[1].kernelspec and metadata[0].kernelspec.name == "python3"
    assert metadata[0].language_info == metadata[1].language_info
    assert "image/png" in str(outputs(pages["warm"].page)[-1])


def test_forks_do_not_share_random_numbers(run):
    drawn = [outputs(run("warm", "draw").page)[-1][0].text.split() for _ in range(2)]
    assert len(drawn[0]) == 3 and not set(drawn[0]) & set(drawn[1])


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        ("fail", "failed", "ZeroDivisionError: division by zero"),
        ("kill", "killed", "the kernel died (out of memory?)"),
    ],
)
def test_failure_is_reported_as_from_a_new_process(run, name, status, error):
    ended = run("warm", name)
    record = runner.record(ended.page)
    assert ended.process.returncode == 1 and f"paper/{name} {status}: {error}" in ended.said
    assert record and (record.status, record.error) == (status, error) and record.unran


def test_refused_run_leaves_no_kernel(run, starters):
    refused = run("warm", "show", "-p", "mark", "many")
    assert refused.process.returncode == 2 and refused.said.startswith("saebook: ")
    assert not refused.page.exists()
    server = starters["warm"]._server._server.pid
    wait_until(lambda: not [p for p in children_of(server) if is_running(p)])


def children_of(pid):
    return [
        int(p.name) for p in Path("/proc").glob("[0-9]*") if p.joinpath("stat").is_file() and parent_of(p.name) == pid
    ]


PROGRAM = f"""
import os
from saebook.book.running import parallel, warm
parallel._PATIENCE = warm._PATIENCE = 2.0
starter = warm.Starter(1, True, {FEW!r})
start = lambda name, slot: starter.start(["run", "paper/sleep"], dict(os.environ), output)
try:
    with open("output", "w") as output:
        list(parallel.run([parallel.Job("sleep")], start, 1))
finally:
    starter.close()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_everything_ends_with_the_build(home, tmp_path, number):
    pids = home / "notebooks" / "paper" / "pids"
    pids.unlink(missing_ok=True)
    environment = os.environ | {"SAEBOOK_HOME": str(home)}
    build = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    wait_until(lambda: pids.is_file() and len(pids.read_text().split()) == 2)
    kernel, run = map(int, pids.read_text().split())
    server = parent_of(run)
    assert parent_of(server) == build.pid and all(map(is_running, (kernel, run, server)))
    build.send_signal(number)
    assert build.wait(30) == {signal.SIGINT: -signal.SIGINT, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    wait_until(lambda: not any(map(is_running, (kernel, run, server))), 20)


def test_build_goes_on_when_the_server_cannot_start(tmp_path):
    starter = warm.Starter(1, True, ("no_such_package",))
    with open(tmp_path / "output", "w+") as output:
        process = starter.start(["--help"], dict(os.environ), output)
        assert isinstance(process, subprocess.Popen) and process.wait(30) == 0
    starter.close()


def test_processes_of_a_killed_server_count_as_killed(home, tmp_path):
    server, arguments = warm.Server(1, FEW), ["run", "paper/sleep"]
    with open(tmp_path / "output", "w+") as output:
        process = server.start(arguments, os.environ | {"SAEBOOK_HOME": str(home)}, output)
        wait_until(lambda: process.poll() is None and process.pid)
        server._server.kill()
        wait_until(lambda: process.poll() is not None)
    assert process.returncode == -9
    wait_until(lambda: not is_running(process.pid))
    server.close()
