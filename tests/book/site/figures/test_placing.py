"""A chapter's page with its figure: drawn, or the recorded picture, and downloads that are there."""

import re

import nbformat
import pytest

from saebook.book.site.figures import placing
from saebook.claims import results

NAME = "gated/fig05_pareto"
FIGURE = {"mystnb": {"figure": {"name": "f", "caption": "**Loss <a> over $L_0$.** Left."}}, "tags": ["hide-input"]}
OWN = nbformat.v4.new_output("display_data", data={"image/png": "b3du"})


@pytest.fixture
def book():
    cells = [
        nbformat.v4.new_code_cell("other\nother", metadata={"mystnb": {"figure": {"caption": "**First.**"}}}),
        nbformat.v4.new_code_cell("figure = draw()\nfigure", metadata=FIGURE, outputs=[OWN]),
        nbformat.v4.new_code_cell("page.close(table, live, {'a': 1}, figure)"),
    ]
    return nbformat.v4.new_notebook(cells=cells)


@pytest.fixture
def points(home, sweep):
    file = results.file(NAME, "cpu").with_suffix(".csv")
    sweep.to_csv(file, index=False)
    file.with_suffix(".png").write_bytes(b"picture")
    return file


def pictures(book):
    return [output.data["image/png"].strip() for cell in book.cells for output in cell.get("outputs", [])]


def test_figure_is_drawn_before_the_notebooks_picture_which_is_folded(book, points):
    placing.place(book, "gated/knob_made_up", "smoke")
    assert [cell.cell_type for cell in book.cells] == ["code"] * 3  # no result of that name
    points.rename(points.with_name("knob_made_up.csv"))
    for suffix in (".json", ".png"):
        points.with_suffix(suffix).rename(points.with_name(f"knob_made_up{suffix}"))
    placing.place(book, "gated/knob_made_up", "smoke")
    assert [cell.cell_type for cell in book.cells] == ["code", "markdown", "markdown", "code", "code"]
    figure, row, cell = book.cells[1:4]
    assert figure.source.startswith('<figure class="drawn-figure"') and "\n\n" not in figure.source
    assert "Figure 5 of the paper, replicated. Loss &lt;a&gt; over L_0." in figure.source
    assert "(recorded, cpu tier, 2030-01-02)" in figure.source and figure.source.count("<figure") == 1
    assert re.findall(r"recorded/cpu/gated/knob_made_up\.(\w+)>", row.source) == ["svg", "png", "csv", "json"]
    assert cell.metadata.tags == ["hide-cell"] and "picture" in cell.metadata.mystnb.code_prompt_show
    assert pictures(book) == ["cGljdHVyZQ=="]
    nbformat.validate(book)


def test_picture_that_shows_more_is_not_folded(book, points):
    placing.place(book, NAME, "smoke")
    assert book.cells[3].metadata.tags == ["hide-input"]


def test_chapter_without_a_figure_shows_the_recorded_picture_and_its_downloads(book, points, sweep):
    sweep.drop(columns="loss_recovered").to_csv(points, index=False)
    placing.place(book, NAME, "smoke")
    assert [cell.cell_type for cell in book.cells] == ["code", "code", "markdown", "code"]
    assert pictures(book) == ["cGljdHVyZQ=="]
    assert re.findall(r"fig05_pareto\.(\w+)>", book.cells[2].source) == ["png", "csv", "json"]


def test_own_result_leaves_the_notebooks_picture(book, points, put, sweep):
    put("cpu", 0.5)
    sweep.to_csv(results.file(NAME, "cpu", "live").with_suffix(".csv"), index=False)
    placing.place(book, NAME, "cpu")
    assert pictures(book) == ["b3du"] and "(this copy, cpu tier, 2030-01-02)" in book.cells[1].source
    assert re.findall(r"live/cpu/gated/fig05_pareto\.(\w+)>", book.cells[2].source) == ["svg", "csv", "json"]


def test_page_that_was_not_run_shows_the_recorded_picture(book, points):
    book.cells[1].outputs = []
    placing.place(book, NAME, "cpu")
    assert pictures(book) == ["cGljdHVyZQ=="]


def test_figure_is_the_one_that_the_result_keeps(book):
    assert placing.figure_cell(book) is book.cells[1]
    book.cells[2].source = "page.close(\n    table, live, {}, other\n)"
    assert placing.figure_cell(book) is book.cells[0]
    book.cells[2].source = ""
    assert placing.figure_cell(book) is book.cells[0] and placing.figure_cell(nbformat.v4.new_notebook()) is None


def test_captions_are_plain_text(home):
    def caption(text):
        cell = nbformat.v4.new_code_cell("f", metadata={"mystnb": {"figure": {"caption": text}}})
        return placing.caption(cell, NAME)

    assert caption("**The paper's Figure 5, made again.** Left.") == "The paper's Figure 5, made again."
    assert caption("**By {ref}`the grid <label>` of `L0`.**") == "Figure 5 of the paper, replicated. By the grid of L0."
    assert caption("No title.") == "Figure 5 of the paper, replicated."


def test_files_that_pages_offer_are_written(points, tmp_path):
    placing.write([NAME, "gated/unknown"], "smoke", tmp_path / "offered")
    home = tmp_path / "offered" / "recorded" / "cpu" / "gated"
    assert sorted(file.name for file in home.iterdir()) == ["fig05_pareto.png", "fig05_pareto.svg"]
    assert home.joinpath("fig05_pareto.svg").read_text("utf-8").startswith("<svg xmlns")
