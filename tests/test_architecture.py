"""The library's structure: imports lead down the stations, papers are apart, names differ, tests mirror modules."""

import ast
import itertools
from pathlib import Path

import pytest

from saebook.common import paths

STATIONS = (
    "common", "text", "subject", "sae", "formats", "evaluation", "training", "plotting", "papers", "claims", "book", "cli",
)  # fmt: skip
ROLES = {"__init__", "plans", "budgets", "drawing", "conftest"}  # one in each folder that needs it
NAMED_BY_THE_FIELD = {
    ("gated", "gated_variants"),  # an architecture, and its ablations
    ("topk", "topk_variants"),
    ("jump", "jump_relu"),  # a toy with a jump, and the architecture
}
FILES, LINES = 14, 300
BEHIND = "beyond"  # chapters that no paper has, made of what the papers' chapters have
SRC, TESTS = paths.root() / "src" / "saebook", paths.root() / "tests"


def modules(home: Path) -> dict[str, Path]:
    """Every module of the library in the folder `home`: dotted name without "saebook." -> file."""
    return {".".join(file.relative_to(home).with_suffix("").parts): file for file in sorted(home.rglob("*.py"))}


def imported(file: Path, name: str) -> set[str]:
    """All imports of a module from the library, in functions too, as dotted names without "saebook."."""
    package, names = ["saebook", *name.split(".")[:-1]], []
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            names += [f"{source}.{alias.name}" for alias in node.names]
    return {one.removeprefix("saebook.") for one in names if one.startswith("saebook.")}


def upward_imports(home: Path) -> list[str]:
    """Imports that lead to a later station, or from a station to the command line."""
    wrong = []
    for name, file in modules(home).items():
        if name == "__init__":  # the public names, looked up lazily
            continue
        own = name.split(".")[0]
        if own not in STATIONS:
            wrong.append(f"{name} is in no station")
            continue
        for other in imported(file, name):
            station = other.split(".")[0]
            if station in STATIONS and STATIONS.index(station) > STATIONS.index(own):
                wrong.append(f"{name} imports {other}")
    return sorted(wrong)


def imports_between_papers(home: Path) -> list[str]:
    wrong = []
    for name, file in modules(home).items():
        parts = name.split(".")
        if parts[0] != "papers" or len(parts) < 3 or parts[1] == BEHIND:
            continue
        for other in imported(file, name):
            there = other.split(".")
            if there[0] == "papers" and len(there) > 1 and there[1] != parts[1]:
                wrong.append(f"{name} imports {other}")
    return sorted(wrong)


def cycles(home: Path) -> list[str]:
    """Modules that import themselves by way of others."""
    files = modules(home)
    edges = {name: set() for name in files}
    for name, file in files.items():
        for other in imported(file, name):
            edges[name] |= {one for one in (other, other.rpartition(".")[0]) if one in files} - {name}
    reached = {name: set(direct) for name, direct in edges.items()}
    while True:
        grown = {name: direct | {far for one in direct for far in reached[one]} for name, direct in reached.items()}
        if grown == reached:
            return sorted(name for name, far in reached.items() if name in far)
        reached = grown


def crowded(home: Path) -> list[str]:
    """Folders with too many modules, and modules with too many lines of code.

    An architecture is one file of `sae` by design, so those are counted for themselves, with the same bound.
    """
    folders: dict[tuple[Path, str], int] = {}
    for file in modules(home).values():
        if file.stem != "__init__":
            kind = "architectures" if "\n@register(" in file.read_text("utf-8") else "modules"
            folders[file.parent, kind] = folders.get((file.parent, kind), 0) + 1
    wrong = [
        f"{folder.relative_to(home)} has {count} {kind}" for (folder, kind), count in folders.items() if count > FILES
    ]
    counts = {name: lines_of_code(file.read_text("utf-8")) for name, file in modules(home).items()}
    return wrong + [f"{name} has {count} lines of code" for name, count in counts.items() if count > LINES]


def lines_of_code(source: str) -> int:
    """Lines that are neither blank nor only a comment; a docstring counts."""
    return sum(not line.isspace() and not line.lstrip().startswith("#") for line in source.splitlines(keepends=True))


def alike(one: str, other: str) -> bool:
    """Whether two names are equal, or differ by a plural or a suffix."""
    short, long = sorted((one, other), key=len)
    rest = long.removeprefix(short)
    plural = short.endswith("y") and long == f"{short[:-1]}ies"
    return (long.startswith(short) and (rest in ("", "s", "es") or rest.startswith("_"))) or plural


def confusable(home: Path) -> list[str]:
    """Pairs of modules with equal or nearly equal names, in any folders."""
    named = [(file.stem, name) for name, file in modules(home).items() if file.stem not in ROLES]
    return [
        f"{one} and {other}"
        for (a, one), (b, other) in itertools.combinations(named, 2)
        if alike(a, b) and tuple(sorted((a, b))) not in NAMED_BY_THE_FIELD
    ]


