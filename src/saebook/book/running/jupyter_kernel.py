"""A Jupyter kernel that is forked ahead of time, from a process that has already imported what notebooks import.

`prepare` forks the kernel, which then waits. When jupyter_client wants to launch `python -m ipykernel_launcher`, the
waiting process becomes that kernel. A second kernel, or one of another language, is launched as usual.
"""

import json
import os
import random
import sys
from importlib.metadata import EntryPoint

from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from saebook.common.processes import Forked, die_with_parent

_NAME = "saebook-forked"
_LAUNCHER = ["-m", "ipykernel_launcher"]


class Waiting:
    """A forked process that becomes a kernel when `launch` is called, and ends when this process does."""

    def __init__(self, process: Forked, pipe: int):
        self.process, self._pipe = process, pipe

    def launch(self, arguments: list[str], folder: str | None, environment: dict[str, str]) -> Forked:
        """Start the kernel with the `arguments` of ipykernel_launcher."""
        order = {"arguments": arguments, "folder": folder or os.getcwd(), "environment": environment}
        with os.fdopen(self._pipe, "w") as pipe:
            json.dump(order, pipe)
        return self.process


_waiting: list[Waiting] = []


def prepare() -> None:
    """Fork a kernel for this process, which must have started no thread. In the kernel, this call never returns."""
    parent, (reading, writing) = os.getpid(), os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        os.close(writing)
        os.setsid()  # Ctrl-C in a terminal is for the process that runs the notebook, which then stops its kernel
        die_with_parent(parent)
        _become_kernel(reading)
    os.close(reading)
    _waiting.append(Waiting(Forked(pid), writing))
    factory = KernelProvisionerFactory.instance()
    value = f"{ForkedProvisioner.__module__}:{ForkedProvisioner.__qualname__}"
    factory.provisioners[_NAME] = EntryPoint(_NAME, value, factory.GROUP_NAME)
    factory.default_provisioner_name = _NAME


class ForkedProvisioner(LocalProvisioner):
    """Launches the kernel that waits, where there is one and it is the one that is wanted."""

    async def launch_kernel(self, cmd: list[str], **kwargs):
        """As `LocalProvisioner.launch_kernel`."""
        if not _waiting or cmd[1:3] != _LAUNCHER:
            return await super().launch_kernel(cmd, **kwargs)
        environment = dict(kwargs.get("env") or os.environ)
        self.process = _waiting.pop().launch(cmd[3:], kwargs.get("cwd"), environment)
        self.pid = self.pgid = self.process.pid
        self.cwd = kwargs.get("cwd") or os.getcwd()
        return self.connection_info


def _become_kernel(reading: int) -> None:
    with os.fdopen(reading) as pipe:
        message = pipe.read()
    if not message:
        os._exit(0)  # the run was refused before it needed a kernel
    order = json.loads(message)
    os.environ.clear()
    os.environ.update(order["environment"], JPY_PARENT_PID=str(os.getppid()))
    if sys.path[0] == os.getcwd():  # as ipykernel_launcher does
        del sys.path[0]
    os.chdir(order["folder"])
    reseed()
    _as_imported_in_a_notebook()
    from ipykernel import kernelapp

    # ipykernel reads its parent's number when it is imported, which was before this process existed.
    sys.argv = ["ipykernel_launcher.py", *order["arguments"], f"--IPKernelApp.parent_handle={os.getppid()}"]
    kernelapp.launch_new_instance()
    sys.exit(0)


def _as_imported_in_a_notebook() -> None:
    """Set what pandas decides when it is imported: a terminal's tables get as many columns as fit, a notebook's 20."""
    if "pandas" in sys.modules:
        sys.modules["pandas"].set_option("display.max_columns", 20)


def reseed() -> None:
    """Seed the global generators of Python, NumPy and PyTorch afresh, as in a new process."""
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.seed()
