"""The rules of notebooks and pages, checked so that they stay true."""

import ast
import re

import nbformat
import pytest
import yaml

from saebook.common import paths, sidecar

ROOT = paths.root()
NAMES = sidecar.names()


@pytest.fixture(params=NAMES)
def notebook(request):
    return nbformat.read(ROOT / "notebooks" / f"{request.param}.ipynb", 4)


def code_of(notebook):
    return [c for c in notebook.cells if c.cell_type == "code"]


def prose_of(notebook):
    return [c.source for c in notebook.cells if c.cell_type == "markdown"]


def tags_of(cell):
    return cell.metadata.get("tags", [])


def lines_of(cell):
    return [line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")]


def test_chapter_has_short_cells_and_more_prose_than_code(notebook):
    cells = code_of(notebook)
    assert 8 <= len(cells) <= 12
    work = [c for c in cells if "parameters" not in tags_of(c)]
    assert max(len(lines_of(c)) for c in work) <= 12 and max(len(lines_of(c)) for c in cells) <= 20
    imports = [line for c in cells for line in lines_of(c) if re.match(r"\s*(import|from) ", line)]
    assert len([line for line in imports if line.startswith("from saebook")]) <= 6
    trees = [ast.parse(c.source) for c in cells]
    assert not any(isinstance(node, ast.ClassDef) for tree in trees for node in ast.walk(tree))
    prose = " ".join(prose_of(notebook))
    code_lines = sum(len(lines_of(c)) for c in work)
    assert len(prose.split()) >= 8 * code_lines


def test_chapter_opens_and_closes_in_one_line_each(notebook):
    code = "\n".join(c.source for c in code_of(notebook))
    assert len(re.findall(r"^page = chapter\.open\(\"[\w/]+\", globals\(\)\)$", code, re.MULTILINE)) == 1
    assert len(re.findall(r"^page\.close\(", code, re.MULTILINE)) == 1


def test_chapter_opens_with_its_own_name():
    for name in NAMES:
        text = (ROOT / "notebooks" / f"{name}.ipynb").read_text()
        assert f'chapter.open(\\"{name}\\", globals())' in text, name
        assert f"({name.replace('/', '-').replace('_', '-')})=" in text, name


def test_plumbing_is_folded_and_the_build_adds_the_rest(notebook):
    for cell in code_of(notebook):
        plumbing = "parameters" in tags_of(cell) or "chapter.open(" in cell.source or "from saebook" in cell.source
        assert not plumbing or "hide-input" in tags_of(cell)
    prose = "\n".join(prose_of(notebook))
    assert "Run it again" not in prose and "By the end of this page" not in prose


def test_notebook_is_stored_clean(notebook):
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in code_of(notebook):
        assert not cell.outputs and cell.execution_count is None
        assert not cell.source.rstrip().endswith(";")  # nbval's kernel ignores the semicolon and sees another output


def test_parameters_are_literals_with_a_help(notebook):
    (cell,) = [c for c in code_of(notebook) if "parameters" in tags_of(c)]
    assert cell.source.startswith('tier: str = "smoke"')
    for line in cell.source.splitlines():
        assert re.fullmatch(r"\w+: [\w\[\], ]+ = [^#]+  # [^=]+", line), f"papermill cannot read: {line}"
        assert line.startswith("tier") or " = None  # " in line, line


def test_parameters_are_fields_of_the_budget():
    from saebook.book import budgets

    for name in NAMES:
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4)
        (cell,) = [c for c in code_of(notebook) if "parameters" in tags_of(c)]
        given = [line.split(":")[0] for line in cell.source.splitlines()]
        assert set(given) <= set(budgets.budget_class(name).model_fields), name
        reads_a_model = "subject" in given
        assert not reads_a_model or {"source", "context"} <= set(given), name


def test_no_number_is_typed_in_prose(notebook):
    for source in prose_of(notebook):
        text = re.sub(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\{\w+\}`[^`]*`|\([^)]*\)", "", source, flags=re.DOTALL)
        assert not re.search(r"\d\.\d", re.sub(r"(Pythia|Gemma|GPT)-[\d.]+\w*", "", text)), source[:80]


PRIVATE_WORDS = r"\b(rulers?|lanes?|laid|seals?|broken|is no [a-z]+ (that|of)|kinds? of SAE|By the end of this page)\b"


def test_prose_uses_the_fields_words(notebook):
    for source in prose_of(notebook):
        assert not re.search(PRIVATE_WORDS, source), re.search(PRIVATE_WORDS, source)


def test_figures_have_captions_and_alternative_text(notebook):
    shown = [c for c in code_of(notebook) if re.fullmatch(r"(\w*figure|summary)", c.source.rstrip().splitlines()[-1])]
    assert shown
    for cell in shown:
        assert cell.metadata.mystnb.figure.caption and cell.metadata.mystnb.image.alt


def test_figure_labels_are_unique_in_the_book():
    cells = [c for name in NAMES for c in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells]
    labels = [c.metadata["mystnb"]["figure"]["name"] for c in cells if "figure" in c.metadata.get("mystnb", {})]
    assert len(labels) > 20 and len(set(labels)) == len(labels)


@pytest.mark.parametrize("name", NAMES)
def test_sidecars_are_complete(name):
    card = sidecar.load(name)
    assert card.title[0].isupper() and len(card.title) <= 70
    for words in (card.differs, card.caveat):
        assert words.endswith(".") and 20 < len(words) < 400 and not re.search(r"\d\.\d", words), (name, words)


def test_configuration_has_only_keys_that_are_read():
    import jupyter_book

    default = yaml.safe_load((paths.Path(jupyter_book.__file__).parent / "default_config.yml").read_text())
    ours = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert set(ours) <= set(default) | {"bibtex_bibfiles"}
    for section in ("html", "execute", "repository", "sphinx"):
        assert set(ours.get(section, {})) <= set(default[section]), section
    assert ours["execute"]["execute_notebooks"] == "off"
    assert jupyter_book.__version__.startswith("1.")
