"""Files of sparsify (EleutherAI): a folder with `cfg.json` and `sae.safetensors`, named after the hook's module.

One function is read and written: f(x) = ReLU(TopK(W_enc (x - b_dec) + b_enc)), with the decoder's rows used as they are.
Its "groupmax" chooses the largest of each group of latents, its transcoders predict another place: both are refused.
"""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from saebook.common import files
from saebook.formats import opening, portable
from saebook.formats.portable import NOWHERE, Origin, PortableSAE, refuse
from saebook.formats.stated import NOTHING, Stated
from saebook.sae.base import SAEStack

LIBRARY = "sparsify"
WEIGHTS, CONFIG = "sae.safetensors", "cfg.json"
_NAMES = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "W_dec", "b_dec": "b_dec"}


def recognises(path: Path, content: dict[str, Any] | None = None) -> bool:
    """Whether the folder `path` looks like one of this library; a file, of any `content`, never does."""
    return content is None and (path / WEIGHTS).is_file()


def read(path: Path | str, stated: Stated = NOTHING) -> SAEStack:
    """A stack of one. `stated.architecture` ("topk") and `stated.k` are for files that do not say them.

    Raises `UserError` for damaged files, other functions, and what neither the files nor `stated` say.
    """
    return portable.to_stack(parse(Path(path), stated)[0])


def parse(path: Path, stated: Stated) -> tuple[PortableSAE, Origin, str]:
    """The SAE of the folder `path`, what it was made for, and the name of its activation."""
    stated.only(LIBRARY, "architecture", "k")
    config, file = opening.described(path / CONFIG), path / WEIGHTS
    where = path / CONFIG
    # What older versions wrote, or later ones may, must not be taken for its default.
    refuse(config.get("transcode"), where, "is of a transcoder, which predicts another place than it reads: not an SAE")
    refuse(config.get("skip_connection"), where, "has a skip connection, which no architecture here has")
    refuse(config.get("signed"), where, "lets latents be negative (signed), which no architecture here does")
    activation = stated.settle("architecture", config.get("activation"), where, "its activation, topk or groupmax")
    refuse(activation != "topk", where, f"has the activation '{activation}': only topk can be read")
    content = opening.safe(file)
    further = set(content) - set(_NAMES.values())
    refuse(further, file, f"has tensors that no TopK SAE has: {', '.join(sorted(further))}")
    tensors = opening.tensors_of(content, _NAMES, file)
    refuse(tensors["W_enc"].ndim != 2, file, f"has encoder weights of shape {tuple(tensors['W_enc'].shape)}")
    tensors["W_enc"] = tensors["W_enc"].T
    k = stated.settle("k", opening.number(config, "k", where), where, "k, how many latents are active in a token")
    sae = portable.checked(PortableSAE("topk", tensors, centred=True, k=k), file)
    d_in, latents = opening.number(config, "d_in", where), opening.number(config, "num_latents", where)
    if not latents and d_in:
        latents = d_in * (opening.number(config, "expansion_factor", where) or 0)
    refuse(d_in not in (None, sae.d_in), where, f"says d_in = {d_in}, and the tensors have {sae.d_in}")
    refuse(
        latents and latents != sae.d_sae, where, f"says that it has {latents} latents, and the tensors have {sae.d_sae}"
    )
    return sae, _origin(path, config, stated), activation


def write(stack: SAEStack, path: Path | str, i: int = 0, origin: Origin = NOWHERE) -> None:
    """Write member i of `stack` into the folder `path`.

    Raises `UserError` for any SAE but TopK, and for one that normalises its tokens.
    """
    sae = portable.from_stack(stack, i)
    refuse(
        sae.kind != "topk", LIBRARY, f"has no architecture that computes '{stack.architecture}': choose another format"
    )
    refuse(sae.per_token, LIBRARY, "has no SAE that normalises each token: choose another format")
    sae = sae.centred_as(True)
    config: dict[str, Any] = {
        "activation": "topk", "expansion_factor": max(1, sae.d_sae // sae.d_in), "normalize_decoder": True,
        "num_latents": sae.d_sae, "k": sae.k, "multi_topk": False, "skip_connection": False, "transcode": False,
        "d_in": sae.d_in,
    }  # fmt: skip
    # The library leaves names that it does not know alone.
    config |= {name: value for name, value in vars(origin).items() if value is not None}
    tensors = sae.tensors | {"W_enc": sae.tensors["W_enc"].T.contiguous()}
    with files.write_whole(Path(path)) as aside:
        aside.mkdir()
        save_file({there: tensors[here] for here, there in _NAMES.items()}, aside / WEIGHTS)
        (aside / CONFIG).write_text(json.dumps(config), "utf-8")


def _origin(path: Path, config: dict[str, Any], stated: Stated) -> Origin:
    """As our files say it, or as a run's folder does: its config.json names the model, its folders name the modules."""
    run = path.parent / "config.json"
    trained = opening.described(run) if run.is_file() else None
    model, hook = config.get("model_name"), config.get("hook_name")
    if trained is not None:
        model, hook = model or trained.get("model"), hook or path.name
    return stated.origin(model, hook)
