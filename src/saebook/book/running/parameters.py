"""What a notebook can be run with: read from its cell tagged `parameters`, and checked before anything runs.

A line of that cell is `layer: int = None  # help`: a literal, its type and what it means; None stands for the tier's own
value. Text from the command line takes the shape of the annotation (`0,1,2` for a list, YAML for a dictionary). What a
value of a chapter may be is stated by the type of its budget; a notebook of the reader's own is held to its annotations.
"""

import ast
import difflib
import re
import tokenize
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from saebook.common.errors import UserError
from saebook.common.notebook import cells

_PLAIN = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "list": list,
    "dict": dict,
    "tuple": tuple,
    "None": None,
}
_EXAMPLES = {
    "int": "3", "float": "0.5", "str": "text", "bool": "true", "list[int]": "0,1,2", "list[float]": "0.5,2",
    "list[str]": "a,b", "dict[str, float]": "{a: 0.5}",
}  # fmt: skip
_LONGEST = 4000  # characters of a value; a path is shorter


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell. `annotation` is its type as written."""

    name: str
    annotation: str
    default: Any
    help: str = ""

    @property
    def type(self) -> Any:
        """The annotation as a type; None is allowed where it is the default."""
        annotated = _type(ast.parse(self.annotation, mode="eval").body, self.name)
        return annotated | None if self.default is None else annotated

    def described(self, value: Any) -> str:
        """A line for a reader: `value` stands as the command line takes it."""
        return f"{self.name}: {self.annotation} = {_typed(value)}  {self.help}".rstrip()


def _typed(value: Any) -> str:
    """A value as it is typed after `-p NAME`."""
    if value is None:
        return "not set"
    if isinstance(value, list | tuple):
        return ",".join(map(_typed, value))
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_typed(one)}' for key, one in value.items())}}}"
    return str(value).lower() if isinstance(value, bool) else str(value)


class _Literals(yaml.SafeLoader):
    """YAML with the scalars of its version 1.2 only: 1e-3 is a number, 010 and 1:30 and yes are text."""

    yaml_implicit_resolvers: dict = {}


for _tag, _pattern, _first in (
    ("bool", r"true|false|True|False", "tfTF"),
    ("null", r"null|None|~|", ["n", "N", "~", ""]),
    ("int", r"[-+]?(0|[1-9]\d*)", "-+0123456789"),
    ("float", r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?\.(inf|nan)", "-+.0123456789"),
):
    _Literals.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"({_pattern})$"), list(_first))


def of(file: Path) -> list[Parameter]:
    """The parameters of a notebook. Raises `UserError` when its cell is missing or holds anything but literals."""
    tagged = [cell for cell in cells(file) if "parameters" in cell.tags]
    if len(tagged) != 1:
        raise UserError(f"{file.name} has {len(tagged)} cells tagged parameters: it needs exactly one")
    source = tagged[0].source
    try:
        body, comments = ast.parse(source).body, _comments(source)
    except (SyntaxError, ValueError, tokenize.TokenError):
        raise UserError(f"{file.name}: the parameters cell is not valid Python: mend it") from None
    return [_parameter(node, comments, file) for node in body]


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def _parameter(node: ast.stmt, comments: dict[int, str], file: Path) -> Parameter:
    try:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            name, default = node.target.id, ast.literal_eval(node.value)
            annotation = ast.unparse(node.annotation)
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name, default = node.targets[0].id, ast.literal_eval(node.value)
            annotation = type(default).__name__
        else:
            raise ValueError
        parameter = Parameter(name, annotation, default, comments.get(node.end_lineno or node.lineno, ""))
        _ = parameter.type
    except (ValueError, TypeError, RecursionError):
        raise UserError(
            f"{file.name}: line {node.lineno} of the parameters cell must assign a literal, such as: layer: int = 3"
        ) from None
    return parameter


def _type(node: ast.expr, name: str) -> Any:
    """A type from an annotation's syntax tree: plain names, `list[int]`, `int | None`."""
    if isinstance(node, ast.Constant) and node.value is None:
        return None
    if isinstance(node, ast.Name) and node.id in _PLAIN:
        return _PLAIN[node.id]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _type(node.left, name) | _type(node.right, name)
    if isinstance(node, ast.Subscript):
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        arguments = tuple(
            ... if isinstance(one, ast.Constant) and one.value is ... else _type(one, name) for one in inner
        )
        return _type(node.value, name)[arguments[0] if len(arguments) == 1 else arguments]
    raise UserError(f"parameter {name} has the type {ast.unparse(node)}: use {', '.join(_PLAIN)}, such as list[int]")


