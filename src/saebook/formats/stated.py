"""What the user says of a file that does not say it itself. A convention is stated by one of the two, or refused."""

import math
from dataclasses import dataclass, fields
from typing import Any

from saebook.common.errors import UserError
from saebook.formats.portable import Origin

NORMALISATIONS = {"none": False, "layer_norm": True}  # SAELens' names -> whether each token is normalised
_ORIGIN = {"model_name", "hook_name"}  # what no function depends on


@dataclass(frozen=True)
class Stated:
    """Conventions by the user. None: not said, so the file has to. Raises `UserError` for values that cannot be.

    `architecture` is a name of the library that wrote the file. `k` latents are active in a token. `apply_b_dec_to_input`:
    the encoder sees x - b_dec. `normalize_activations` is "none" or "layer_norm", of each token. `input_scale`: the SAE was
    trained on activations times that. `hook_name` chooses among several SAEs, and is kept; `model_name` is kept.
    """

    architecture: str | None = None
    k: int | None = None
    apply_b_dec_to_input: bool | None = None
    normalize_activations: str | None = None
    input_scale: float | None = None
    hook_name: str | None = None
    model_name: str | None = None

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 1:
            raise UserError(f"k must be a whole number from 1, not {self.k}")
        if self.normalize_activations not in (None, *NORMALISATIONS):
            raise UserError(
                f"normalize_activations must be {' or '.join(NORMALISATIONS)}, not '{self.normalize_activations}'"
            )
        if self.input_scale is not None and not 0 < self.input_scale < math.inf:
            raise UserError(f"input_scale must be a finite number above 0, not {self.input_scale}")

    def settle(self, name: str, by_file: Any, where: object, means: str) -> Any:
        """The convention `name`: what the file says, or else what the user does.

        Raises `UserError` when neither says it, naming what it `means`, and when they contradict each other.
        """
        given = getattr(self, name)
        if isinstance(by_file, list | dict):
            raise UserError(f"{where} has {name} = {by_file}, which is no single value")
        if by_file is None and given is None:
            raise UserError(f"{where} does not say {means}: state it ({flag(name)})")
        if None not in (by_file, given) and by_file != given:
            raise UserError(f"{where} says {name} = {by_file}, and you say {given}: leave {flag(name)} out")
        return given if by_file is None else by_file

    def only(self, library: str, *names: str) -> None:
        """Raise `UserError` when something is stated that files of `library` have no use for, or always say themselves."""
        for field in fields(self):
            if getattr(self, field.name) is not None and field.name not in {*names, *_ORIGIN}:
                raise UserError(f"{flag(field.name)} does not go with a file of {library}: leave it out")

    def origin(self, model_name: object, hook_name: object) -> Origin:
        """What the SAE was made for: as the user says, or else the file."""
        return Origin(self.model_name or _text(model_name), self.hook_name or _text(hook_name))


NOTHING = Stated()


def flag(name: str) -> str:
    """The command line's option for the convention `name`."""
    return f"--{name.replace('_', '-')}"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
