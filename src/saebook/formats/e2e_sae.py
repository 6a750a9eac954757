"""Files of e2e_sae (Apollo): `samples_N.pt` with the SAEs of one run, one for each position, beside `final_config.yaml`.

One function: f(x) = ReLU(W_enc x + b_enc), decoded by rows that are normalised as they are used. A position is written with
hyphens where a hook's name has points.
"""

import math
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.nn import functional as F

from saebook.common import files
from saebook.common.errors import UserError
from saebook.formats import opening, portable
from saebook.formats.portable import NOWHERE, Origin, PortableSAE, refuse
from saebook.formats.stated import NOTHING, Stated, flag
from saebook.sae.base import SAEStack

LIBRARY = "e2e_sae"
CONFIG = "final_config.yaml"
_NAMES = {"W_enc": "encoder.0.weight", "b_enc": "encoder.0.bias", "W_dec": "decoder.weight", "b_dec": "decoder.bias"}


def recognises(path: Path, content: dict[str, Any] | None = None) -> bool:
    """Whether the folder `path`, or a file with this `content`, looks like one of this library."""
    return (path / CONFIG).is_file() and any(path.glob("*.pt")) if content is None else bool(_positions(content))


def read(path: Path | str, stated: Stated = NOTHING) -> SAEStack:
    """A stack of one. `stated.hook_name` chooses among several positions.

    Raises `UserError` for damaged files, other tensors, and several positions of which none is chosen.
    """
    return portable.to_stack(parse(Path(path), stated)[0])


def parse(path: Path, stated: Stated) -> tuple[PortableSAE, Origin, str]:
    """The SAE of `path`, what it was made for, and the name of its class."""
    stated.only(LIBRARY)
    file = _weights(path)
    content = opening.pickled(file)
    positions = _positions(content)
    refuse(
        not positions, file, f"has the tensors of no SAE of this library: {', '.join(sorted(content)[:8]) or 'none'}"
    )
    hooks = {position.replace("-", "."): position for position in positions}
    hook = stated.hook_name or (next(iter(hooks)) if len(hooks) == 1 else None)
    refuse(hook is None, file, f"holds SAEs of {', '.join(hooks)}: choose one ({flag('hook_name')})")
    refuse(hook not in hooks, file, f"holds no SAE of {hook}, only of {', '.join(hooks)}")
    names = {here: f"{hooks[str(hook)]}.{there}" for here, there in _NAMES.items()}
    tensors = opening.transposed(opening.tensors_of(content, names, file), file)
    sae = portable.checked(PortableSAE("relu", tensors, centred=False), file)
    normalised = F.normalize(sae.tensors["W_dec"].double(), dim=1).to(sae.tensors["W_dec"].dtype)
    sae = PortableSAE("relu", sae.tensors | {"W_dec": normalised}, centred=False)
    config = file.with_name(CONFIG)
    described = opening.described(config) if config.is_file() else {}
    return sae, stated.origin(described.get("tlens_model_name"), hook), "SAE"


def write(stack: SAEStack, path: Path | str, i: int = 0, origin: Origin = NOWHERE) -> None:
    """Write member i of `stack` into the folder `path`, for the position `origin.hook_name`.

    Raises `UserError` without one, for any SAE but a ReLU, and for one that normalises its tokens.
    """
    sae = portable.from_stack(stack, i)
    refuse(
        sae.kind != "relu", LIBRARY, f"has no architecture that computes '{stack.architecture}': choose another format"
    )
    refuse(sae.per_token, LIBRARY, "has no SAE that normalises each token: choose another format")
    if not origin.hook_name:
        raise UserError(f"{LIBRARY} names an SAE by its hook: state it ({flag('hook_name')})")
    sae = sae.with_unit_rows().centred_as(False)
    tensors = sae.tensors | {name: sae.tensors[name].T.contiguous() for name in ("W_enc", "W_dec")}
    position = origin.hook_name.replace(".", "-")
    config: dict[str, Any] = {
        "tlens_model_name": origin.model_name,
        "tlens_model_path": None,
        "saes": {"sae_positions": [origin.hook_name], "dict_size_to_input_ratio": _ratio(sae.d_sae, sae.d_in)},
    }
    with files.write_whole(Path(path)) as aside:
        aside.mkdir()
        torch.save({f"{position}.{there}": tensors[here] for here, there in _NAMES.items()}, aside / "samples_0.pt")
        (aside / CONFIG).write_text(yaml.safe_dump(config), "utf-8")


def _ratio(d_sae: int, d_in: int) -> float:
    """Of the widths, so that the library, which cuts the product off, gets d_sae back."""
    ratio = d_sae / d_in
    return ratio if int(ratio * d_in) == d_sae else math.nextafter(ratio, math.inf)


def _positions(content: dict[str, Any]) -> list[str]:
    end = f".{_NAMES['W_enc']}"
    return [name.removesuffix(end) for name in content if name.endswith(end)]


def _weights(path: Path) -> Path:
    """The `.pt` of `path`: itself, or the one in that folder. Raises `UserError` for a folder with several."""
    if not path.is_dir():
        return path
    inside = sorted(path.glob("*.pt"))
    refuse(len(inside) != 1, path, f"has {len(inside)} .pt files: name one of them")
    return inside[0]
