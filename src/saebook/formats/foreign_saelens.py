"""SAELens' layout in files that are not our store's: by SAELens itself, of any version, and by whoever writes it.

`formats.saelens` is the layout of our own store. A file of ours, which names its architecture under `metadata`, is handed to
it. Of any other file this reads every convention of SAELens that does not depend on the batch: b_dec subtracted or not,
norms of decoder rows in TopK's choice or not, layer_norm, a scale of the input, JumpReLU's thresholds.
"""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from saebook.common import files
from saebook.common.errors import UserError
from saebook.formats import opening, portable, saelens
from saebook.formats.portable import NOWHERE, Kind, Origin, PortableSAE, refuse
from saebook.formats.stated import NORMALISATIONS, NOTHING, Stated
from saebook.sae import registry
from saebook.sae.base import SAEStack

LIBRARY = "SAELens"
WEIGHTS, CONFIG = "sae_weights.safetensors", "cfg.json"
_KINDS: dict[str, Kind] = {"standard": "relu", "gated": "gated", "topk": "topk", "jumprelu": "jumprelu"}
_CALLED = {kind: name for name, kind in _KINDS.items()}
_SCALED = "expected_average_only_in"
# SAELens before 6 -> 6. It kept model and hook beside the conventions, and TopK as an activation function.
_FORMER = {"activation_fn_str": "activation_fn", "hook_point": "hook_name"}


def recognises(path: Path, content: dict[str, Any] | None = None) -> bool:
    """Whether the folder `path` looks like one in this layout; a file, of any `content`, never does."""
    return content is None and (path / WEIGHTS).is_file()


def read(path: Path | str, stated: Stated = NOTHING) -> SAEStack:
    """A stack of one, from a folder in SAELens' layout. What cfg.json leaves open, `stated` says.

    `stated.input_scale` goes with normalize_activations = "expected_average_only_in", whose scale is in no file.
    Raises `UserError` for damaged files, other functions, and what neither the files nor `stated` say.
    """
    own = ours(Path(path))
    if own is not None:
        stated.only("saebook")
        return own
    return portable.to_stack(parse(Path(path), stated)[0])


def ours(path: Path) -> SAEStack | None:
    """The SAE of a folder that saebook wrote, or None where it is another's. Raises `UserError` for a damaged one."""
    cfg = opening.described(path / CONFIG)
    metadata = cfg.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("architecture") not in registry.names():
        return None
    refuse(
        cfg.get("rescale_acts_by_decoder_norm"),
        path / CONFIG,
        "contradicts its metadata (rescale_acts_by_decoder_norm)",
    )
    try:
        stack = saelens.load(path)
    except (
        TypeError,
        ValueError,
        KeyError,
        AttributeError,
        RuntimeError,
    ) as error:  # entries of other types than we write
        raise UserError(f"{path} was written by saebook and is damaged: {error}") from None
    for name, tensor in stack.state_dict().items():
        refuse(not tensor.isfinite().all(), path / WEIGHTS, f"has values in {name} that are not finite numbers")
    return stack


def origin_of(path: Path, stated: Stated) -> Origin:
    """What the SAE of a folder that saebook wrote was made for. Raises `UserError` when any convention is `stated`."""
    stated.only("saebook")
    metadata = opening.described(path / CONFIG).get("metadata") or {}
    return stated.origin(metadata.get("model_name"), metadata.get("hook_name"))


def parse(path: Path, stated: Stated) -> tuple[PortableSAE, Origin, str]:
    """The SAE of the folder `path`, what it was made for, and SAELens' name for its architecture. Not for our own files."""
    where, file = path / CONFIG, path / WEIGHTS
    cfg = opening.described(where)
    metadata = cfg.get("metadata") or {}
    refuse(not isinstance(metadata, dict), where, "has an entry `metadata` that is no mapping")
    stated.only(LIBRARY, "architecture", "k", "apply_b_dec_to_input", "normalize_activations", "input_scale")
    cfg = cfg if _version(metadata) >= 6 else _as_version_6(cfg, where)
    refuse(cfg.get("finetuning_scaling_factor"), where, "has finetuning_scaling_factor, which no architecture here has")
    reshape = cfg.get("reshape_activations") or "none"
    refuse(reshape not in ("none", "hook_z"), where, f"reshapes activations by '{reshape}', which cannot be read")
    architecture = stated.settle("architecture", cfg.get("architecture"), where, f"which of {', '.join(_KINDS)} it is")
    refuse(
        architecture not in _KINDS, where,
        f"is of the architecture '{architecture}': only {', '.join(_KINDS)} can be read",
    )  # fmt: skip
    kind = _KINDS[architecture]
    centred = stated.settle(
        "apply_b_dec_to_input", cfg.get("apply_b_dec_to_input"), where, "whether b_dec is subtracted from the input"
    )
    refuse(
        not isinstance(centred, bool), where, f"has apply_b_dec_to_input = {centred}, which is neither true nor false"
    )
    per_token, scale = _normalisation(cfg, stated, where)
    content = opening.safe(file)
    names = {"W_enc", "W_dec", "b_dec", *portable.PER_LATENT[kind]}
    refuse(
        set(content) - names, file,
        f"has tensors that no {architecture} SAE has: {', '.join(sorted(set(content) - names))}",
    )  # fmt: skip
    k = None
    if kind == "topk":
        k = stated.settle("k", opening.number(cfg, "k", where), where, "k, how many latents are active in a token")
    sae = portable.checked(PortableSAE(kind, content, centred, per_token, k, scale, _by_norm(cfg, where)), file)
    for name, actual in (("d_in", sae.d_in), ("d_sae", sae.d_sae)):
        said = opening.number(cfg, name, where)
        refuse(said not in (None, actual), where, f"says {name} = {said}, and the tensors have {actual}")
    # Where norms have a part in the choice and are one, it makes no difference what is said.
    unsaid = kind == "topk" and cfg.get("rescale_acts_by_decoder_norm") is None and not sae.has_unit_rows(1e-3)
    refuse(unsaid, where, "does not say whether the norms of decoder rows, which are not one, have a part in TopK's choice: "
           "set rescale_acts_by_decoder_norm to true or false")  # fmt: skip
    metadata = {**cfg, **metadata}
    return sae, stated.origin(metadata.get("model_name"), metadata.get("hook_name")), architecture


