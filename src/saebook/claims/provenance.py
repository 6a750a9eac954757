"""The seal of a result: one hash for each thing that its numbers depend on, so that a page can say what has changed since.

The library counts as far as a notebook reaches it: the modules that its imports lead to, found in their source. What a
page shows besides its numbers (prose, the ledger's rows) has hashes of its own, which age the page and not the result.
"""

import ast
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

from saebook.claims import ledger
from saebook.common import paths

PAGE_ONLY = ("prose", "claims")


def parts(notebook: str, budget: SimpleNamespace, corpus_hash: str | None = None) -> dict[str, str]:
    """The seal of `notebook` (dotted) run with `budget`. `corpus_hash` is what was read; without it, what should be."""
    cells = _cells(paths.root() / "notebooks" / f"{notebook.replace('.', '/')}.ipynb")
    code = [source for kind, source in cells if kind == "code"]
    papers = [f for f in sorted((paths.data() / "papers").glob("*.csv")) if f'"{f.stem}"' in "\n".join(code)]
    rows = [c for c in ledger.load() if c.notebook == notebook]
    return {
        "notebook": _hash("\0".join(code)),
        "parameters": _hash(json.dumps(vars(budget), sort_keys=True)),
        "library": _hash(*(f.relative_to(_home()).as_posix() + _file(f) for f in modules(code))),
        "lock": _file(paths.root() / "requirements.lock"),
        "corpus": corpus_hash or _expected_corpus(budget),
        "subject": _subject(getattr(budget, "subject", "")),
        "papers": _hash(*(f.name + _file(f) for f in papers)),
        "prose": _hash("\0".join(source for kind, source in cells if kind != "code")),
        "claims": _hash(*(repr(row) for row in rows)),
    }


def _cells(file: Path) -> list[tuple[str, str]]:
    """Kind and source of each cell. Read as the JSON that it is: nbformat takes as long to load as the subject."""
    return [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(file.read_text("utf-8"))["cells"]]


def changed(before: dict[str, str] | None, now: dict[str, str], page: bool = False) -> list[str]:
    """The names of the parts that differ; for a `page`, prose and ledger count too. Everything, without a seal before."""
    known = before if isinstance(before, dict) else {}
    return [name for name in now if (page or name not in PAGE_ONLY) and known.get(name) != now[name]]


def modules(sources: list[str]) -> list[Path]:
    """The library's files that `sources` import, directly or through one another, in order."""
    found: set[Path] = set()
    waiting = [name for source in sources for name in _imported(source)]
    while waiting:
        file = _module_file(waiting.pop())
        if file and file not in found:
            found.add(file)
            waiting += _imported(file.read_text("utf-8"))
    return sorted(found)


def _imported(source: str) -> list[str]:
    """Dotted names of the library that a piece of source imports, wherever the import stands in it."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # A name imported from a package may be a module of it, or something that lies in its __init__.
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    ours = [name.split(".") for name in names if name.split(".")[0] == "saebook"]
    return [".".join(name[:depth]) for name in ours for depth in range(1, len(name) + 1)]  # packages on the way too


def _module_file(name: str) -> Path | None:
    below = _home().joinpath(*name.split(".")[1:])
    return next((f for f in (below.with_suffix(".py"), below / "__init__.py") if f.is_file()), None)


def _home() -> Path:
    return Path(__file__).parents[1]


def _subject(name: str) -> str:
    """Embedded subjects by their files, any other by its name."""
    folder = paths.data() / "subjects" / name
    files = [*sorted(folder.glob("*.safetensors")), folder / "config.json", folder / "tokenizer.json"]
    return _hash(*map(_file, files)) if name and files[0].is_file() else name


def _expected_corpus(budget: SimpleNamespace) -> str:
    """The corpus that the subject was made from; for another source, the source's name."""
    recipe = paths.data() / "subjects" / getattr(budget, "subject", "") / "RECIPE.json"
    source = getattr(budget, "source", "")
    return (
        json.loads(recipe.read_text("utf-8"))["corpus_hash"] if source == "environment" and recipe.is_file() else source
    )


def _file(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def _hash(*texts: str) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:16]
