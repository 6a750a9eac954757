"""The rating form."""

from saebook.plotting.rating import form
from saebook.plotting.rating.cards import Card, Context


def test_form_hides_the_architecture_and_escapes_markup():
    context = Context(("<script>alert(1)</script>", "\n", "b"), (0.5, 0.0, 1.0))
    shown = form.form([Card((context,), 0.01, (3, 1), 1.0, ("<b>",))], "c0ffee").html
    assert "alert(1)" in shown and "<script>alert" not in shown and "<code>&lt;b&gt;</code>" in shown
    assert not any(word in shown.lower() for word in ("gated", "relu", "baseline")) and 'data-hash="c0ffee"' in shown


def test_form_has_a_way_on_from_each_card_and_takes_the_page_s_colours():
    card = Card((Context(("a",), (1.0,)),), 0.01, (1,), 1.0, ())
    shown = form.form([card, card], "c0ffee").html
    assert shown.count('class="next" hidden') == shown.count('class="previous" hidden') == 2  # a script shows them
    assert "var(--pst-color-text-base" in shown and "localStorage.setItem" in shown
