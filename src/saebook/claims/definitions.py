"""Which definitions of the papers' modules a notebook reaches: a plan, its budget, and the functions that they use.

The chapters of a paper share modules. If a whole module counted, a new chapter's plan would make the results of all its
neighbours stale. So inside `saebook.papers` a result depends on top-level definitions, each by its syntax tree, and
elsewhere on whole modules (`common.fingerprint`). Modules are read as files and never imported.
"""

import ast
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from saebook.common import fingerprint

PAPERS = f"{fingerprint.PACKAGE}.papers"


class Place(NamedTuple):
    """A top-level `name` of a `module`, None for all of them; with a `key`, that entry of the dictionary of this name."""

    module: str
    name: str | None = None
    key: str | None = None


@dataclass
class Reached:
    """The papers' definitions that were reached, by module, and the names of other modules."""

    definitions: dict[str, list[ast.AST]] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)

    def written(self) -> dict[str, bytes]:
        """The definitions of each module as bytes, in the order of the file, without comments, docstrings and positions."""
        return {module: b"\0".join(map(_bytes, _in_order(trees))) for module, trees in sorted(self.definitions.items())}

    def constants(self) -> set[str]:
        """Every string in the definitions."""
        nodes = (node for trees in self.definitions.values() for tree in trees for node in ast.walk(tree))
        return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}

    def names(self) -> set[str]:
        """Every name that the definitions use."""
        references = _References()
        for tree in (tree for trees in self.definitions.values() for tree in trees):
            references.visit(tree)
        return {name for one in references.names for name in one[:2] if name}


def reached(places: Iterable[Place], home: Path) -> Reached:
    """Everything that `places` lead to, in the library at `home`. A name that nothing defines leads nowhere."""
    result, waiting, seen = Reached(), list(places), set()
    while waiting:
        place = waiting.pop()
        if place.name and fingerprint.module_file(below := f"{place.module}.{place.name}", home):
            place = Place(below, None, place.key)
        file = fingerprint.module_file(place.module, home)
        if place in seen or file is None or place.module == fingerprint.PACKAGE:
            continue
        seen.add(place)
        if place.module != PAPERS and not place.module.startswith(f"{PAPERS}."):
            result.modules.add(place.module)
            continue
        module = _read(file.read_text("utf-8"))
        for tree in _chosen(module, place):
            if isinstance(tree, ast.Import | ast.ImportFrom):
                waiting += _imported(tree, place, home)
                continue
            if isinstance(tree, ast.Subscript):  # an entry of another table, which counts where it is
                waiting += _leads(tree, place.module, home)
                continue
            kept = result.definitions.setdefault(place.module, [])
            if not any(tree is one for one in kept):
                kept.append(tree)
                waiting += _leads(tree, place.module, home)
    return result


def used(source: str, home: Path) -> Iterator[Place]:
    """The places that a script's import statements lead to; of a module that it imports, the names that it asks it for."""
    references = _References()
    references.visit(ast.parse(source))
    for statement in references.imports:
        for alias in statement.names:
            bound = alias.asname or alias.name.split(".")[0]
            uses = {(attr, key) for name, attr, key in references.names if name == bound}
            for attr, key in uses or {(None, None)}:
                yield from _imported(statement, Place("", bound, key), home, attr)


@dataclass(frozen=True)
class _Module:
    defined: dict[str, list[ast.stmt]]  # the statements that give a name its value
    always: list[ast.stmt]  # what runs whenever the module is imported


@functools.lru_cache(maxsize=256)
def _read(source: str) -> _Module:
    defined: dict[str, list[ast.stmt]] = {}
    always: list[ast.stmt] = []
    for node in ast.parse(source).body:
        names = list(_names(node))
        for name in names:
            defined.setdefault(name, []).append(node)
        # A docstring runs nothing, nor does what only type checkers import.
        quiet = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not names and not quiet and not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            always.append(node)
    return _Module(defined, always)


def _names(node: ast.stmt) -> Iterator[str]:
    """The names that a top-level statement defines."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Assign(targets=targets):
            yield from (one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            yield from (alias.asname or alias.name.split(".")[0] for alias in aliases)


def _chosen(module: _Module, place: Place) -> Iterator[ast.AST]:
    """The trees that count for a place: whole statements, or one entry of a dictionary."""
    yield from module.always
    if place.name is None:
        yield from (node for nodes in module.defined.values() for node in nodes)
        return
    for node in module.defined.get(place.name, []):
        table = getattr(node, "value", None)
        if place.key is None or not isinstance(table, ast.Dict):
            yield node
        else:
            yield from _entries(table, place.key)


def _entries(table: ast.Dict, key: str) -> Iterator[ast.AST]:
    """The value of `key`; where the dictionary has none of its own, the same entry of those that it takes in by `**`."""
    pairs = list(zip(table.keys, table.values, strict=True))
    own = [value for name, value in pairs if isinstance(name, ast.Constant) and name.value == key]
    others = [value for name, value in pairs if name is None]
    yield from own or (
        ast.copy_location(ast.Subscript(value, ast.Constant(key), ast.Load()), value) for value in others
    )


class _References(ast.NodeVisitor):
    """The names that a tree uses, each with an attribute or a constant key that is asked of it; and its own imports."""

    def __init__(self) -> None:
        self.names: list[tuple[str, str | None, str | None]] = []
        self.imports: list[ast.Import | ast.ImportFrom] = []

    def visit_Subscript(self, node: ast.Subscript) -> None:
        match node:
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str(key))):
                self.names.append((name, None, key))
            case ast.Subscript(
                value=ast.Attribute(value=ast.Name(id=name), attr=attr), slice=ast.Constant(value=str(key))
            ):
                self.names.append((name, attr, key))
            case _:
                self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name):
            self.names.append((node.value.id, node.attr, None))
        else:
            self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        self.names.append((node.id, None, None))

    def visit_Import(self, node: ast.Import) -> None:
        self.imports.append(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.imports.append(node)


def _leads(tree: ast.AST, module: str, home: Path) -> Iterator[Place]:
    """Where the names in `tree`, code of `module`, lead."""
    references = _References()
    references.visit(tree)
    for statement in references.imports:
        yield from _imported(statement, None, home)
    file = fingerprint.module_file(module, home)
    assert file is not None
    defined = _read(file.read_text("utf-8")).defined
    for name, attr, key in references.names:
        for node in defined.get(name, []):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield from _imported(node, Place(module, name, key), home, attr)
            else:
                yield Place(module, name, None if attr else key)


def _imported(
    node: ast.Import | ast.ImportFrom, wanted: Place | None, home: Path, attr: str | None = None
) -> Iterator[Place]:
    """Where an import statement leads, for the one name that is `wanted` of it, or all."""
    for alias in node.names:
        name, key = alias.asname or alias.name.split(".")[0], wanted.key if wanted else None
        if wanted and wanted.name not in (None, name):
            continue
        if isinstance(node, ast.Import):
            yield Place(alias.name)
        elif node.module and attr and fingerprint.module_file(f"{node.module}.{alias.name}", home):
            yield Place(f"{node.module}.{alias.name}", attr, key)
        elif node.module:
            yield Place(node.module, alias.name, None if attr else key)


def _in_order(trees: list[ast.AST]) -> list[ast.AST]:
    return sorted(trees, key=lambda tree: (getattr(tree, "lineno", 0), getattr(tree, "col_offset", 0)))


def _bytes(tree: ast.AST) -> bytes:
    return fingerprint.canonical(ast.unparse(tree))
