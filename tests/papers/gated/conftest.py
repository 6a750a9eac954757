"""Fixtures that tests of the Gated paper share: its published tables, and the comparison made of them."""

import pytest

from saebook.claims import results
from saebook.papers.gated import published


@pytest.fixture(scope="module")
def paper():
    return results.published("gated_tables_1_to_8")


@pytest.fixture(scope="module")
def panels(paper):
    return published.comparison(paper).set_index(published.PANEL)
