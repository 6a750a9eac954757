"""What this machine is, in words that a reader of a result understands."""

import platform
import resource
import sys
from pathlib import Path

import torch


def processor() -> str:
    """The processor's own name where the system gives one."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def device(kind: str) -> str:
    """One line for where something ran; `kind` is cpu or cuda."""
    threads = torch.get_num_threads()
    return torch.cuda.get_device_name() if kind == "cuda" else f"{processor()}, {threads} thread{'s' * (threads > 1)}"


def peak_memory() -> int:
    """The most bytes of memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
