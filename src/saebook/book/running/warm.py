"""A server that imports once what every notebook imports, and forks the notebooks of a build from there.

Importing PyTorch, TransformerLens and what they need takes longer than many notebooks run. `saebook book` starts one server
with the threads that a notebook may have; each notebook is then a fork of it that runs `saebook run`, and its Jupyter
kernel another (`jupyter_kernel`). Only packages that the lock file pins are imported beforehand: every fork imports the
library itself, so that it runs the sources that its provenance names.

Where processes cannot be forked safely (not on Linux, or with a GPU), each notebook starts from nothing, as `saebook
run` does. The server ends with the build, and everything that it forked ends with the server.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import IO

from saebook.common.processes import Forked, die_with_parent

# All that a run or its kernel imports, much of it late; listed by comparing sys.modules before and after a run.
PACKAGES = (
    "papermill", "nbclient", "nbformat", "jupyter_client.provisioning", "ipykernel.kernelapp", "ipykernel.ipkernel",
    "IPython", "torch", "pandas", "matplotlib.pyplot", "seaborn", "scipy.stats", "transformers", "datasets",
    "transformer_lens.model_bridge", "transformers.models.gpt2.modeling_gpt2", "safetensors.torch", "pydantic.main", "yaml",
    "filelock", "numba", "PIL.PngImagePlugin", "matplotlib.backends.backend_agg",
)  # fmt: skip
_INLINE = "module://matplotlib_inline.backend_inline"  # what a kernel sets before matplotlib reads it
_MESSAGE = 2**20  # bytes that a message may take
_PATIENCE = 5.0  # seconds that an interrupted notebook has to end by itself


class Server:
    """The server, from a build's point of view. Close it to end it and what it runs."""

    def __init__(self, threads: int, packages: Sequence[str] = PACKAGES):
        """Start a server that imports `packages`, and whose forks compute with `threads` threads."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {"MPLBACKEND": _INLINE, **os.environ, "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "-m", "saebook.book.running.warm", str(theirs.fileno()), *packages]
        with theirs:
            self._server = subprocess.Popen(
                command, env=environment, pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        self._processes: dict[int, RemoteProcess] = {}
        self._ready = False

    def start(self, arguments: list[str], environment: dict[str, str], output: IO) -> "RemoteProcess":
        """Fork a process that runs `saebook ARGUMENTS`. Raises `OSError` when the server cannot."""
        if not self._ready and not self._socket.recv(_MESSAGE):  # it says when its imports are done
            raise ConnectionError("the server did not start")
        self._ready = True
        number = len(self._processes)
        order = {"number": number, "arguments": arguments, "environment": environment, "folder": os.getcwd()}
        socket.send_fds(self._socket, [json.dumps(order).encode()], [output.fileno()])
        process = self._processes[number] = RemoteProcess(self, number)
        return process

    def receive(self) -> None:
        """Take note of what the server says about its processes. When it has gone, they have been killed with it."""
        while select.select([self._socket], [], [], 0)[0]:
            try:
                message = self._socket.recv(_MESSAGE)
            except ConnectionError:
                message = b""
            if not message:
                for process in self._processes.values():
                    process.returncode = -signal.SIGKILL if process.returncode is None else process.returncode
                return
            news = json.loads(message)
            self._processes[news["number"]].update(news)

    def send_signal(self, number: int, signal_number: int) -> None:
        """Pass a signal on to a process."""
        with contextlib.suppress(ConnectionError):
            self._socket.send(json.dumps({"number": number, "signal": signal_number}).encode())

    def close(self) -> None:
        """End the server and everything that it still runs."""
        self._socket.close()
        if not self._ready:  # it still imports, and runs nothing
            self._server.kill()
        try:
            self._server.wait(2 * _PATIENCE)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()


class RemoteProcess:
    """A process of the server, with the part of `subprocess.Popen` that a build uses."""

    def __init__(self, server: Server, number: int):
        self._server, self._number = server, number
        self.pid: int | None = None
        self.returncode: int | None = None

    def update(self, news: dict[str, int]) -> None:
        """Take over what the server says: the number of the process when it starts, its status when it ends."""
        self.pid, self.returncode = news.get("pid", self.pid), news.get("returncode")

    def poll(self) -> int | None:
        """The exit status, negative for a signal, or None while the process runs."""
        if self.returncode is None:
            self._server.receive()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing happens when the process has ended."""
        self._server.send_signal(self._number, number)


