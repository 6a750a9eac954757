"""A strict runner over papermill: refuses what papermill lets pass, and says itself how a run ended.

papermill warns about an unknown parameter and runs on with the default; it takes a string for a float; after a
time-out or a killed kernel it marks every cell as completed. So the parameters are read from the notebook's own cell
with `ast` and checked first, and the outcome is judged by what the cells show: an error output, or a code cell that
never ran. The record lies in the notebook's metadata under ``replication``; ``metadata.papermill`` is never read.
"""

import ast
import difflib
import json
import os
import sys
import time
import tokenize
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path

import nbformat
import yaml

from saebook.book import budgets
from saebook.claims import provenance
from saebook.common import paths
from saebook.common.errors import UserError

TIMEOUT = 3600  # seconds a cell may take


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell."""

    name: str
    kind: str
    default: object
    help: str


@dataclass(frozen=True)
class RunRecord:
    """How a run ended. `status` is ok, failed, timeout or killed; `error` one line; `unran` code cells never reached."""

    name: str
    tier: str
    status: str
    error: str | None
    seconds: float
    unran: int
    parameters: dict


def home() -> Path:
    """The folder of all notebooks."""
    return paths.root() / "notebooks"


def names() -> list[str]:
    """Every notebook, as PAPER/NAME: the ruler first, then paper by paper."""
    found = (p.relative_to(home()).with_suffix("").as_posix() for p in home().glob("*/*.ipynb"))
    return sorted(found, key=lambda name: (not name.startswith("checks/"), name))


def source(name: str) -> Path:
    """The notebook file of a name. Raises `UserError` with the nearest names."""
    file = home() / f"{name.removesuffix('.ipynb').removeprefix('notebooks/')}.ipynb"
    if not file.is_file():
        near = difflib.get_close_matches(name, names(), 1, 0.4)
        raise UserError(
            f"no notebook '{name}'" + (f": did you mean {near[0]}?" if near else f": there are {', '.join(names())}")
        )
    return file


def parameters(file: Path) -> list[Parameter]:
    """What a notebook can be run with, read from its cell tagged ``parameters``: literals only, one a line."""
    cells = [c for c in nbformat.read(file, 4).cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise UserError(f"{file.name} has {len(cells)} cells tagged parameters: it needs exactly one")
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(StringIO(cells[0].source).readline)
        if token.type == tokenize.COMMENT
    }
    found = []
    for node in ast.parse(cells[0].source).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            name, kind = node.target.id, ast.unparse(node.annotation)
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name, kind = node.targets[0].id, type(ast.literal_eval(node.value)).__name__
        else:
            raise UserError(f"{file.name}: line {node.lineno} of the parameters cell is no assignment of a literal")
        found.append(Parameter(name, kind, ast.literal_eval(node.value), comments.get(node.end_lineno, "")))
    return found


def check(known: list[Parameter], given: dict[str, object]) -> dict[str, object]:
    """`given` values in their parameters' types. Raises `UserError` for a name or a type that does not fit."""
    by_name = {p.name: p for p in known}
    checked = {}
    for name, value in given.items():
        if name not in by_name:
            near = difflib.get_close_matches(name, by_name, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(by_name)}"
            raise UserError(f"unknown parameter '{name}': {hint}")
        checked[name] = _typed(by_name[name], value)
    return checked


def _typed(parameter: Parameter, value: object) -> object:
    kind = parameter.kind.replace(" ", "")
    wrong = UserError(f"parameter {parameter.name} takes {parameter.kind}, such as {_example(kind)}, not {value!r}")
    if kind.startswith("list["):
        inner = kind[5:-1]
        items = _items(value, inner) if isinstance(value, str) else value
        if not isinstance(items, list):
            raise wrong
        return [_scalar(item, inner, wrong) for item in items]
    return _scalar(value, kind, wrong)


def _items(value: str, inner: str) -> object:
    """A list from the command line: ``[0, 1]`` or ``0,1``."""
    text = value.strip()
    if not text.startswith("["):
        text = f"[{text}]"
    if inner == "str":
        return [part.strip().strip("'\"") for part in text[1:-1].split(",") if part.strip()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None


def _scalar(value: object, kind: str, wrong: UserError) -> object:
    if kind == "str":
        if isinstance(value, str):
            return value
        raise wrong
    if isinstance(value, str):
        try:
            value = (
                {"true": True, "false": False}.get(value.strip().lower())
                if kind == "bool"
                else ast.literal_eval(value.strip())
            )
        except (ValueError, SyntaxError):
            raise wrong from None
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "int" and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind == "float" and isinstance(value, int | float) and not isinstance(value, bool) and value == value:
        return float(value)
    raise wrong


def _example(kind: str) -> str:
    return {
        "int": "3",
        "float": "0.5",
        "str": "text",
        "bool": "true",
        "list[int]": "0,1,2",
        "list[float]": "0.5,2",
    }.get(kind, "a literal")


def read_parameters_file(file: Path) -> dict:
    """Parameters from a YAML or JSON file. Raises `UserError` when it is absent or no mapping."""
    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"parameters file {file} cannot be read ({type(error).__name__})") from None
    if not isinstance(content, dict):
        raise UserError(f"parameters file {file} is no mapping of names to values")
    return content


def executed(name: str, tier: str) -> Path:
    """Where the executed copy of a notebook lies."""
    return paths.root() / "_build" / "executed" / tier / "notebooks" / f"{name}.ipynb"


