"""Files of other projects, opened without running anything in them. What cannot be opened is said in one line."""

import json
import pickle
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from saebook.common.errors import UserError


def pickled(file: Path) -> dict[str, Any]:
    """The dictionary in a `.pt` file. Raises `UserError` for any other content: code in it is never run."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # torch's own words advise to run it
        raise UserError(
            f"{file} cannot be read as tensors: it holds something else, and what would run code is not opened"
        ) from None
    except Exception as error:  # a damaged file may make the unpickler stumble anywhere
        raise UserError(f"{file} cannot be read as tensors: {_first_line(error)}") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{file} holds no dictionary of tensors")
    return dict(content)


def safe(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises `UserError` when there is none or it is damaged."""
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file} cannot be read as tensors: {_first_line(error)}") from None


def described(file: Path) -> dict[str, Any]:
    """A JSON or YAML file that holds a mapping. Raises `UserError` otherwise."""
    try:
        text = file.read_text("utf-8")
        content = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{file} cannot be read: {_first_line(error)}") from None
    if not isinstance(content, dict):
        raise UserError(f"{file} holds no mapping")
    return content


def tensors_of(content: dict[str, Any], names: dict[str, str], file: Path) -> dict[str, Tensor]:
    """Tensors of `content` by their names here: `names` has here -> there. Raises `UserError` for any that is missing."""
    missing = [there for there in names.values() if not isinstance(content.get(there), Tensor)]
    if missing:
        raise UserError(f"{file} lacks {', '.join(missing)}")
    return {here: content[there].detach() for here, there in names.items()}


def transposed(tensors: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """`tensors` with W_enc and W_dec, which are an `nn.Linear`'s, transposed. Raises `UserError` when they are no matrices."""
    for name in ("W_enc", "W_dec"):
        if tensors[name].ndim != 2:
            raise UserError(f"{file} has {name} of shape {tuple(tensors[name].shape)}, which is no matrix")
    return tensors | {name: tensors[name].T for name in ("W_enc", "W_dec")}


def number(content: dict[str, Any], name: str, file: Path) -> int | None:
    """A whole number of `content`, or None where there is none. Raises `UserError` for anything else."""
    value = content.get(name)
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise UserError(f"{file} has {name} = {value}, which is no whole number")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
