"""The build adds to a chapter the result box below its title, folded parameters, captions, and the closing sections."""

from dataclasses import replace

import nbformat
import pytest

from saebook.book import status
from saebook.book.running.runner import RunRecord
from saebook.book.site import closing, frame, result_box
from saebook.book.status import State
from saebook.claims.reruns.controls import Control, Word
from saebook.common.errors import UserError
from saebook.evaluation.intervals import Interval

NAME = "gated/fig05_pareto"


def notebook(*cells):
    return nbformat.v4.new_notebook(cells=list(cells))


TITLE = "(gated-fig05-pareto)=\n# Title\n\nProse of the first cell."
FIGURE = {"mystnb": {"figure": {"name": "f", "caption": "**Loss.**"}}}
PICTURE = nbformat.v4.new_output("display_data", data={"image/png": "aGk="})


@pytest.fixture
def page(home, tmp_path, rows):
    """The page of a finished notebook."""
    cells = [
        nbformat.v4.new_markdown_cell(TITLE),
        nbformat.v4.new_code_cell("layer: int = None", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("layer = 2", metadata={"tags": ["injected-parameters", "hide-input"]}),
        nbformat.v4.new_code_cell("figure", metadata=FIGURE, outputs=[PICTURE]),
    ]
    file = tmp_path / "page.ipynb"
    nbformat.write(notebook(*cells), file)

    def make(word=status.FRESH, tier="cpu", **fields):
        return frame.page(State(NAME, tier, word, "", 1.0, file, **fields), tier, rows(tier), lambda result: ())

    return make


def test_box_follows_the_title_and_precedes_the_prose(page):
    sources = [cell.source for cell in page().cells]
    assert sources[0] == "(gated-fig05-pareto)=\n# Title"
    assert sources[1].startswith('<div class="result-box"') and sources[2] == "Prose of the first cell."
    assert sources[-1].startswith("## This copy beside the recorded result")
    nbformat.validate(page())


def test_parameters_are_folded_under_a_line_that_names_them(page):
    tagged = [cell for cell in page().cells if cell.metadata.get("tags")]
    assert all(cell.metadata.tags.count("hide-input") == 1 for cell in tagged)
    assert [cell.metadata["mystnb"]["code_prompt_show"] for cell in tagged] == [
        "Parameters that can be changed: show", "Parameters of this run: show",
    ]  # fmt: skip


def test_caption_names_the_papers_figure_once(home):
    book = notebook(nbformat.v4.new_code_cell("f", metadata={"mystnb": {"figure": {"caption": "**Loss.**"}}}))
    for _ in range(2):
        frame.name_figures(book, NAME)
        assert book.cells[0].metadata.mystnb.figure.caption == "Figure 5 of the paper, replicated. **Loss.**"


def test_figure_that_was_never_drawn_keeps_no_label():
    book = notebook(nbformat.v4.new_code_cell("figure", metadata={"mystnb": {"figure": {"name": "f"}}}))
    frame.without_empty_figures(book)
    assert "mystnb" not in book.cells[0].metadata


@pytest.mark.parametrize("content", ["", "{", '{"cells": [', "[]", '{"nbformat": 4}', "\x00\xff"])
def test_notebook_that_cannot_be_read_becomes_a_page_that_says_so(home, tmp_path, content):
    file = tmp_path / "bad.ipynb"
    file.write_text(content)
    book = frame.page(State(NAME, "cpu", status.FAILED, "x", None, file), "cpu", [], lambda result: ())
    assert book.cells[0].source.startswith("(gated-fig05-pareto)=\n# T\n") and "cannot be shown" in book.cells[0].source
    with pytest.raises(UserError, match="not a readable notebook"):
        frame.read(file)


KILLED = RunRecord(NAME, "cpu", "killed", "the `kernel` died", 3.0, 4, {})


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State(NAME, "cpu", status.NEVER, "", None), "has not been run"),
        (
            State(NAME, "cpu", status.FAILED, "", 3.0, "f", KILLED),
            "did not finish (`killed`: `the 'kernel' died`). 4 cells",
        ),
        (State(NAME, "cpu", status.FAILED, "", 3.0, "f", KILLED, True), "shows the run before it"),
        (State(NAME, "cpu", status.FAILED, "n.ipynb is damaged", None), "cannot be run: `n.ipynb is damaged`"),
        (
            State(NAME, "cpu", status.STALE, "changed since: library", 3.0, "f", KILLED),
            "stale (changed since: library)",
        ),
    ],
)
def test_page_shows_the_state_of_its_notebook(state, words):
    assert words in frame.notice(state)


