"""The house rules of notebooks and pages, checked so that they stay true."""

import ast
import re

import nbformat
import pytest
import yaml

from saebook.book import runner
from saebook.common import paths

ROOT = paths.root()
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*/*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def notebook(request):
    return nbformat.read(request.param, 4)


def code_of(notebook):
    return [c for c in notebook.cells if c.cell_type == "code"]


def lines_of(cell):
    return [line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")]


def test_a_chapter_is_short_cells_and_more_prose_than_code(notebook):
    cells = code_of(notebook)
    assert 8 <= len(cells) <= 12
    work = [c for c in cells if "parameters" not in c.metadata.get("tags", [])]
    assert max(len(lines_of(c)) for c in work) <= 12 and max(len(lines_of(c)) for c in cells) <= 14
    imports = [line for c in cells for line in lines_of(c) if re.match(r"\s*(import|from) ", line)]
    assert len(imports) <= 6
    trees = [ast.parse(c.source) for c in cells]
    assert not any(isinstance(node, ast.ClassDef) for tree in trees for node in ast.walk(tree))
    prose = " ".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    code_lines = sum(len(lines_of(c)) for c in cells)
    assert len(prose.split()) >= 10 * code_lines


def test_a_notebook_is_stored_clean(notebook):
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in code_of(notebook):
        assert not cell.outputs and cell.execution_count is None
        assert not cell.source.rstrip().endswith(";")  # nbval's kernel ignores the semicolon and sees another output


def test_parameters_are_literals_with_a_help(notebook):
    (cell,) = [c for c in code_of(notebook) if "parameters" in c.metadata.get("tags", [])]
    for line in cell.source.splitlines():
        assert re.fullmatch(r"\w+: [\w\[\], ]+ = [^#]+  # [^=]+", line), f"papermill cannot read: {line}"


def test_no_number_is_typed_in_prose(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = re.sub(
                r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\{\w+\}`[^`]*`|\([^)]*\)", "", cell.source, flags=re.DOTALL
            )
            assert not re.search(r"\d\.\d", re.sub(r"(Pythia|Gemma|GPT)-[\d.]+\w*", "", text)), cell.source[:80]


def test_figures_have_captions_and_alternative_text(notebook):
    shown = [c for c in code_of(notebook) if c.source.rstrip().endswith("figure")]
    assert shown
    for cell in shown:
        assert cell.metadata.mystnb.figure.caption and cell.metadata.mystnb.image.alt


def test_no_two_figures_of_the_book_have_one_label():
    cells = [cell for notebook in NOTEBOOKS for cell in nbformat.read(notebook, 4).cells]
    labels = [c.metadata["mystnb"]["figure"]["name"] for c in cells if "figure" in c.metadata.get("mystnb", {})]
    assert len(labels) > 20 and len(set(labels)) == len(labels)


def test_every_page_is_in_the_table_of_contents():
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    listed = {toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])}
    pages = {f"book/{p.stem}" for p in (ROOT / "book").glob("*.md")} | {f"notebooks/{name}" for name in runner.names()}
    assert listed == pages


def test_the_configuration_has_only_keys_that_are_read():
    import jupyter_book

    default = yaml.safe_load((paths.Path(jupyter_book.__file__).parent / "default_config.yml").read_text())
    ours = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert set(ours) <= set(default) | {"bibtex_bibfiles"}
    for section in ("html", "execute", "repository", "sphinx"):
        assert set(ours.get(section, {})) <= set(default[section]), section
    assert ours["execute"]["execute_notebooks"] == "off"
    assert jupyter_book.__version__.startswith("1.")