def unmirrored(tests: Path, home: Path) -> list[str]:
    """Test files in a folder that test no module of the same folder; those at the top, and of the browser, are about the whole."""
    wrong = []
    for file in sorted(tests.rglob("test_*.py")):
        folder = file.parent.relative_to(tests)
        if (
            folder.parts
            and folder.parts != ("browser",)
            and not (home / folder / f"{file.stem.removeprefix('test_')}.py").is_file()
        ):
            wrong.append(file.relative_to(tests).as_posix())
    return wrong


def test_imports_lead_down_the_stations():
    assert upward_imports(SRC) == []


def test_no_paper_imports_another():
    assert imports_between_papers(SRC) == []


def test_no_import_cycles():
    assert cycles(SRC) == []


def test_folders_and_modules_are_small():
    assert crowded(SRC) == []


def test_module_names_differ_by_more_than_a_plural_or_a_suffix():
    assert confusable(SRC) == []


def test_tests_mirror_modules():
    assert unmirrored(TESTS, SRC) == []


def test_architecture_page_gives_the_same_order_of_stations():
    assert f"\n{' < '.join(STATIONS)}\n" in (paths.root() / "ARCHITECTURE.md").read_text("utf-8")


# The checks can fail ---------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    """A function that writes modules, dotted name -> source, into a small library of their own, and returns its folder."""

    def write(**sources: str) -> Path:
        for name, source in sources.items():
            file = tmp_path / "saebook" / f"{name.replace('__', '/')}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source)
        return tmp_path / "saebook"

    return write


@pytest.mark.parametrize(
    "line",
    [
        "from saebook.training import sweep",
        "import saebook.training.sweep",
        "from saebook import training",
        "from ..training import sweep",
        "def f():\n    from saebook.training.sweep import sweep",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from saebook.training import sweep",
    ],
)
def test_planted_upward_import_is_reported(tree, line):
    home = tree(sae__relu=line, training__sweep="from saebook.sae import relu\nimport json")
    (reported,) = upward_imports(home)
    assert reported.startswith("sae.relu imports training")


def test_planted_folder_outside_the_stations_is_reported(tree):
    assert upward_imports(tree(utilities__misc="")) == ["utilities.misc is in no station"]


def test_planted_import_between_papers_is_reported(tree):
    home = tree(
        papers__gated__toys__jump="from saebook.papers.gated import plans\nfrom saebook.papers.topk.plans import PLANS",
        papers__gated__plans="", papers__topk__plans="from saebook.papers import topk",
        papers__beyond__plans="from saebook.papers.gated import plans", papers__e2e__plans="from saebook.papers.beyond import plans",
    )  # fmt: skip
    assert imports_between_papers(home) == [
        "papers.e2e.plans imports papers.beyond.plans",
        "papers.gated.toys.jump imports papers.topk.plans.PLANS",
    ]


def test_planted_cycle_is_reported(tree):
    home = tree(
        sae__a="from saebook.sae import b",
        sae__b="def f():\n    from saebook.sae.c import x",
        sae__c="import saebook.sae.a",
        sae__d="from saebook.sae import a",
    )
    assert cycles(home) == ["sae.a", "sae.b", "sae.c"]


def test_planted_crowds_are_reported(tree):
    home = tree(
        **{f"sae__m{i}": "" for i in range(FILES + 1)},
        text__long="x = 1\n\n# a comment\n" * (LINES + 1),
        text__short="",
    )
    assert crowded(home) == [f"sae has {FILES + 1} modules", f"text.long has {LINES + 1} lines of code"]
    kinds = tree(**{f"sae__kind{i}": "import x\n\n@register('kind')\nclass A: ...\n" for i in range(FILES + 1)})
    assert f"sae has {FILES + 1} architectures" in crowded(kinds)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("claim", "claims", True),
        ("tuning", "tuning_by_site", True),
        ("match", "matches", True),
        ("entry", "entries", True),
        ("sweep", "sweep", True),
        ("relu", "normalised_relu", False),
        ("jump", "jumprelu_form", False),
        ("text", "tokens", False),
    ],
)
def test_planted_names_are_told_apart(tree, one, other, expected):
    home = tree(
        **{f"sae__{one}": "", f"papers__gated__{other}": "", "papers__gated__plans": "", "papers__topk__plans": ""}
    )
    assert bool(confusable(home)) == expected


def test_planted_test_without_a_module_is_reported(tree, tmp_path):
    home = tree(sae__relu="")
    for name in ("test_house.py", "sae/test_relu.py", "sae/test_other.py", "text/test_relu.py"):
        file = tmp_path / "tests" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    assert unmirrored(tmp_path / "tests", home) == ["sae/test_other.py", "text/test_relu.py"]