def write(stack: SAEStack, path: Path | str, i: int = 0, origin: Origin = NOWHERE) -> None:
    """Write member i of `stack` into the folder `path`, as SAELens opens it. BatchTopK becomes the JumpReLU that it is.

    With `per_token` SAELens multiplies reconstructions by each token's spread, we by the spread + 1e-5.
    Raises `UserError` for an architecture that SAELens does not have.
    """
    portable.from_stack(stack, i)  # what has no finite numbers, or no other library, is refused
    cfg, tensors = saelens.to_saelens(stack, i) if stack.saelens_name else _without_our_name(stack, i)
    cfg["metadata"] |= {name: value for name, value in vars(origin).items() if value is not None}
    with files.write_whole(Path(path)) as aside:
        aside.mkdir()
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, aside / WEIGHTS)
        (aside / CONFIG).write_text(json.dumps(cfg, indent=2), "utf-8")


def _without_our_name(stack: SAEStack, i: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    sae = portable.from_stack(stack, i).with_thresholds()
    refuse(sae.kind not in _CALLED, LIBRARY, f"has no architecture that computes '{stack.architecture}'")
    cfg = {
        "architecture": _CALLED[sae.kind], "d_in": sae.d_in, "d_sae": sae.d_sae, "device": "cpu",
        "dtype": str(sae.tensors["W_enc"].dtype).removeprefix("torch."), "apply_b_dec_to_input": sae.centred,
        "normalize_activations": "layer_norm" if sae.per_token else "none", "reshape_activations": "none",
        "metadata": {"sae_lens_version": saelens.SAELENS_VERSION},
    }  # fmt: skip
    return cfg, sae.tensors


def _version(metadata: dict[str, Any]) -> int:
    """The major version of SAELens that wrote the file; 0 where it does not say, which only older ones did."""
    number = str(metadata.get("sae_lens_version", "0")).split(".")[0]
    return int(number) if number.isdigit() else 0


def _as_version_6(cfg: dict[str, Any], where: Path) -> dict[str, Any]:
    cfg = {_FORMER.get(name, name): value for name, value in cfg.items()}
    activation = cfg.get("activation_fn") or "relu"
    if activation == "topk":
        arguments = cfg.get("activation_fn_kwargs") or {}
        refuse(not isinstance(arguments, dict), where, "has an entry `activation_fn_kwargs` that is no mapping")
        cfg |= {"architecture": "topk", "k": arguments.get("k")}
        cfg.setdefault("rescale_acts_by_decoder_norm", False)  # there was no such choice
    else:
        refuse(
            activation != "relu", where, f"has the activation function '{activation}': only relu and topk can be read"
        )
    if isinstance(cfg.get("normalize_activations"), bool):
        cfg["normalize_activations"] = _SCALED if cfg["normalize_activations"] else "none"
    return cfg


def _normalisation(cfg: dict[str, Any], stated: Stated, where: Path) -> tuple[bool, float]:
    """Whether each token is normalised, and the scale of the input."""
    said = cfg.get("normalize_activations")
    if said == _SCALED:
        refuse(stated.normalize_activations, where, f"says normalize_activations = {said}: leave yours out")
        scale = stated.settle(
            "input_scale", None, where, f"the scale of '{_SCALED}', by which activations were multiplied in training"
        )
        return False, scale
    refuse(stated.input_scale, where, f"does not say that activations were scaled ({_SCALED}): leave the scale out")
    said = stated.settle("normalize_activations", said, where, "whether activations are normalised")
    refuse(
        said not in NORMALISATIONS,
        where,
        f"normalises activations by '{said}': only {', '.join(NORMALISATIONS)} and {_SCALED} can be read",
    )
    return NORMALISATIONS[said], 1.0


def _by_norm(cfg: dict[str, Any], where: Path) -> bool:
    said = cfg.get("rescale_acts_by_decoder_norm", False)
    refuse(
        said is not None and not isinstance(said, bool),
        where,
        f"has rescale_acts_by_decoder_norm = {said}, which is neither true nor false",
    )
    return bool(said)