def record(file: Path) -> RunRecord | None:
    """The runner's own record in an executed notebook, or None."""
    if not file.is_file():
        return None
    kept = json.loads(file.read_text("utf-8")).get("metadata", {}).get("replication")
    return RunRecord(**{k: kept[k] for k in RunRecord.__dataclass_fields__}) if kept else None


def run(
    name: str, tier: str = "smoke", given: dict | None = None, out: Path | None = None, timeout: int = TIMEOUT
) -> RunRecord:  # fmt: skip
    """Execute notebook `name` at `tier` with parameters `given` and return how it ended.

    Nothing is written when a name or a type is refused (`UserError`). A run that fails leaves its notebook, with its
    record, at `out` (default: `executed(name, tier)`). The seal of the run is kept in its metadata beside the record.
    """
    file = source(name)
    budgets.load(tier)
    values = check(parameters(file), {"tier": tier, **(given or {})})
    if values["tier"] != tier:
        raise UserError("give the tier once: --tier, not -p tier")
    now = _seal(file, tier, values)
    out = out or executed(name, tier)
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.stem}.{uuid.uuid4().hex[:8]}.ipynb")
    try:
        return _execute(file, name, tier, values, aside, out, timeout, now)
    finally:
        aside.unlink(missing_ok=True)


def _seal(file: Path, tier: str, values: dict) -> dict[str, str]:
    """The seal of a run with these parameter `values`; raises `UserError` for one that the budget cannot take."""
    notebook = file.relative_to(home()).with_suffix("").as_posix().replace("/", ".")
    if not any(notebook in budgets.load(other) for other in budgets.TIERS):
        return {}  # a notebook of the reader's own
    return provenance.parts(
        notebook, budgets.resolve(notebook, tier, **{k: v for k, v in values.items() if k != "tier"})
    )


def _execute(
    file: Path, name: str, tier: str, values: dict, aside: Path, out: Path, timeout: int, now: dict
) -> RunRecord:
    # Imported late: the command line answers wrong parameters without the second that papermill takes to load.
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    begun, status, error = time.monotonic(), "ok", None
    with progress_on_this_terminal():
        try:
            papermill.execute_notebook(
                str(file).replace("{", "{{").replace("}", "}}"), str(aside).replace("{", "{{").replace("}", "}}"),
                values, kernel_name="python3", cwd=str(file.parent), execution_timeout=timeout,
                progress_bar=False, stdout_file=None, stderr_file=None, log_output=False,
                # A kernel warns each time that its sockets, which are those of this machine, are not encrypted.
                extra_arguments=["--IPKernelApp.log_level=ERROR"],
            )  # fmt: skip
        except NoSuchKernel:
            raise UserError("no Jupyter kernel named python3: run `python -m ipykernel install --sys-prefix`") from None
        except CellTimeoutError:
            status, error = "timeout", f"a cell took longer than {timeout} s"
        except DeadKernelError:
            status, error = "killed", "the kernel died (out of memory?)"
        except papermill.PapermillExecutionError as failure:
            if failure.ename == "KeyboardInterrupt":  # the kernel was told too: this is the reader's wish, no failure
                raise KeyboardInterrupt from None
            status, error = "failed", _last_words(failure.ename, failure.evalue)
    book = nbformat.read(aside, 4)
    code = [c for c in book.cells if c.cell_type == "code" and c.source.strip()]
    unran = sum(c.get("execution_count") is None for c in code)
    if status == "ok":
        wrong = [o for c in code for o in c.outputs if o.output_type == "error"]
        if wrong:
            status, error = "failed", _last_words(wrong[0].ename, wrong[0].evalue)
        elif unran:
            status, error = "killed", f"{unran} cells never ran"
    seconds = round(time.monotonic() - begun, 1)
    kept = RunRecord(name, tier, status, error, seconds, unran, values)
    for cell in book.cells:
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags and "hide-input" not in tags:
            cell.metadata["tags"] = [*tags, "hide-input"]
    book.cells = [c for c in book.cells if "papermill-error-cell-tag" not in c.metadata.get("tags", [])]
    book.metadata["replication"] = asdict(kept) | {"seal": now}
    nbformat.write(book, aside)
    aside.replace(out)
    return kept


def _last_words(name: str, value: str) -> str:
    """One line for an error of a notebook; a `UserError` speaks for itself."""
    line = (value.strip() or name).splitlines()[0]
    return line if name == "UserError" else f"{name}: {line}"


class progress_on_this_terminal:
    """Name this process' terminal to the kernel, so that its bars show there and not on the page."""

    def __enter__(self) -> None:
        self.before = os.environ.get("SAEBOOK_PROGRESS")
        if self.before is None:
            try:
                os.environ["SAEBOOK_PROGRESS"] = os.ttyname(sys.stderr.fileno()) if sys.stderr.isatty() else "off"
            except (OSError, ValueError):
                os.environ["SAEBOOK_PROGRESS"] = "off"

    def __exit__(self, *_) -> None:
        if self.before is None:
            os.environ.pop("SAEBOOK_PROGRESS", None)


def describe(name: str) -> Iterator[str]:
    """One line per parameter of a notebook: name, type, default, help."""
    for p in parameters(source(name)):
        yield f"{p.name}: {p.kind} = {p.default!r}  {p.help}"
