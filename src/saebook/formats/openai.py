"""Files of OpenAI's sparse_autoencoder: one `.pt` with a state dictionary and the name of an activation.

The name "TopK" stands for two conventions: k latents a token, and each token normalised first, by its mean and unbiased
spread. "ReLU" stands for neither. So a TopK SAE of raw activations cannot be written here, nor a ReLU of normalised ones.
Its decode multiplies by the spread, ours by the spread + 1e-5.
"""

from pathlib import Path
from typing import Any

import torch

from saebook.common import files
from saebook.formats import opening, portable
from saebook.formats.portable import NOWHERE, Kind, Origin, PortableSAE, refuse
from saebook.formats.stated import NOTHING, Stated
from saebook.sae.base import SAEStack

LIBRARY = "OpenAI's sparse_autoencoder"
_NAMES = {"W_enc": "encoder.weight", "b_enc": "latent_bias", "W_dec": "decoder.weight", "b_dec": "pre_bias"}
_TIED = {"encoder.weight", "decoder.linear.weight"}
# Activation -> our kind, and whether tokens are normalised.
_ACTIVATIONS: dict[str, tuple[Kind, bool]] = {"ReLU": ("relu", False), "TopK": ("topk", True)}


def recognises(path: Path, content: dict[str, Any] | None = None) -> bool:
    """Whether a file with this `content` looks like one of this library; a folder never does."""
    return content is not None and {"pre_bias", "latent_bias"} <= set(content)


def read(path: Path | str, stated: Stated = NOTHING) -> SAEStack:
    """A stack of one. `stated.architecture` is "ReLU" or "TopK", and `stated.k` k, for a file that does not say them.

    Raises `UserError` for damaged files, other activations, and what neither the file nor `stated` says.
    """
    return portable.to_stack(parse(Path(path), stated)[0])


def parse(path: Path, stated: Stated) -> tuple[PortableSAE, Origin, str]:
    """The SAE of `path`, what the user says it was made for, and the name of its activation."""
    stated.only(LIBRARY, "architecture", "k")
    content = opening.pickled(path)
    activation = stated.settle("architecture", content.get("activation"), path, "its activation, ReLU or TopK")
    refuse(activation not in _ACTIVATIONS, path, f"has the activation '{activation}': only ReLU and TopK can be read")
    kind, per_token = _ACTIVATIONS[activation]
    if set(content) >= _TIED:
        content |= {"decoder.weight": content["encoder.weight"].T}
    tensors = opening.transposed(opening.tensors_of(content, _NAMES, path), path)
    k = None
    if kind == "topk":
        options = content.get("activation_state_dict") or {}
        refuse(not isinstance(options, dict), path, "has an entry `activation_state_dict` that is no mapping")
        after = options.get("postact_fn", "ReLU")
        refuse(after != "ReLU", path, f"applies '{after}' to the k largest: only ReLU can be read")
        k = stated.settle("k", opening.number(options, "k", path), path, "k, how many latents are active in a token")
    return portable.checked(PortableSAE(kind, tensors, True, per_token, k), path), stated.origin(None, None), activation


def write(stack: SAEStack, path: Path | str, i: int = 0, origin: Origin = NOWHERE) -> None:
    """Write member i of `stack` into the file `path`. `origin` is lost: the format has no place for it.

    Raises `UserError` for other architectures, and where the activation's name would imply another normalisation.
    """
    sae = portable.from_stack(stack, i)
    named = {kind: activation for activation, (kind, _) in _ACTIVATIONS.items()}
    refuse(
        sae.kind not in named,
        LIBRARY,
        f"has no architecture that computes '{stack.architecture}': choose another format",
    )
    activation = named[sae.kind]
    does, would = ("normalises", "does not") if sae.per_token else ("does not normalise", "does")
    implied = _ACTIVATIONS[activation][1]
    refuse(
        implied != sae.per_token,
        LIBRARY, f"reads the activation {activation} as one that {would}, and this SAE {does} each token: choose another format",
    )  # fmt: skip
    sae = sae.centred_as(True)
    tensors = sae.tensors | {name: sae.tensors[name].T.contiguous() for name in ("W_enc", "W_dec")}
    content: dict[str, Any] = {there: tensors[here] for here, there in _NAMES.items()}
    # What the library keeps of a training run, at the values that a new SAE of its own has.
    content |= {
        "stats_last_nonzero": torch.zeros(sae.d_sae, dtype=torch.long),
        "latents_activation_frequency": torch.ones(sae.d_sae), "latents_mean_square": torch.zeros(sae.d_sae),
        "activation": activation,
        "activation_state_dict": {"k": sae.k, "postact_fn": "ReLU"} if sae.kind == "topk" else {},
    }  # fmt: skip
    with files.write_whole(Path(path)) as aside:
        torch.save(content, aside)
