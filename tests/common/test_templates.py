"""Templates are found in their package, and escape what they are given."""

import jinja2
import pytest

from saebook.common.templates import render


def test_values_are_escaped():
    html = render("saebook.book.site", "budget.html", values=[("a<b", '"&')])
    assert "<code>a&lt;b</code>" in html and "<td>&#34;&amp;</td>" in html


def test_missing_values_and_templates_raise():
    with pytest.raises(jinja2.UndefinedError):
        render("saebook.book.site", "budget.html")
    with pytest.raises(jinja2.TemplateNotFound):
        render("saebook.book.site", "nothing.html")
