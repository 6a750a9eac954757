"""Recipes: the schedule of the rate, reading, and what is refused."""

import pytest

from saebook.common.errors import UserError
from saebook.subject.pretraining.subject_recipe import Recipe


def test_longer_run_begins_like_a_shorter_one():
    short, long = Recipe(tokens=4_000_000), Recipe(tokens=8_000_000)
    same = round(0.6 * short.steps()) - 1
    assert [short.rate(s) for s in range(same)] == [long.rate(s) for s in range(same)]
    assert short.rate(0) == 0.01 and short.rate(same) == 1.0 and short.rate(short.steps() - 1) < 0.01


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ([("layers", "0")], "recipe field layers should be greater than 0, not '0'"),
        ([("d_model", "7")], "d_model must be a multiple of heads"),
        ([("context", "0")], "recipe field context should be greater than or equal to 2, not '0'"),
        ([("vocabulary", "10")], "recipe field vocabulary should be greater than 256, not '10'"),
        ([("tokens", "0")], "recipe field tokens should be greater than 0, not '0'"),
        ([("tokens", "100")], "tokens must fill one step of 4096, and are 100"),
        ([("tokens", "many")], "recipe field tokens should be a valid integer"),
        ([("muon_lr", "nan")], "recipe field muon_lr"),
        ([("muon_lr", "-1")], "recipe field muon_lr should be greater than 0"),
        ([("colour", "red")], "a recipe has no field 'colour': it has source, vocabulary"),
    ],
)
def test_bad_recipe_is_refused_in_one_line(fields, words):
    with pytest.raises(UserError) as raised:
        Recipe.read(fields)
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_recipe_is_read_from_text():
    recipe = Recipe.read([("d_model", "64"), ("muon_lr", "1e-2"), ("source", "folder:x")])
    assert (recipe.d_model, recipe.muon_lr, recipe.source, recipe.layers) == (64, 0.01, "folder:x", 4)