def checked(known: list[Parameter], given: dict[Any, Any]) -> dict[str, Any]:
    """The `given` values in the types of their parameters. Raises `UserError` for a name or a value that does not fit."""
    by_name = {parameter.name: parameter for parameter in known}
    values = {}
    for name, value in given.items():
        if not isinstance(name, str) or not name.isprintable():
            raise UserError(f"a parameter's name must be text, not {name!r}")
        if name not in by_name:
            near = difflib.get_close_matches(name[:80], by_name, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(by_name)}"
            raise UserError(f"unknown parameter '{name[:80]}': {hint}")
        if value is not None or by_name[name].default is not None:  # None leaves the tier's own value
            values[name] = _checked(by_name[name], value)
    return values


def _checked(parameter: Parameter, value: Any) -> Any:
    """A value in its parameter's type, from the command line's text or as it is."""
    if isinstance(value, str) and (len(value) > _LONGEST or not value.isprintable()):
        raise UserError(f"parameter {parameter.name} must be at most {_LONGEST} printable characters on one line")
    example = _EXAMPLES.get(parameter.annotation.split(" |")[0], "a literal")
    wrong = f"parameter {parameter.name} takes {parameter.annotation}, such as {example}, not {str(value)[:80]!r}"
    try:
        parsed = _parsed(parameter.annotation, value) if isinstance(value, str) else value
        strict = TypeAdapter(parameter.type, config=ConfigDict(strict=True, allow_inf_nan=False))
        typed = strict.validate_python(parsed)
    except (ValidationError, yaml.YAMLError, ValueError, TypeError, RecursionError):
        raise UserError(wrong) from None
    if any(not text.isprintable() for text in _texts(typed)):
        raise UserError(f"parameter {parameter.name} must hold printable characters only")
    return typed


def _parsed(annotation: str, text: str) -> Any:
    """Text from the command line as the value that its annotation asks for."""
    if annotation.split(" |")[0] == "str":
        return text
    if annotation.startswith(("list", "tuple")):
        bracketed = text if text.strip().startswith("[") else f"[{text}]"
        strings = annotation.startswith(("list[str", "tuple[str"))
        items = yaml.load(bracketed, Loader=yaml.BaseLoader if strings else _Literals)
        return tuple(items) if annotation.startswith("tuple") else items
    value = yaml.load(text, Loader=_Literals)
    if annotation.startswith("dict[str") and isinstance(value, dict):
        return {str(key): one for key, one in value.items()}
    return value


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for one in pair for text in _texts(one)]
    return [text for one in value for text in _texts(one)] if isinstance(value, list | tuple) else []


def read_file(file: Path) -> dict[Any, Any]:
    """Parameters from a YAML or JSON file. Raises `UserError` when it cannot be read or does not map names to values."""
    try:
        content = yaml.load(file.read_text("utf-8"), Loader=_Literals)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"parameters file {file} cannot be read ({type(error).__name__})") from None
    if not isinstance(content, dict):
        raise UserError(f"parameters file {file} must map names to values, such as layer: 3")
    return content


def pairs(given: list[tuple[str, str]]) -> dict[str, str]:
    """Parameters from `-p NAME VALUE`. Raises `UserError` when one is given twice."""
    names = [name for name, _ in given]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise UserError(f"-p {twice[0][:80]} is given twice: give it once")
    return dict(given)
