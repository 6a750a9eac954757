"""A convention is said by the file or by the user, never by neither and never by both in two ways."""

import pytest

from saebook.common.errors import UserError
from saebook.formats.portable import Origin
from saebook.formats.stated import Stated


def test_one_of_the_two_says_it():
    assert Stated(k=4).settle("k", None, "a file", "k") == 4
    assert Stated().settle("k", 4, "a file", "k") == 4
    assert Stated(k=4).settle("k", 4, "a file", "k") == 4
    assert Stated().settle("apply_b_dec_to_input", False, "a file", "it") is False
    with pytest.raises(UserError, match=r"^a file does not say how many: state it \(--k\)$"):
        Stated().settle("k", None, "a file", "how many")
    with pytest.raises(UserError, match="a file says k = 4, and you say 5: leave --k out"):
        Stated(k=5).settle("k", 4, "a file", "k")


def test_what_a_format_has_no_use_for_is_refused():
    Stated(k=4, hook_name="blocks.1", model_name="gpt2").only("sparsify", "k")
    with pytest.raises(UserError, match="--apply-b-dec-to-input does not go with a file of sparsify"):
        Stated(apply_b_dec_to_input=False).only("sparsify", "k")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"k": 0}, "k must be a whole number from 1, not 0"),
        ({"normalize_activations": "batch"}, "must be none or layer_norm, not 'batch'"),
        ({"input_scale": 0.0}, "input_scale must be a finite number above 0"),
        ({"input_scale": float("nan")}, "input_scale must be a finite number above 0"),
    ],
)
def test_values_that_cannot_be(values, message):
    with pytest.raises(UserError, match=message):
        Stated(**values)


def test_the_user_has_the_last_word_on_what_it_was_made_for():
    assert Stated(hook_name="mine").origin("gpt2", "theirs") == Origin("gpt2", "mine")
    assert Stated().origin(None, ["blocks.1", "blocks.2"]) == Origin(None, None)
