"""README, CONTRIBUTING, ARCHITECTURE and CHANGELOG name what exists, and the tools are set up as they say."""

import ast
import re
import tomllib

import pytest
import yaml

from saebook.cli import arguments
from saebook.common import paths

ROOT = paths.root()
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md")
CODE = r"```bash\n(.*?)```|`([^`\n]+)`"


def text(name):
    return (ROOT / name).read_text()


def tree():
    """The modules of the annotated tree in ARCHITECTURE.md, as paths without suffix; folders end with a slash."""
    (block,) = re.findall(r"```\nsaebook/\n(.*?)```", text("ARCHITECTURE.md"), re.DOTALL)
    named, folders = [], []
    for line in block.splitlines():
        entry = re.match(r"(?P<indent> +)(?P<name>\w+)(?P<slash>/?) +(?P<note>\S.*)", line)
        assert entry, f"the tree has a line without a note: {line}"
        depth = len(entry["indent"]) // 2 - 1
        folders = folders[:depth]
        path = "/".join([*folders, entry["name"]])
        if entry["slash"]:
            folders.append(entry["name"])
            listed = entry["note"].rpartition(": ")[2].split(", ") if ": " in entry["note"] else []
            named += [f"{path}/{module}" for module in listed]
        else:
            named.append(path)
    return named


def test_annotated_tree_names_every_module_once():
    home = ROOT / "src" / "saebook"
    modules = [f.relative_to(home).with_suffix("").as_posix() for f in home.rglob("*.py")]
    assert sorted(tree()) == sorted(m for m in modules if not m.endswith("/__init__"))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files(name):
    for target in re.findall(r"\]\(([^)#]+)\)", text(name)):
        assert target.startswith("https://") or (ROOT / target).exists(), f"{name} links to {target}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_that_are_shown_exist(name):
    (commands,) = (a.choices for a in arguments.parser()._actions if isinstance(a.choices, dict))
    targets = set(re.findall(r"^(\w+):", text("Makefile"), re.MULTILINE))
    shown = "\n".join(block or inline for block, inline in re.findall(CODE, text(name), re.DOTALL))
    for command in re.findall(r"(?:^|/|\s)saebook ([a-z]+)", shown):
        assert command in commands, f"{name} shows `saebook {command}`"
    for target in re.findall(r"^make (\w+)|&& make (\w+)", shown, re.MULTILINE):
        assert set(target) & targets, f"{name} shows `make {target}`"


def test_example_of_the_readme_uses_public_names():
    import saebook

    (example,) = re.findall(r"```python\n(.*?)```", text("README.md"), re.DOTALL)
    used = {
        n.attr
        for n in ast.walk(ast.parse(example))
        if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "saebook"
    }
    assert used and used <= set(saebook.__all__)


def test_no_document_holds_a_placeholder():
    files = [*DOCUMENTS, "CITATION.cff", "LICENSE", "_config.yml", "pyproject.toml"]
    for name in files:
        assert not re.search(r"github\.com/saebook|TODO|FIXME|example\.com|The saebook authors", text(name)), name
    assert "saebook contributors" in text("LICENSE") and "saebook contributors" in text("CITATION.cff")
    assert yaml.safe_load(text("_config.yml"))["author"] == "saebook contributors"


def test_hooks_use_the_tools_of_the_environment():
    config = yaml.safe_load(text(".pre-commit-config.yaml"))
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    for hook in config["repos"][0]["hooks"]:
        assert hook["language"] == "system" and hook["entry"].startswith(".venv/bin/")


def test_continuous_integration_checks_tests_and_builds_in_this_order():
    script = text(".ci/run")
    steps = [script.index(step) for step in ("make check", "make test", "make book TIER=smoke", 'after="$(tree)"')]
    assert steps == sorted(steps)
    workflows = [yaml.safe_load(f.read_text()) for f in sorted((ROOT / ".github" / "workflows").glob("*.yml"))]
    # YAML 1.1 reads the key `on` as true.
    assert {event for w in workflows for event in w[True]} >= {"pull_request", "schedule"}


def test_types_are_checked_without_blanket_ignores():
    settings = tomllib.loads(text("pyproject.toml"))["tool"]["pyright"]
    assert settings["typeCheckingMode"] in ("basic", "standard", "strict")
    assert not [
        key for key, value in settings.items() if key.startswith("report") and value in (False, "none", "warning")
    ]
    for file in [*(ROOT / "src").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]:
        for line in file.read_text().splitlines():
            assert not re.search(r"#\s*type:\s*ignore|#\s*pyright:\s*(ignore(?!\[)|basic|report)", line), (
                f"{file}: {line}"
            )
