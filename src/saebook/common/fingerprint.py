"""A hash of the source that a number depends on: the modules that its code imports, over their syntax trees.

Comments, docstrings and layout do not count, for they change no number. A module's path within the package does: code
that moves gets a new fingerprint. The hash is the same on every Python from 3.11 on.

Modules are read as files and never imported. Three things stay out of a closure: what is imported for type checkers
only, the package's own `__init__` (public names, looked up lazily), and by default `saebook.common`, where nothing makes
numbers: errors, paths, progress bars, files. Keep it so.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = "saebook"
WITHOUT = (f"{PACKAGE}.common",)
_HOME = Path(__file__).parents[1]


@cache
def of(*modules: str, home: Path = _HOME, without: tuple[str, ...] = WITHOUT) -> str:
    """The fingerprint, 16 hex digits, of `modules` (dotted names) and of everything that they import.

    Computed once per process. `home` is the package's folder. Raises `ModuleNotFoundError` for an unknown module.
    """
    digest = hashlib.sha256()
    for file in closure(modules, home, without).values():
        digest.update(file.relative_to(home).as_posix().encode() + b"\0" + canonical(file.read_text("utf-8")) + b"\0")
    return digest.hexdigest()[:16]


def closure(modules: Iterable[str], home: Path = _HOME, without: tuple[str, ...] = ()) -> dict[str, Path]:
    """Every module of the library that `modules` lead to by imports, themselves included: name -> file, sorted.

    Modules in or below `without` are left out and not followed.
    """
    waiting = list(modules)
    for name in waiting:
        if module_file(name, home) is None:
            raise ModuleNotFoundError(f"no module {name} in {home}")
    files: dict[str, Path] = {}
    seen = {PACKAGE}
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        file = module_file(name, home)
        if file is None:
            continue
        if any(name == one or name.startswith(f"{one}.") for one in without):
            continue
        files[name] = file
        waiting += imported(file.read_text("utf-8"))
    return dict(sorted(files.items()))


@cache
def imported(source: str) -> tuple[str, ...]:
    """Dotted names of the library that `source` imports, at any depth, and the packages above them."""
    names: list[str] = []
    for node in _executed(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # A name imported from a package may be a module of it, or something defined in its __init__.
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    ours = [name.split(".") for name in names if name.split(".")[0] == PACKAGE]
    every = (".".join(name[:depth]) for name in ours for depth in range(1, len(name) + 1))
    return tuple(dict.fromkeys(every))


def module_file(name: str, home: Path = _HOME) -> Path | None:
    """The file of the module or package `name`; None if it is not in the library."""
    below = home.joinpath(*name.split(".")[1:])
    return next((file for file in (below.with_suffix(".py"), below / "__init__.py") if file.is_file()), None)


@cache
def canonical(source: str) -> bytes:
    """The syntax tree of `source` as bytes, without docstrings, comments, positions and empty fields."""
    return json.dumps(_plain(ast.parse(source)), ensure_ascii=True).encode()


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All statements of a tree but those below `if TYPE_CHECKING:`, in no order. Expressions hold no statement."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test).split(".")[-1] == "TYPE_CHECKING":
                waiting += child.orelse
            elif not isinstance(child, ast.expr):
                waiting.append(child)


def _plain(node: object) -> object:
    """A node as nested lists; fields that are None or empty are skipped, so that a newer Python's new fields do not count."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, ast.AST):
        return f"{type(node).__name__} {node!a}"
    fields: list[object] = [type(node).__name__]
    for name in node._fields:
        value: Any = getattr(node, name, None)
        if name == "body" and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            value = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
        elif name == "values" and isinstance(node, ast.JoinedStr):
            value = _joined(node.values)
        # The prefix of u"text" says nothing; the value None of a constant does.
        skipped = name == "kind" if isinstance(node, ast.Constant) else value is None or value == []
        if not skipped:
            fields.append([name, _plain(value)])
    return fields


def _joined(values: list[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string with neighbouring text merged: Python 3.12 cuts it differently."""
    merged: list[ast.expr] = []
    for value in values:
        last = merged[-1] if merged else None
        if isinstance(value, ast.Constant) and isinstance(last, ast.Constant):
            merged[-1] = ast.Constant(str(last.value) + str(value.value))
        elif not (isinstance(value, ast.Constant) and value.value == ""):
            merged.append(value)
    return merged