def test_finished_page_carries_no_notice():
    assert frame.notice(State(NAME, "cpu", status.FRESH, "", 1.0, "f", KILLED)) == ""


def test_text_of_records_cannot_break_a_page():
    assert frame.in_text("a `b`\n| c <script> $x$ [l](u)") == "a \\`b\\` \\| c \\<script\\> \\$x\\$ \\[l\\](u)"
    assert frame.in_code("a `b`\n c") == "a 'b' c"


# The result box -----------------------------------------------------------------------------------------------------------


def test_box_shows_the_recorded_verdict_labelled_as_recorded(rows):
    html = result_box.box(NAME, rows(), "cpu")
    assert '<span class="verdict" data-verdict="replicates">replicates</span> Half &lt;as&gt; many.' in html
    assert (
        "L0 ratio: <strong>0.52, 95 % interval 0.37 to 0.64</strong>; the paper: 0.5 (&#34;half&#34;); "
        "holds if the whole interval is within 0.35 to 0.65, partly if it is wholly outside but below the null value 1. "
        in html
    )
    assert "; recorded, cpu tier, 2030-01-02)" in html and "has not run this page at the cpu tier" in html
    assert "<b>Differs from the paper:</b> Size." in html and "Luck &amp; &lt;all&gt;." in html and "\n\n" not in html


def test_smoke_run_concludes_nothing_and_shows_the_recorded_verdict(rows, put):
    put("smoke", 3.0)
    html = result_box.box(NAME, rows("smoke"), "smoke")
    assert "only made a smoke run" in html and 'data-verdict="replicates"' in html and "3.0" not in html


def test_own_run_comes_first_where_it_can_judge(rows, put):
    put("cpu", 0.9)
    html = result_box.box(NAME, rows(), "cpu")
    assert 'data-verdict="does not replicate"' in html and "; this copy, cpu tier, 2030-01-02)" in html
    assert "recorded" not in html and "0.90, 95 % interval 0.80 to 1.00" in html


def test_box_says_what_the_claim_is_on_random_weights(rows):
    def box(control):
        return result_box.box(NAME, [replace(row, control=control) for row in rows()], "cpu")

    there = Control("does not replicate", Interval(0.97, 0.94, 1.01, 3), stale=("library",))
    words = "On random weights: 0.97 (0.94 to 1.01), does not replicate. "
    assert words + '<span class="origin">(recorded, cpu tier; stale: library changed)</span>' in box(there)
    assert "On random weights: not measured.</p>" in box(Control(Word.NOT_MEASURED))
    assert "undefined there (no &lt;value&gt;)." in box(Control(Word.UNDEFINED, None, "no <value>"))
    assert "random weights" not in box(None) + box(Control(Word.NOT_APPLICABLE))


def test_stale_verdict_and_chapter_without_claims_say_so(rows):
    assert "stale: library changed" in result_box.box(NAME, rows(stale=["library"]), "cpu")
    assert "judges no claim" in result_box.box("gated/other", rows(), "cpu")


# The closing sections -----------------------------------------------------------------------------------------------------


def test_closing_has_recorded_result_cost_commands_and_budget(home):
    text = closing.sections(NAME, "cpu", lambda result: ())
    assert "<td>L0 ratio</td><td>none</td><td>0.52 (0.37 to 0.64)</td><td></td>" in text
    assert "a &lt;processor&gt;" in text and "<processor>" not in text
    assert "saebook run gated/fig05_pareto --tier cpu -p layer 2 -p seeds 5,6,7\n" in text
    assert "<td>61 s</td><td>812 MB</td><td>24</td>" in text and "<td>0, 1</td>" in text
    assert "{download}`JSON <../../results/recorded/cpu/gated/fig05_pareto.json>`" in text
    assert "has no result yet" in closing.sections("gated/other", "cpu", lambda result: ())


def test_closing_compares_this_copy_with_the_record_of_the_same_tier(home, put):
    put("cpu", 0.523, live={"ratio": {"mean": 0.523, "low": 0.371, "high": 0.639, "n": 3}})
    assert "<td>0.52 (0.37 to 0.64)</td><td>0.52 (0.37 to 0.64)</td><td>equal</td>" in closing.sections(
        NAME, "cpu", lambda r: ()
    )
    put("cpu", 0.6)
    text = closing.sections(NAME, "cpu", lambda result: ("library",))
    assert "<td>differs</td>" in text and "stale: library changed" in text
    put("smoke", 0.6)
    assert "<td>different tiers</td>" in closing.sections(NAME, "smoke", lambda result: ())
