"""The rows that judge and the rows that choose: disjoint, random, and the same for everyone."""

import numpy as np
import pytest

from saebook.common.errors import UserError
from saebook.text import held_out
from saebook.text.held_out import CHOOSING, JUDGING, places


@pytest.mark.parametrize("total", [2, 3, 10, 881])
def test_parts_share_no_row_and_leave_none_out(total):
    judging, choosing = places(total, JUDGING), places(total, CHOOSING)
    assert sorted([*judging, *choosing]) == list(range(total))
    assert 0 < len(choosing) <= max(1, total / 3)


def test_rows_come_from_all_over_the_text():
    drawn = places(900)[:100]
    assert np.bincount(drawn // 300, minlength=3).min() > 20  # the first rows alone would fill one third
    assert (np.sort(drawn) != drawn).any()


def test_more_rows_contain_the_fewer_and_the_text_is_as_it_was(monkeypatch):
    rows = np.arange(40).reshape(20, 2)
    monkeypatch.setattr(held_out, "tokens", lambda source, tokenizer, split, context: rows)
    few, many = (held_out.held_out("any", None, 2, count) for count in (3, 8))
    assert (many[:3] == few).all() and all((row == rows).all(1).any() for row in many)
    every = [held_out.held_out("any", None, 2, None, part) for part in (JUDGING, CHOOSING)]
    assert len(np.unique(np.concatenate(every), axis=0)) == 20


def test_text_of_one_row_cannot_choose_and_judge():
    with pytest.raises(UserError, match="at least 2"):
        places(1)
