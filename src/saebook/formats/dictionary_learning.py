"""Files of dictionary_learning (saprmarks): a folder with `ae.pt` and `config.json`, or an `ae.pt` alone.

The class of a dictionary is its convention: whether b_dec is subtracted, what chooses latents. Most classes show by the
names of their tensors; TopK and BatchTopK have the same and are told apart by config.json or by the user. Its Gated and
JumpReLU classes return latents times the norms of decoder rows, and so does what is read here (`portable.to_stack`).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saebook.common import files
from saebook.formats import opening, portable
from saebook.formats.portable import NOWHERE, Kind, Origin, PortableSAE, refuse
from saebook.formats.stated import NOTHING, Stated
from saebook.sae.base import SAEStack

LIBRARY = "dictionary_learning"
WEIGHTS, CONFIG = "ae.pt", "config.json"


@dataclass(frozen=True)
class _Class:
    """A class of the library: its kind, and its tensors' names and layout."""

    kind: Kind
    centred: bool
    names: dict[str, str]  # here -> there
    linear: bool = True  # whether matrices are an nn.Linear's, the transposes of ours
    constants: tuple[str, ...] = ()


_LINEAR = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "decoder.weight"}
_PLAIN = {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
_GATED = {
    "W_enc": "encoder.weight", "W_dec": "decoder.weight", "b_dec": "decoder_bias",
    "r_mag": "r_mag", "b_gate": "gate_bias", "b_mag": "mag_bias",
}  # fmt: skip
_CLASSES = {
    "AutoEncoder": _Class("relu", True, _LINEAR | {"b_dec": "bias"}),
    "AutoEncoderNew": _Class("relu", False, _LINEAR | {"b_dec": "decoder.bias"}),
    "GatedAutoEncoder": _Class("gated", True, _GATED),
    "AutoEncoderTopK": _Class("topk", True, _LINEAR | {"b_dec": "b_dec"}, constants=("k", "threshold")),
    "BatchTopKSAE": _Class("batchtopk", True, _LINEAR | {"b_dec": "b_dec"}, constants=("k", "threshold")),
    "MatryoshkaBatchTopKSAE": _Class("batchtopk", True, _PLAIN, False, constants=("k", "threshold", "group_sizes")),
    "JumpReluAutoEncoder": _Class("jumprelu", False, _PLAIN | {"threshold": "threshold"}, False),
}
_WRITTEN = {
    ("relu", True): "AutoEncoder", ("relu", False): "AutoEncoderNew", ("gated", True): "GatedAutoEncoder",
    ("topk", True): "AutoEncoderTopK", ("batchtopk", True): "BatchTopKSAE", ("jumprelu", False): "JumpReluAutoEncoder",
}  # fmt: skip


def recognises(path: Path, content: dict[str, Any] | None = None) -> bool:
    """Whether the folder `path`, or a file with this `content`, looks like one of this library."""
    return (path / WEIGHTS).is_file() if content is None else bool(_possible(content))


def read(path: Path | str, stated: Stated = NOTHING) -> SAEStack:
    """A stack of one. `stated.architecture` names the class, and `stated.k` k, where the files do not.

    Raises `UserError` for damaged files, for other classes, and for what neither the files nor `stated` say.
    """
    return portable.to_stack(parse(Path(path), stated)[0])


def parse(path: Path, stated: Stated) -> tuple[PortableSAE, Origin, str]:
    """The SAE of `path`, what it was made for, and the name of its class."""
    stated.only(LIBRARY, "architecture", "k")
    file, config = (path / WEIGHTS, path / CONFIG) if path.is_dir() else (path, path.with_name(CONFIG))
    content = opening.pickled(file)
    refuse("optimizer" in content, file, "is the backup of an unfinished run: finish it, or save its entry `ae` alone")
    described = opening.described(config) if config.is_file() else {}
    trainer = described.get("trainer", {})
    refuse(not isinstance(trainer, dict), config, "has an entry `trainer` that is no mapping")
    possible = _possible(content)
    refuse(not possible, file, f"has the tensors of no class that is known: {', '.join(sorted(content)) or 'none'}")
    by_file = trainer.get("dict_class") or (possible[0] if len(possible) == 1 else None)
    name = stated.settle("architecture", by_file, path, f"which class it is, {' or '.join(possible)}")
    refuse(
        name not in possible,
        path,
        f"says it is of the class {name}, and its tensors are those of {' or '.join(possible)}",
    )
    known = _CLASSES[name]
    tensors = opening.tensors_of(content, known.names, file)
    if known.linear:
        tensors = opening.transposed(tensors, file)
    k = None
    if "k" in known.constants:
        k = opening.number(content, "k", file)
        configured = opening.number(trainer, "k", config)
        refuse(
            None not in (k, configured) and k != configured, config, f"says k = {configured}, and {WEIGHTS} says {k}"
        )
        k = stated.settle("k", configured if k is None else k, path, "k, how many latents are active in a token")
    if known.kind == "batchtopk":
        tensors["threshold"] = opening.tensors_of(content, {"threshold": "threshold"}, file)["threshold"].reshape(-1)
    sae = portable.checked(PortableSAE(known.kind, tensors, known.centred, k=k), file)
    return sae, stated.origin(trainer.get("lm_name"), trainer.get("submodule_name")), name


def write(stack: SAEStack, path: Path | str, i: int = 0, origin: Origin = NOWHERE) -> None:
    """Write member i of `stack` into the folder `path`, as the class that computes the same.

    Raises `UserError` for an SAE that normalises its tokens, and for an architecture that the library does not have.
    """
    sae = portable.from_stack(stack, i)
    refuse(sae.per_token, LIBRARY, "has no SAE that normalises each token: choose another format")
    centred = sae.kind != "jumprelu" and (sae.centred or sae.kind != "relu")
    sae = sae.centred_as(centred)
    name = _WRITTEN[sae.kind, centred]
    known, tensors = _CLASSES[name], dict(sae.tensors)
    if known.linear:
        tensors |= {one: tensors[one].T.contiguous() for one in ("W_enc", "W_dec")}
    content: dict[str, Tensor] = {there: tensors[here] for here, there in known.names.items()}
    if "k" in known.constants:
        threshold = tensors["threshold"][0] if sae.kind == "batchtopk" else torch.tensor(-1.0)
        content |= {"k": torch.tensor(sae.k, dtype=torch.int), "threshold": threshold.float()}
    trainer: dict[str, Any] = {"dict_class": name, "activation_dim": sae.d_in, "dict_size": sae.d_sae}
    given = {"k": sae.k, "lm_name": origin.model_name, "submodule_name": origin.hook_name}
    trainer |= {one: value for one, value in given.items() if value is not None}
    with files.write_whole(Path(path)) as aside:
        aside.mkdir()
        torch.save(content, aside / WEIGHTS)
        (aside / CONFIG).write_text(json.dumps({"trainer": trainer, "buffer": {}}, indent=2), "utf-8")


def _possible(content: dict[str, Any]) -> list[str]:
    """The classes whose tensors `content` has, and no further ones. Early TopK files lack k and the threshold."""
    return [
        name
        for name, known in _CLASSES.items()
        if set(known.names.values()) <= set(content) <= {*known.names.values(), *known.constants}
    ]
