"""The rating form."""

from saebook.papers.gated.human_study import form
from saebook.papers.gated.human_study.cards import Card, Context


def test_form_hides_the_architecture_and_escapes_markup():
    context = Context(("<script>alert(1)</script>", "\n", "b"), (0.5, 0.0, 1.0))
    shown = form.form([Card((context,), 0.01, (3, 1), 1.0, ("<b>",))], "c0ffee").html
    assert "alert(1)" in shown and "<script>alert" not in shown and "<code>&lt;b&gt;</code>" in shown
    assert not any(word in shown.lower() for word in ("gated", "relu", "baseline")) and 'data-hash="c0ffee"' in shown
