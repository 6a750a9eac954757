"""One execution of a notebook through papermill, and how it ended by what its cells show."""

import errno
import fcntl
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from saebook.common.errors import UserError

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
_NOT_CELLS = (AttributeError, KeyError)  # what papermill raises for cells that lack a field
# A kernel logs each interrupt with which nbclient ends it, and warns that its sockets on this machine are not encrypted.
_QUIET_KERNEL = ["--IPKernelApp.log_level=CRITICAL"]


@dataclass(frozen=True)
class Outcome:
    """How an execution ended: ok, failed, timeout or killed, one line why, and how many code cells never ran."""

    status: str
    error: str | None
    unran: int


def execute(source: Path, target: Path, values: dict[str, Any], timeout: int | None) -> Outcome:
    """Execute `source` with parameter `values` into `target`, each cell in at most `timeout` seconds, or without a limit.

    Raises `UserError` when there is no kernel or the notebook cannot be read, and `KeyboardInterrupt` when interrupted.
    """
    # Imported late: the command line answers wrong parameters without the second that papermill takes to load.
    import papermill

    status, error = "ok", None
    logging.getLogger("papermill").setLevel(logging.ERROR)  # it warns of parameters that were checked already
    with progress_on_this_terminal(), terminated_as_exit():
        try:
            papermill.execute_notebook(
                _literal(source), _literal(target), values, kernel_name="python3", language="python",
                cwd=str(source.parent), execution_timeout=timeout, progress_bar=False, stdout_file=None, stderr_file=None,
                log_output=False, extra_arguments=_QUIET_KERNEL,
            )  # fmt: skip
        except Exception as failure:
            if _interrupted(failure):
                raise KeyboardInterrupt from None
            status, error = _failed(failure, source, target, timeout)
    return _judged(target, status, error)


def _interrupted(failure: BaseException | None) -> bool:
    """Whether the reader interrupted the run: the kernel was told too, or stopping it raised an error of its own."""
    if failure is None or isinstance(failure, KeyboardInterrupt):
        return failure is not None
    return getattr(failure, "ename", None) == "KeyboardInterrupt" or _interrupted(failure.__context__)


def _failed(failure: Exception, source: Path, target: Path, timeout: int | None) -> tuple[str, str]:
    """Status and error of a run that papermill gave up. Raises `UserError` when the run could not even begin."""
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from nbformat import ValidationError
    from nbformat.reader import NotJSONError
    from papermill import PapermillExecutionError

    if isinstance(failure, PapermillExecutionError):
        return "failed", last_words(failure.ename, failure.evalue)
    if isinstance(failure, CellTimeoutError):
        return "timeout", f"a cell took longer than {timeout} s"
    if isinstance(failure, DeadKernelError):
        return "killed", "the kernel died (out of memory?)"
    if isinstance(failure, NoSuchKernel):
        raise UserError("no Jupyter kernel named python3: run `python -m ipykernel install --sys-prefix`") from None
    if isinstance(failure, NotJSONError | ValidationError) or (
        not target.is_file() and isinstance(failure, _NOT_CELLS)
    ):
        raise UserError(f"{source} is not a valid notebook: restore it from git") from None
    if isinstance(failure, OSError | RuntimeError) and getattr(failure, "errno", None) not in _DISK:
        words = last_words(type(failure).__name__, str(failure))
        raise UserError(f"the Jupyter kernel could not be started ({words})") from None
    raise failure


def _judged(executed: Path, status: str, error: str | None) -> Outcome:
    cells = json.loads(executed.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
    unran = sum(cell.get("execution_count") is None for cell in code)
    if status == "ok":
        wrong = [output for cell in code for output in cell["outputs"] if output["output_type"] == "error"]
        if wrong:
            return Outcome("failed", last_words(wrong[0]["ename"], wrong[0]["evalue"]), unran)
        if unran:
            return Outcome("killed", f"{unran} cells never ran", unran)
    return Outcome(status, error, unran)


def annotate(executed: Path, metadata: dict[str, Any]) -> None:
    """Add `metadata` to an executed notebook, hide its injected parameters, and drop papermill's own notices."""
    import nbformat

    book = nbformat.read(executed, 4)
    for cell in book.cells:
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags and "hide-input" not in tags:
            cell.metadata["tags"] = [*tags, "hide-input"]
    book.cells = [cell for cell in book.cells if "papermill-error-cell-tag" not in cell.metadata.get("tags", [])]
    book.metadata.update(metadata)
    nbformat.write(book, executed)


def _literal(file: Path) -> str:
    """A path that papermill does not take for a template."""
    return str(file).replace("{", "{{").replace("}", "}}")


def last_words(name: str, value: str) -> str:
    """One line for an error of a notebook; a `UserError` speaks for itself."""
    line = (value.strip() or name).splitlines()[0]
    return line if name in ("UserError", line) else f"{name}: {line}"


@contextmanager
def progress_on_this_terminal() -> Iterator[None]:
    """Name this process' terminal or log to the kernel, so that its bars show there and not on the page."""
    before = os.environ.get("SAEBOOK_PROGRESS")
    if before is None:
        os.environ["SAEBOOK_PROGRESS"] = _standard_error() or "off"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("SAEBOOK_PROGRESS", None)


def _standard_error() -> str | None:
    """A path that another process writes to this one's standard error by: None where there is none, as for a log on macOS."""
    try:
        if sys.stderr.isatty():
            return os.ttyname(sys.stderr.fileno())
        path = f"/proc/{os.getpid()}/fd/{sys.stderr.fileno()}"
        open(path, "a").close()
        # What this process writes next would otherwise land on the lines that a kernel has added since.
        fcntl.fcntl(sys.stderr, fcntl.F_SETFL, fcntl.fcntl(sys.stderr, fcntl.F_GETFL) | os.O_APPEND)
    except (OSError, ValueError):
        return None
    return path


@contextmanager
def terminated_as_exit() -> Iterator[None]:
    """Turn SIGTERM into `SystemExit`, so that what a run has half written is removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
