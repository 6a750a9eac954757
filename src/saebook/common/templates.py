"""Jinja2 templates, which lie in the folder `templates` of the package that uses them and are shipped with it."""

import functools
import importlib.resources
from typing import Any


def render(package: str, name: str, /, **values: Any) -> str:
    """The template `name` of `package`, filled in. Every value is escaped for HTML unless it is marked as safe.

    Raises `jinja2.UndefinedError` when a value that the template uses is missing.
    """
    return _environment(package).get_template(name).render(**values)


@functools.cache
def _environment(package: str):
    import jinja2  # loaded late: most commands render nothing

    def source(name: str) -> str | None:
        file = importlib.resources.files(package) / "templates" / name
        return file.read_text("utf-8") if file.is_file() else None

    return jinja2.Environment(
        loader=jinja2.FunctionLoader(source), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip
