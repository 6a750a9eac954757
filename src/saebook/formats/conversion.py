"""Which format a file is in, what it says of itself, and the same SAE in another format."""

import shutil
import uuid
from pathlib import Path
from types import ModuleType

from torch import Tensor

from saebook.common import files
from saebook.common.errors import UserError
from saebook.formats import dictionary_learning, e2e_sae, foreign_saelens, openai, opening, portable, sparsify
from saebook.formats.portable import Origin, PortableSAE
from saebook.formats.stated import NOTHING, Stated
from saebook.sae import registry
from saebook.sae.base import SAEStack

FORMATS: dict[str, ModuleType] = {
    "saelens": foreign_saelens,
    "dictionary_learning": dictionary_learning,
    "sparsify": sparsify,
    "openai": openai,
    "e2e_sae": e2e_sae,
}


def module(name: str) -> ModuleType:
    """The module of the format `name`. Raises `UserError` for an unknown one."""
    if name not in FORMATS:
        raise UserError(f"format '{name}' is not known: use one of {', '.join(FORMATS)}")
    return FORMATS[name]


def recognise(path: Path) -> str:
    """The format of `path`. Raises `UserError` when there is nothing, or nothing that any format, or only one, has."""
    if not path.exists():
        raise UserError(f"{path} does not exist")
    content = None if path.is_dir() else opening.pickled(path)
    names = [name for name, one in FORMATS.items() if one.recognises(path, content)]
    if len(names) != 1:
        many = f"could be of {' or '.join(names)}: say which" if names else "is in no format that is known"
        raise UserError(f"{path} {many} ({', '.join(FORMATS)})")
    return names[0]


def read(path: Path | str, stated: Stated = NOTHING, source: str | None = None) -> SAEStack:
    """A stack of one from `path`, in the format `source` or the one that is recognised."""
    path = Path(path)
    return module(source or recognise(path)).read(path, stated)


def inspect(path: Path | str, stated: Stated = NOTHING, source: str | None = None) -> dict[str, str]:
    """What `path` is, as it says itself: names of lines and their values. Raises `UserError` as reading it does."""
    path = Path(path)
    name = source or recognise(path)
    own = _own(path, name)
    if own is not None:
        return _own_lines(own) | _origin_lines(foreign_saelens.origin_of(path, stated))
    sae, origin, architecture = module(name).parse(path, stated)
    here = portable.architecture(sae)
    lines = {
        "format": name,
        "architecture": f"{architecture} (here: {here}{'' if here in registry.names() else ', not in this version'})",
        "d_in": str(sae.d_in),
        "d_sae": str(sae.d_sae),
        "dtype": str(sae.dtype).removeprefix("torch."),
        "latents": _chosen(sae),
        "encoder": _sees(sae.centred),
        "activations": _normalised(sae.per_token),
        "decoder rows": _between(sae.norms()),
    }
    if sae.input_scale != 1:
        lines["activations"] = f"multiplied by {sae.input_scale:g} in training"
    return lines | _origin_lines(origin)


def convert(
    path: Path | str, out: Path | str, to: str, source: str | None = None, stated: Stated = NOTHING, overwrite: bool = False
) -> None:  # fmt: skip
    """Write the SAE of `path` to `out` in the format `to`: whole, or not at all.

    What it was made for goes along as far as the format has a place for it. Raises `UserError` as reading and writing do, and
    for an `out` that is there already, unless `overwrite` says so and it is an SAE.
    """
    path, out = Path(path), Path(out).absolute()
    target, name = module(to), source or recognise(path)
    if out.exists():
        if not overwrite:
            raise UserError(f"{out} is there already: choose another name, or say --overwrite")
        recognise(out)  # nothing else is ever removed
    own = _own(path, name)
    if own is None:
        sae, origin, _ = module(name).parse(path, stated)
        stack = portable.to_stack(sae)
    else:
        stack, origin = own, foreign_saelens.origin_of(path, stated)
    with files.write_whole(out, _replace) as aside:
        target.write(stack, aside, origin=origin)


def _own(path: Path, name: str) -> SAEStack | None:
    """The SAE of a folder that saebook wrote: it names its architecture, which no conversion has to find."""
    return foreign_saelens.ours(path) if module(name) is foreign_saelens else None


def _own_lines(stack: SAEStack) -> dict[str, str]:
    return {
        "format": "saelens, written by saebook",
        "architecture": stack.architecture,
        "d_in": str(stack.d_in),
        "d_sae": str(stack.d_sae),
        "dtype": str(stack.W_enc.dtype).removeprefix("torch."),
        "sparsity": f"{stack.members[0].sparsity:g} (k, or the weight of a penalty)",
        "encoder": _sees(stack.subtracts_b_dec),
        "activations": _normalised(stack.per_token),
        "decoder rows": _between(stack.W_dec[0].detach().norm(dim=1)),
    }


def _origin_lines(origin: Origin) -> dict[str, str]:
    return {"model": origin.model_name or "not said", "hook": origin.hook_name or "not said"}


def _chosen(sae: PortableSAE) -> str:
    """What makes a latent active, in words."""
    threshold = sae.tensors.get("threshold")
    if sae.kind == "topk":
        return (
            f"the {sae.k} largest of a token{', each times the norm of its decoder row' if sae.chosen_by_norm else ''}"
        )
    if threshold is not None:
        between = f"{threshold.min():.4g}" if len(threshold) == 1 else f"{threshold.min():.4g} to {threshold.max():.4g}"
        return f"those above a threshold: {between}"
    return "those whose gate is open" if sae.kind == "gated" else "those above zero"


def _sees(centred: bool) -> str:
    return "sees x - b_dec" if centred else "sees x; b_dec is not subtracted"


def _normalised(per_token: bool) -> str:
    return "each token's mean and spread are removed, and put back" if per_token else "as they are"


def _between(norms: Tensor) -> str:
    return f"norms from {norms.min():.4g} to {norms.max():.4g}"


def _replace(aside: Path, out: Path) -> None:
    """Put `aside` in the place of `out`, whatever of the two is a folder."""
    if not out.exists():
        aside.replace(out)
        return
    former = out.with_name(f".{out.name[:150]}.{uuid.uuid4().hex[:8]}.former")
    out.replace(former)
    try:
        aside.replace(out)
    except OSError:
        former.replace(out)
        raise
    shutil.rmtree(former) if former.is_dir() else former.unlink()
