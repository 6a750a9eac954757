"""Sortable tables hold what they are given, escaped, and need no network."""

import pandas as pd

from saebook.plotting import widgets


def test_sortable_table_shows_rounds_and_escapes():
    table = pd.DataFrame({"name": ["<b>", "a"], "number": [2.0, 10.123456789]})
    html = widgets.sortable(table, "mine", "All of it", pd.Series([True, False])).html
    assert "&lt;b&gt;" in html and "<b>" not in html and '<tr class="optimal"><td>' in html
    assert 'data-value="10.123456789">10.123<' in html and html.count("<button") == 2 and 'id="mine"' in html
    assert 'download="mine.csv"' in html and "http" not in html


def test_sortable_table_leaves_a_missing_number_empty():
    html = widgets.sortable(pd.DataFrame({"x": [float("nan")]}), "t", "c").html
    assert 'data-value="nan"></td>' in html
