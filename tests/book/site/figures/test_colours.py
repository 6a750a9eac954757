"""Every method's colour can be told from the page, light or dark."""

import pytest

from saebook.book.site.figures import colours
from saebook.plotting import style
from saebook.sae import registry


def test_contrast_is_that_of_wcag():
    assert colours.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert colours.contrast("#777777", "#ffffff") == pytest.approx(
        4.48, abs=0.01
    )  # the example that WCAG's tools print


@pytest.mark.parametrize("ground", [colours.LIGHT, colours.DARK])
def test_colours_of_all_architectures_stand_out(ground):
    for name in [*registry.names(), "baseline", "local", "e2e", "e2e+ds", "rescaled", "pruned_relu"]:
        own = style.look(name).colour
        made = colours.readable(own, ground)
        assert colours.contrast(made, ground) >= 3, name
        if colours.contrast(own, ground) >= colours.LEAST:
            assert made == own.lower()
