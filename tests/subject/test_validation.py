"""The evidence of a subject needs a recipe that can be read, and tells the texts of a mixture apart."""

import random

import pytest

from saebook.common.errors import UserError
from saebook.subject import validation
from saebook.subject.model import Subject
from saebook.subject.pretraining import pretrain


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain.paths, "data", lambda: tmp_path)
    made = tmp_path / "subjects" / "tiny"
    made.mkdir(parents=True)
    return made


def test_subject_without_a_recipe_is_refused(folder):
    with pytest.raises(UserError, match="saebook subject train tiny"):
        validation.evidence("tiny")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"recipe": {"source": "environment"}}', '{"recipe": 3}'])
def test_damaged_recipe_is_refused_in_one_line(folder, content):
    (folder / "RECIPE.json").write_text(content)
    with pytest.raises(UserError, match="is damaged: restore it with"):
        validation.evidence("tiny")


def test_texts_of_a_mixture_are_measured_apart(tmp_path, monkeypatch, text_folder):
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "cache"))
    easy = tmp_path / "easy"
    easy.mkdir()
    words, drawn = (
        ["the", "function", "returns", "an", "array", "of", "its", "input", "and", "a", "list"],
        random.Random(0),
    )
    for number in range(200):
        (easy / f"{number}.txt").write_text(" ".join(drawn.choices(words, k=120)))
    hard, subject = f"folder:{text_folder}", Subject.load(validation._OWN, device="cpu")
    measured = validation.by_text(subject, f"{hard}+folder:{easy}")
    assert list(measured) == [hard, f"folder:{easy}"]
    assert all(one["bits_per_byte"] == one["own_bits_per_byte"] for one in measured.values())
    assert measured[f"folder:{easy}"]["bits_per_byte"] < 0.7 * measured[hard]["bits_per_byte"]
    assert validation.by_text(subject, hard) == {}
