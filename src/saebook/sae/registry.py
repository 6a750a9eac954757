"""Architectures by name. A new one is one file of this folder: a `SAEStack` with `encode` and `loss`, and `@register`.

The registry finds the files by looking into the folder and imports them when a name is first asked for. No import leads
from here to an architecture, so a run's key covers its own architecture's source and no other's (`common.fingerprint`).
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import saebook.sae
from saebook.common.errors import UserError
from saebook.sae.base import Member, SAEStack

Stack = TypeVar("Stack", bound=SAEStack)


@dataclass(frozen=True)
class Architecture:
    """A registered architecture: its stack, what figures call it, and its colour in them."""

    name: str
    stack: type[SAEStack]
    label: str
    colour: str


_registered: dict[str, Architecture] = {}


def register(name: str, *, label: str, colour: str) -> Callable[[type[Stack]], type[Stack]]:
    """Register the decorated `SAEStack` as the architecture `name`, with its `label` and `colour` in figures.

    Raises `ValueError` when another class has that name.
    """

    def add(stack: type[Stack]) -> type[Stack]:
        other = _registered.get(name)
        if other and (other.stack.__module__, other.stack.__qualname__) != (stack.__module__, stack.__qualname__):
            raise ValueError(f"two architectures are called '{name}': {other.stack.__module__}, {stack.__module__}")
        stack.architecture = name
        _registered[name] = Architecture(name, stack, label, colour)
        return stack

    return add


def names() -> list[str]:
    """The names of all architectures, sorted."""
    _import_all()
    return sorted(_registered)


def get(name: str) -> type[SAEStack]:
    """The stack of the named architecture. Raises `UserError` for an unknown name, listing the known ones."""
    return _entry(name).stack


def build(name: str, d_in: int, d_sae: int, members: tuple[Member, ...], **options) -> SAEStack:
    """An untrained stack of the named architecture; `options` are further arguments of its constructor.

    Raises `UserError` for an unknown name, listing the known ones.
    """
    return get(name)(d_in, d_sae, members, **options)


def label(name: str) -> str:
    """The label of the named architecture in figures."""
    return _entry(name).label


def colour(name: str) -> str:
    """The colour of the named architecture in figures, as #RRGGBB."""
    return _entry(name).colour


def _entry(name: str) -> Architecture:
    _import_all()
    if name not in _registered:
        raise UserError(f"architecture '{name}' is not known: use one of {', '.join(names())}")
    return _registered[name]


@cache
def _import_all() -> None:
    """Import every module of this folder once; each registers its architectures."""
    for module in pkgutil.iter_modules(saebook.sae.__path__):
        if not module.ispkg:
            importlib.import_module(f"{__package__}.{module.name}")
