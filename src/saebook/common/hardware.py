"""This machine in words that a reader of a result understands, and the devices that it has."""

import platform
import resource
import sys
from pathlib import Path

from saebook.common.errors import UserError


def processor() -> str:
    """The processor's own name where the system gives one."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def checked(device: str) -> str:
    """`device` if PyTorch can compute on it here. Raises `UserError` otherwise."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        here = "cpu or cuda" if torch.cuda.is_available() else "cpu"
        raise UserError(f"device '{device}' is not available on this machine: use {here}") from None
    return device


def device(kind: str) -> str:
    """One line for where something ran; `kind` is cpu or cuda."""
    import torch

    threads = torch.get_num_threads()
    return torch.cuda.get_device_name() if kind == "cuda" else f"{processor()}, {threads} thread{'s' * (threads > 1)}"


def peak_memory() -> int:
    """The most bytes of memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
