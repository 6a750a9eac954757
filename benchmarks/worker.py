"""One library at work: reads requests as lines of JSON, answers each with one line. `benchmarks/coordinator.py` asks.

    python benchmarks/worker.py LIBRARY

Runs in the library's own environment, with torch and the standard library only. The library is imported once. Each task
is a fork of that process, so that its peak of memory is its own and it leaves nothing behind:

    {"do": "prepare", "task": "Training", ...}   make the task, in place of an earlier one of this fork
    {"do": "run", "n": 5}                        run n units of it; answers with seconds and seconds of the processor
    {"do": "report"}                             what the task says of itself, and its peak of memory in bytes
    {"do": "end"}                                end the fork

An error is answered with {"error": "..."}; the worker goes on.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import sys
import time
import traceback
from typing import Any

_KIB = 1 if sys.platform == "darwin" else 1024


def main(library: str) -> None:
    """Serve until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not come between the answers
    try:
        module: Any = importlib.import_module(f"libraries.{library}")
        _say(answers, {"ready": library, **module.about()})
    except Exception:
        _say(answers, {"error": _reason()})
        return
    while request := _next():
        child = os.fork()
        if not child:
            _serve(module, request, answers)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            _say(answers, {"error": f"the process ended with status {os.waitstatus_to_exitcode(status)}"})


def _serve(module: Any, request: dict[str, Any], answers: Any) -> None:
    """Make the task of `request` and run it until it is to end."""
    before, task = 0, None
    while request and request["do"] != "end":
        try:
            if request["do"] == "prepare":
                task = None
                gc.collect()
                _give_back()
                _forget_peak()
                before = _resident()
                task = getattr(module, request["task"])(request)
                if request.get("above_prepared"):  # a subject that was opened is no part of what a step takes
                    _give_back()
                    before = _resident()
                    _forget_peak()
                _say(answers, {"prepared": request["task"]})
            elif task is None:
                _say(answers, {"error": "nothing is prepared"})
            elif request["do"] == "run":
                wall, processor = time.perf_counter(), time.process_time()
                task.run(request["n"])
                spent = {"seconds": time.perf_counter() - wall, "processor": time.process_time() - processor}
                _say(answers, spent)
            else:
                peak = _peak()  # before the report, which computes too
                _say(answers, {"memory": peak - before, **task.report()})
        except Exception:
            _say(answers, {"error": _reason()})
        request = _next()
    _say(answers, {"ended": True})


def _next() -> dict[str, Any]:
    """The next request; empty at the end. Unbuffered, so that a fork and its parent never hold each other's lines."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return {}
        line += byte
    return json.loads(line)


def _say(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _reason() -> str:
    """The error at hand in one line; the whole of it goes to standard error."""
    traceback.print_exc()
    kind, error, _ = sys.exc_info()
    return f"{getattr(kind, '__name__', 'error')}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[
        :300
    ]


def _peak() -> int:
    """The most bytes of memory that this process has held, since the last `_forget_peak` where that exists."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB


def _give_back() -> None:
    """Return what an earlier task has freed to the system, so that it is not taken for memory at rest. GNU's C library only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _forget_peak() -> None:
    """Count the peak of memory from here on. Linux only."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def _resident() -> int:
    """Bytes of memory that this process holds now."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB


if __name__ == "__main__":
    main(sys.argv[1])
