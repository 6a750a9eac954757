"""The key is folded, names its cards by their hash, and holds every card."""

import pytest

from saebook.book.site.latents import rating_key
from saebook.common.errors import UserError

RESULT = {"parameters": {}, "date": "2030-01-02", "findings": {"cards_hash": "c0ffee"}}
LINES = [
    {"card": 1, "pair": 4, "method": "gated", "seed": 0, "sparsity": 2, "l0": 27.28, "latent": 869},
    {"card": 2, "pair": 4, "method": "relu", "seed": 0, "sparsity": 1.5, "l0": 27.1, "latent": 115},
]


def test_each_set_of_cards_is_folded_under_its_hash(put):
    assert "No cards have been made yet" in rating_key.tables("cpu")
    put(name=rating_key.NAMES[0], result=RESULT, lines=LINES)
    put("cpu", "live", RESULT, LINES, rating_key.NAMES[0])
    text = rating_key.tables("cpu")
    assert text.count(":::{dropdown} Cards c0ffee (this copy, cpu tier)") == text.count("dropdown") == 1
    assert "| 1 | 5 | Gated | 0 | 2 | 27.3 | 869 |" in text and "| 2 | 5 | Baseline | 0 | 1.5 | 27.1 | 115 |" in text
    put("smoke", "live", RESULT | {"findings": {"cards_hash": "beef"}}, LINES, rating_key.NAMES[0])
    both = rating_key.tables("smoke")
    assert both.index("Cards beef (this copy, smoke tier)") < both.index("Cards c0ffee (recorded, cpu tier)")


def test_damaged_key_is_one_line(put):
    file = put(name=rating_key.NAMES[0], result=RESULT, lines=LINES)
    file.with_suffix(".csv").write_text("card\n1\n")
    with pytest.raises(UserError, match="is damaged"):
        rating_key.tables("cpu")


def test_key_among_the_findings_is_read_from_there(put):
    findings = {"cards_hash": "cafe", "card_key": [LINES[0] | {"method": "local"}, LINES[1] | {"method": "e2e+ds"}]}
    put(name=rating_key.NAMES[1], result=RESULT | {"findings": findings}, lines=[{"method": "local", "f1": 0.5}])
    text = rating_key.tables("cpu")
    assert "Cards cafe (recorded, cpu tier)" in text
    assert "| 1 | 5 | local | 0 | 2 | 27.3 | 869 |" in text and "| 2 | 5 | e2e+ds | 0 | 1.5 |" in text
