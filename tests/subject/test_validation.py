"""The evidence of a subject needs a recipe that can be read."""

import pytest

from saebook.common.errors import UserError
from saebook.subject import validation
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
