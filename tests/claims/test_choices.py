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


def test_register_of_the_book_is_valid():
    rows = choices.load()
    assert len(rows) >= 25 and {paper for row in rows for paper in row.papers} == {"gated", "topk", "e2e"}
    assert len({row.question for row in rows}) == len(rows)
    assert "not measured" in choices.table() and "{value" not in choices.table()


def test_effects_are_read_from_recorded_results(register):
    effect = {"result": "cpu/gated/t", "path": ["penalty", "0.1"], "says": "{value:.1f} times"}
    home = register(effect=[effect])
    assert "| not measured |" in choices.table()
    file = home / "data" / "results" / "cpu" / "gated" / "t.json"
    file.parent.mkdir(parents=True)
    result = {"parameters": {}, "date": "2030-01-02", "findings": {"penalty": {"0.1": 3.26}}}
    file.write_text(json.dumps(result))
    assert "| 3.3 times |" in choices.table()
    file.write_text(json.dumps(result | {"findings": {"penalty": {"0.1": "three"}}}))
    with pytest.raises(UserError, match="cannot show 'three'"):
        choices.table()
    for findings in ({}, {"penalty": 3}):
        file.write_text(json.dumps(result | {"findings": findings}))
        with pytest.raises(UserError, match=r"does not hold penalty\.0\.1"):
            choices.table()
    file.write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        choices.table()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"why": ""}, "needs its reason"),
        ({"paper": "gated, other"}, "paper other is not known"),
        ({"hear": 1}, "Rate: hear: Extra inputs"),
        ({"says": None}, "Rate: says"),
        ({"effect": [{"result": "t", "path": ["a"], "says": "{value}"}]}, r"effect\.0\.result"),
        ({"effect": [{"result": "cpu/gated/t", "path": ["a"], "says": "no number"}]}, r"effect\.0\.says"),
        ({"effect": [{"result": "../../x/y", "path": ["a"], "says": "{value}"}]}, r"effect\.0\.result"),
    ],
)
def test_invalid_row_is_refused(register, row, words):
    register(**row)
    with pytest.raises(UserError, match=words) as refused:
        choices.load()
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "choices.yml cannot be read"),
        (b"", "must be a list"),
        (b"a: 1", "must be a list"),
        (b"- just words", "must map names to values"),
        (b"- question: [", "not valid YAML"),
        (b"- question: \xff\xe9", "cannot be read"),
        (b"- !!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_damaged_register_is_named_in_one_line(register, content, words):
    file = register() / "data" / "choices.yml"
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(UserError, match=words) as refused:
        choices.load()
    assert str(refused.value).isprintable()


def test_open_questions_have_a_table_of_their_own(register):
    register(here="", why="")
    assert choices.table().index("Open, because") < choices.table().index("Rate")
