"""Tables of a notebook have names for readers; what is no name in code stays as it is."""

import re

import nbformat
import pandas as pd
import pytest

from saebook.book.site.figures import relabelled


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("l0", "L0"), ("loss_recovered", "loss recovered"), ("ce_increase", "added loss"), ("d_sae", "latents"), ("topk", "TopK"),
        ("relu", "baseline (ReLU + L1)"), ("attn_z", "attention, before W_O"), ("b_gate", "b_gate"), ("mean", "mean"), ("cosine", "cosine"), ("Gated", "Gated"),
    ],
)  # fmt: skip
def test_names_in_code_become_names_for_readers(word, words):
    assert relabelled.name(word) == words


def test_only_tables_are_changed():
    table = pd.DataFrame(
        {"method": ["relu", "a < b"], "loss_recovered": [0.9, 0.8], "l0_at_end": [1.0, 2.0], "b_gate": [1, 2]}
    )
    html = table.set_index("method").reset_index().to_html()
    code = nbformat.v4.new_code_cell(
        "table.l0",
        outputs=[
            nbformat.v4.new_output("display_data", data={"text/html": html}),
            nbformat.v4.new_output("display_data", data={"text/html": "<table><tr><td>relu</td></tr></table>"}),
        ],
    )
    book = nbformat.v4.new_notebook(cells=[code, nbformat.v4.new_markdown_cell("`l0`")])
    relabelled.relabel(book)
    shown, other = (output.data["text/html"] for output in book.cells[0].outputs)
    heads = re.findall("<th>([^<]+)</th>", shown)
    assert heads[:4] == ["method", "loss recovered", "L0 at end", "b_gate"]
    assert "<td>baseline (ReLU + L1)</td>" in shown and "a &lt; b" in shown
    assert other == "<table><tr><td>relu</td></tr></table>" and book.cells[0].source == "table.l0"