class Starter:
    """Starts `saebook` commands as processes: forks of a warm server where that is possible, new ones elsewhere."""

    def __init__(self, threads: int, warm: bool, packages: Sequence[str] = PACKAGES):
        """`warm` says whether to start a server, which imports `packages`, when the first process is wanted."""
        self._threads, self._warm, self._packages = threads, warm, packages
        self._server: Server | None = None

    def start(self, arguments: list[str], environment: dict[str, str], output: IO) -> RemoteProcess | subprocess.Popen:
        """Run `saebook ARGUMENTS` with this environment; both of its streams go to `output`."""
        environment = environment | {"OMP_NUM_THREADS": str(self._threads)}
        if self._warm:
            self._server = self._server or Server(self._threads, self._packages)
            try:
                return self._server.start(arguments, environment, output)
            except OSError:
                self.close()
        command = [sys.executable, "-m", "saebook.cli", *arguments]
        return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)

    def close(self) -> None:
        """End the server and what it still runs; later processes are new ones."""
        self._warm = False
        if self._server:
            self._server.close()


@contextlib.contextmanager
def starter(threads: int, processes: int) -> Iterator[Starter]:
    """A `Starter` for the `processes` of a build. A single one is faster without a server."""
    starting = Starter(threads, warm=processes > 1 and forks_are_safe())
    try:
        yield starting
    finally:
        starting.close()


def forks_are_safe() -> bool:
    """Whether a fork can do what a new process can: on Linux, and without a GPU, whose driver does not survive a fork."""
    import torch

    return sys.platform == "linux" and not torch.cuda.is_available()


def preload(packages: Sequence[str] = PACKAGES) -> None:
    """Import `packages`, for processes that are then forked from this one."""
    for package in packages:
        importlib.import_module(package)
    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page that the imports fill


def main(descriptor: int, packages: Sequence[str]) -> None:
    """Serve the build at the other end of the socket. In a forked process, run its command instead."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the build, which then closes the socket
    connection = socket.socket(fileno=descriptor)
    preload(packages)
    connection.send(b"ready")
    order = _serve(connection)
    if order:
        _run(order)


def _serve(connection: socket.socket) -> dict | None:
    """Fork a process for each order and say how it ended. Returns None at the end, and in a forked process its order."""
    children: dict[int, Forked] = {}
    server = os.getpid()
    while True:
        ready, _, _ = select.select([connection], [], [], 0.05 if children else None)
        _report(connection, children)
        if not ready:
            continue
        message, descriptors, _, _ = socket.recv_fds(connection, _MESSAGE, 1)
        if not message:
            _end(children)
            return None
        order = json.loads(message)
        if "signal" in order:
            if order["number"] in children:
                children[order["number"]].send_signal(order["signal"])
            continue
        pid = os.fork()
        if not pid:
            die_with_parent(server)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            connection.close()
            return order | {"output": descriptors[0]}
        os.close(descriptors[0])
        children[order["number"]] = Forked(pid)
        _tell(connection, order["number"], pid=pid)


def _report(connection: socket.socket, children: dict[int, Forked]) -> None:
    """Tell the build of every process that has ended."""
    for number, child in list(children.items()):
        if child.poll() is not None:
            del children[number]
            _tell(connection, number, returncode=child.returncode)


def _tell(connection: socket.socket, number: int, **news: int | None) -> None:
    with contextlib.suppress(ConnectionError):  # the build has gone: the next message is the end
        connection.send(json.dumps({"number": number, **news}).encode())


def _end(children: dict[int, Forked]) -> None:
    """Interrupt the processes of a build that has ended without them, and kill those that do not listen."""
    for child in children.values():
        child.send_signal(signal.SIGINT)
    until = time.monotonic() + _PATIENCE
    while any(child.poll() is None for child in children.values()) and time.monotonic() < until:
        time.sleep(0.05)
    for child in children.values():
        child.kill()


def _run(order: dict) -> None:
    """Run a command in a forked process, as `python -m saebook.cli` would in a new one."""
    os.dup2(order["output"], 1)
    os.dup2(order["output"], 2)
    os.close(order["output"])
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    sys.argv = ["saebook", *order["arguments"]]
    from saebook.book.running import jupyter_kernel

    jupyter_kernel.prepare()
    jupyter_kernel.reseed()
    runpy.run_module("saebook.cli", run_name="__main__")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
