"""SAELens' layout (6.x): cfg.json and the tensors of one SAE. The store keeps runs in it, so that SAELens opens them too.

A file that we wrote says so under `metadata`: its architecture and options are read from there. In any other file every
convention must be stated by cfg.json and must be one that an architecture here computes; anything else is refused.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from saebook.common.errors import UserError
from saebook.sae import registry
from saebook.sae.base import Member, SAEStack
from saebook.sae.initial import unfilled

LAYOUT = 1  # part of a run's key: raise it when files written before would be read as other SAEs
SAELENS_VERSION = "6.54.12"  # without a version >= 6.0.0 SAELens reads a file by its old rules and drops `metadata`
_NORMALISATIONS = {"none": False, "layer_norm": True}  # of activations -> `per_token`


def to_saelens(stack: SAEStack, i: int) -> tuple[dict, dict[str, Tensor]]:
    """`(cfg, tensors)` of member i, as SAELens opens it.

    With `per_token` SAELens multiplies reconstructions by each token's spread, we by the spread + 1e-5. Raises `UserError`
    for an architecture that SAELens does not have.
    """
    if not stack.saelens_name:
        raise UserError(f"SAELens has no architecture that computes '{stack.architecture}': keep it in saebook's store")
    return pack(stack, i)


def from_saelens(cfg: dict, tensors: dict[str, Tensor], architecture: str | None = None) -> SAEStack:
    """A stack of one from SAELens' layout, computing what SAELens computes.

    Our own files name their architecture. Any other file gets the architecture that computes the same function;
    `architecture` picks among several that do and differ in training alone. Raises `UserError` for conventions that no
    architecture here has, and for tensors that do not fit.
    """
    metadata = cfg.get("metadata") or {}
    ours = metadata.get("architecture")
    if not ours:
        return _filled(_foreign(cfg, architecture), {}, cfg, tensors)
    stack, asked = registry.get(ours), architecture or ours
    _require(asked == ours, f"it is of the architecture '{ours}', not '{asked}'")
    _require(cfg.get("architecture") == (stack.saelens_name or ours), f"cfg.json contradicts its metadata ('{ours}')")
    return _filled(stack, dict(metadata.get("options", {})), cfg, tensors)


def load(folder: Path | str, architecture: str | None = None) -> SAEStack:
    """A stack of one from a `folder` with cfg.json and sae_weights.safetensors, as `from_saelens` reads it.

    Raises `UserError` when a file is missing or damaged.
    """
    folder = Path(folder)
    try:
        cfg = json.loads((folder / "cfg.json").read_text("utf-8"))
        tensors = load_file(folder / "sae_weights.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(
            f"{folder} is not an SAE: cfg.json or sae_weights.safetensors cannot be read ({error})"
        ) from None
    return from_saelens(cfg, tensors, architecture)


def pack(stack: SAEStack, i: int) -> tuple[dict, dict[str, Tensor]]:
    """`(cfg, tensors)` of member i in the same layout, for the store: an architecture that SAELens lacks keeps our name."""
    state = {name: tensor.detach() for name, tensor in stack.state_dict().items()}
    constants = {name: float(tensor) for name, tensor in state.items() if not tensor.ndim}
    metadata = {
        "sae_lens_version": SAELENS_VERSION, "architecture": stack.architecture, **vars(stack.members[i]),
        "options": stack.options(), **constants,
    }  # fmt: skip
    cfg = {
        "architecture": stack.saelens_name or stack.architecture, "d_in": stack.d_in, "d_sae": stack.d_sae,
        "device": "cpu", "dtype": str(stack.W_enc.dtype).removeprefix("torch."),
        "apply_b_dec_to_input": stack.subtracts_b_dec,
        "normalize_activations": "layer_norm" if stack.per_token else "none", "reshape_activations": "none",
        "metadata": metadata, **stack.saelens_cfg(i),
    }  # fmt: skip
    return cfg, stack.saelens_tensors(
        {name: tensor[i].clone(memory_format=torch.contiguous_format) for name, tensor in state.items() if tensor.ndim}
    )


def _foreign(cfg: dict, architecture: str | None) -> type[SAEStack]:
    """The architecture that computes what a file by SAELens itself describes."""
    version = str((cfg.get("metadata") or {}).get("sae_lens_version", "0")).split(".")[0]
    _require(
        version.isdigit() and int(version) >= 6,
        "cfg.json is older than SAELens 6 or does not say its version; open it with SAELens 6 and save it again",
    )
    subtracts, name = cfg.get("apply_b_dec_to_input"), cfg.get("architecture")
    _require(
        isinstance(subtracts, bool),
        "cfg.json does not say whether b_dec is subtracted from the input; set apply_b_dec_to_input to true or false",
    )
    _require(
        cfg.get("reshape_activations", "none") in ("none", "hook_z"),
        "reshape_activations must be none or hook_z; save it again without reshaping",
    )
    known = [architecture] if architecture else registry.names()
    stacks = {one: registry.get(one) for one in known}
    stacks = {n: s for n, s in stacks.items() if s.saelens_name == name and s.subtracts_b_dec == subtracts}
    does = "subtracts" if subtracts else "does not subtract"
    _require(
        stacks,
        f"no architecture of {', '.join(known)} computes a '{name}' SAE that {does} b_dec from its input; use SAELens",
    )
    _require(
        name != "topk" or cfg.get("rescale_acts_by_decoder_norm") is False,
        "rescale_acts_by_decoder_norm must be false; fold the norms first (SAELens: sae.fold_W_dec_norm())",
    )
    # Of several, the one that the others are variants of: they compute the same function.
    plain = [n for n, s in stacks.items() if not any(s is not o and issubclass(s, o) for o in stacks.values())]
    _require(len(plain) == 1, f"say which architecture it is: {' or '.join(plain)}")
    return stacks[plain[0]]


def _filled(stack: type[SAEStack], options: dict, cfg: dict, tensors: dict[str, Tensor]) -> SAEStack:
    """A stack of one with the file's tensors."""
    metadata, normalised = cfg.get("metadata") or {}, cfg.get("normalize_activations")
    _require(
        normalised in _NORMALISATIONS,
        f"normalize_activations is '{normalised}'; fold that scale into the weights with SAELens and save it as 'none'",
    )
    per_token = _NORMALISATIONS[str(normalised)]
    ours = bool(metadata.get("architecture"))
    _require(not ours or options.get("per_token", False) == per_token, "cfg.json contradicts its metadata (per_token)")
    _require(
        cfg.get("apply_b_dec_to_input") == stack.subtracts_b_dec,
        "cfg.json contradicts its metadata (apply_b_dec_to_input)",
    )
    _require("W_enc" in tensors and {"d_in", "d_sae"} <= set(cfg), "W_enc, d_in or d_sae is missing")
    member = Member(metadata.get("seed", 0), cfg.get("k", metadata.get("sparsity", 0.0)))
    options |= {"per_token": per_token, "dtype": tensors["W_enc"].dtype}
    try:
        single = unfilled(stack, cfg["d_in"], cfg["d_sae"], (member,), **options)
    except TypeError as error:
        raise UserError(
            f"this SAE cannot be loaded: {stack.architecture} does not take its options ({error})"
        ) from None
    state = single.state_dict()
    # Only the names are asked for, so tensors without rows do.
    names = set(single.saelens_tensors({name: tensor[0, :0] for name, tensor in state.items() if tensor.ndim}))
    _require(names == set(tensors), f"tensors {', '.join(sorted(names ^ set(tensors)))} are missing or not known")
    for name, tensor in stack.own_tensors(tensors).items():
        shape = tuple(state[name].shape[1:])
        _require(tuple(tensor.shape) == shape, f"{name} has shape {tuple(tensor.shape)}, not {shape}")
        state[name][0] = tensor
    for name, constant in state.items():
        if not constant.ndim:
            # SAELens writes none. What TopK's losses are divided by is then d_in, as in a new stack.
            constant.fill_(metadata.get(name, cfg["d_in"]))
    return single


def _require(holds: object, otherwise: str) -> None:
    if not holds:
        raise UserError(f"this SAE cannot be loaded: {otherwise}")
