"""Parameters are read from a notebook's parameters cell, and a value that does not fit is refused."""

import json

import nbformat
import pytest

from saebook.book.running import parameters
from saebook.common.errors import UserError

PARAMETERS = """
tier: str = "smoke"  # the budget = how long it takes
seeds: list[int] = []  # several
lr: float = 3e-4  # a rate
layer: int = None  # which
names: list[str] = ["a"]
rates: dict[str, float] = None
deep: bool = False
plain = 3
"""


@pytest.fixture
def notebook(tmp_path):
    def make(source=PARAMETERS):
        cell = nbformat.v4.new_code_cell(source.strip())
        cell.metadata["tags"] = ["parameters"]
        file = tmp_path / "note.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), file)
        return file

    return make


def test_parameters_have_types_defaults_and_help(notebook):
    by_name = {parameter.name: parameter for parameter in parameters.of(notebook())}
    assert list(by_name) == ["tier", "seeds", "lr", "layer", "names", "rates", "deep", "plain"]
    seeds = by_name["seeds"]
    assert (seeds.annotation, seeds.default, seeds.help) == ("list[int]", [], "several")
    assert by_name["tier"].help == "the budget = how long it takes"
    assert by_name["layer"].described(3) == "layer: int = 3  which"
    assert by_name["layer"].described(None) == "layer: int = not set  which"
    assert by_name["layer"].type == int | None and by_name["plain"].annotation == "int"


@pytest.mark.parametrize(
    ("name", "value"),
    [("seeds", [0, 1, 2]), ("lr", 3e-4), ("names", ["x", "y"]), ("rates", {"512": 0.04, "a": 1.0}), ("deep", True)],
)
def test_described_value_can_be_typed_again(notebook, name, value):
    known = parameters.of(notebook())
    (line,) = [one.described(value) for one in known if one.name == name]
    text = line.partition(" = ")[2].partition("  ")[0]
    assert parameters.checked(known, {name: text}) == {name: value}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"seeds": "0,1,2"}, {"seeds": [0, 1, 2]}),
        ({"seeds": "[0,1]"}, {"seeds": [0, 1]}),
        ({"seeds": "4"}, {"seeds": [4]}),
        ({"lr": "1e-3"}, {"lr": 1e-3}),
        ({"lr": "1"}, {"lr": 1.0}),
        ({"lr": 1}, {"lr": 1.0}),
        ({"layer": "2"}, {"layer": 2}),
        ({"layer": None}, {}),
        ({"names": "x, y"}, {"names": ["x", "y"]}),
        ({"names": "0.50,yes"}, {"names": ["0.50", "yes"]}),
        ({"rates": "{512: 4e-2, a: 1}"}, {"rates": {"512": 0.04, "a": 1.0}}),
        ({"deep": "true"}, {"deep": True}),
        ({"tier": "007"}, {"tier": "007"}),
    ],
)
def test_values_take_their_parameters_type(notebook, given, expected):
    values = parameters.checked(parameters.of(notebook()), given)
    assert values == expected
    assert [type(v) for v in values.values()] == [type(v) for v in expected.values()]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"layr": "3"}, "unknown parameter 'layr': did you mean layer"),
        ({1: "3"}, "a parameter's name must be text, not 1"),
        ({"la\nyer": "3"}, "a parameter's name must be text"),
        ({"seeds": "abc"}, "seeds takes list.int., such as 0,1,2, not 'abc'"),
        ({"seeds": "0.5"}, "seeds takes"),
        ({"seeds": "010"}, "seeds takes"),
        ({"seeds": "[" * 3000}, "seeds takes"),
        ({"seeds": [0, True]}, "seeds takes"),
        ({"layer": "1e5"}, "layer takes int"),
        ({"layer": "True"}, "layer takes int"),
        ({"layer": "1:30"}, "layer takes int"),
        ({"lr": "nan"}, "lr takes float"),
        ({"lr": "1e999"}, "lr takes float"),
        ({"lr": float("inf")}, "lr takes float"),
        ({"lr": "fast"}, "lr takes float"),
        ({"lr": "3e-4: x"}, "lr takes float"),
        ({"rates": "0.5"}, "rates takes dict"),
        ({"rates": "{a: b"}, "rates takes dict"),
        ({"deep": "2"}, "deep takes bool"),
        ({"names": "!!python/object/apply:os.getcwd []"}, "names takes"),
        ({"tier": 3}, "tier takes str"),
        ({"tier": "a\nb"}, "tier must be at most 4000 printable characters"),
        ({"tier": b"\xff".decode("utf-8", "surrogateescape")}, "printable"),
        ({"tier": "x" * 5000}, "printable"),
        ({"names": ["a\x07"]}, "names must hold printable"),
    ],
)
def test_values_that_do_not_fit_are_refused_in_one_line(notebook, given, words):
    with pytest.raises(UserError, match=words) as refused:
        parameters.checked(parameters.of(notebook()), given)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "line",
    [
        "layer: int = max(1, 2)",
        "import os",
        "layer: int",
        "a = b = 1",
        "layer: Layer = 3",
        "layer: open = 3",
        "x = {1: [y]}",
    ],
)
def test_parameters_cell_holds_literals_of_plain_types_only(notebook, line):
    with pytest.raises(UserError, match=r"must assign a literal|has the type"):
        parameters.of(notebook(f"good: int = 1\n{line}"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a readable notebook"),
        (b"\x00\xff\xfe", "not a readable notebook"),
        (b'{"nbformat": 4, "cells": [{', "not a readable notebook"),
        (b"[]", "not a readable notebook"),
        (b'{"nbformat": 3, "cells": []}', "not a readable notebook"),
        (b'{"nbformat": 4}', "not a readable notebook"),
        (b'{"nbformat": 4, "cells": [3]}', "not a readable notebook"),
        (b'{"nbformat": 4, "cells": []}', "exactly one"),
    ],
)
def test_damaged_notebook_is_named(tmp_path, content, words):
    file = tmp_path / "note.ipynb"
    file.write_bytes(content)
    with pytest.raises(UserError, match=words):
        parameters.of(file)


def test_parameters_cell_that_is_not_python_is_named(notebook):
    with pytest.raises(UserError, match="not valid Python"):
        parameters.of(notebook("layer: int ="))
    with pytest.raises(UserError, match="not valid Python"):
        parameters.of(notebook("x = '''"))


@pytest.mark.parametrize("content", [b"layer: \xff", b"- 1\n", b"a: [", b"", b"{" * 5000])
def test_parameters_file_that_cannot_be_used_is_named(tmp_path, content):
    file = tmp_path / "given.yml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"parameters file .*given.yml (cannot be read|must map)"):
        parameters.read_file(file)


def test_parameters_file_reads_yaml_and_json(tmp_path):
    file = tmp_path / "given"
    file.write_text("lr: 1e-3\nseeds: [0, 1]\n")
    assert parameters.read_file(file) == {"lr": 1e-3, "seeds": [0, 1]}
    file.write_text(json.dumps({"layer": 2}))
    assert parameters.read_file(file) == {"layer": 2}


def test_same_parameter_twice_is_refused():
    assert parameters.pairs([("a", "1"), ("b", "2")]) == {"a": "1", "b": "2"}
    with pytest.raises(UserError, match="-p a is given twice"):
        parameters.pairs([("a", "1"), ("a", "2")])
