"""The register of open questions: every choice has its reason, and an effect is read, never typed."""

import json

import pytest
import yaml

from saebook.claims import choices
from saebook.common.errors import UserError


@pytest.fixture
def register(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "_config.yml").write_text("")
    monkeypatch.setenv("SAEBOOK_HOME", str(tmp_path))

    def write(**row):
        good = {"question": "Rate", "paper": "gated", "says": "nothing", "here": "tuned", "why": "fair"}
        (tmp_path / "data" / "choices.yml").write_text(yaml.safe_dump([good | row]))
        return tmp_path

    return write


def test_the_books_own_register_is_whole():
    rows = choices.load()
    assert len(rows) >= 25 and {paper for row in rows for paper in row.papers} == {"gated", "topk", "e2e"}
    assert len({row.question for row in rows}) == len(rows)
    assert "not measured" in choices.table() and "{value" not in choices.table()


def test_an_effect_comes_from_its_result(register):
    effect = {"result": "cpu/gated/t", "path": ["penalty", "0.1"], "says": "{value:.1f} times"}
    home = register(effect=[effect])
    assert "| not measured |" in choices.table()
    file = home / "data" / "results" / "cpu" / "gated" / "t.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"findings": {"penalty": {"0.1": 3.26}}}))
    assert "| 3.3 times |" in choices.table()
    file.write_text(json.dumps({"findings": {}}))
    with pytest.raises(UserError, match=r"holds no penalty\.0\.1"):
        choices.table()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"why": ""}, "needs its reason"),
        ({"paper": "gated, other"}, "no paper other"),
        ({"hear": 1}, "unknown keys hear"),
    ],
)
def test_a_row_that_means_nothing_is_refused(register, row, words):
    register(**row)
    with pytest.raises(UserError, match=words):
        choices.load()


def test_what_is_open_stands_apart(register):
    register(here="", why="")
    assert choices.table().index("Open, because") < choices.table().index("Rate")
