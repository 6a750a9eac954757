"""Whether an SAE fits a chapter: read as its file says, made for the chapter's site, and as wide as the activations there."""

import re
from dataclasses import dataclass
from pathlib import Path

from saebook.book.brought.naming import Place
from saebook.common.errors import UserError
from saebook.formats import conversion, foreign_saelens, opening, portable
from saebook.formats.portable import Origin
from saebook.formats.stated import NOTHING, Stated
from saebook.sae.base import SAEStack
from saebook.subject.sites import SITES, Site

# What other libraries call a site: their modules by the name of a block's list. A block's output is the residual stream.
_BLOCK = r"(?:\w+\.)*(?:h|layers|blocks)\.(\d+)"
_NAMES = {
    **{rf"blocks\.(\d+)\.{re.escape(inner)}": kind for kind, (inner, _) in SITES.items()},
    _BLOCK: "resid_post", rf"{_BLOCK}\.mlp": "mlp_out",
}  # fmt: skip
_STATE_IT = "state it ("  # how a format's module says that a convention is left open


@dataclass(frozen=True)
class Fitting:
    """An SAE, a stack of one that takes raw activations, and what it was made for."""

    stack: SAEStack
    origin: Origin


def opened(place: Place, file: Path, site: Site, where: str) -> Fitting:
    """The SAE of `place`, whose files are at `file`, checked against `site`; `where` is how that site is called in messages.

    Raises `UserError` in one line for files that no format reads, for conventions that they leave open, and for an SAE of
    another site or width.
    """
    stack, origin = _read(place, file, site)
    hook_name = origin.hook_name or place.hook_name
    if hook_name is None:
        raise UserError(
            f"{file} does not say which site it was made for: `saebook convert {file} OUT --to saelens --hook-name "
            f"{site.hook_name}` writes it down, if it is this one; then give OUT"
        )
    if _spot(hook_name) != _spot(site.hook_name):
        raise UserError(f"{place.label} was made for {hook_name}, and this run looks at {where}: {_remedy(hook_name)}")
    if stack.d_in != site.d_in:
        raise UserError(
            f"{place.label} takes activations of width {stack.d_in}, and {where} has {site.d_in}: give its own model (-p subject)"
        )
    return Fitting(stack.float(), Origin(origin.model_name or place.model_name, hook_name))


def _read(place: Place, file: Path, site: Site) -> tuple[SAEStack, Origin]:
    try:
        name = conversion.recognise(file)
        own = foreign_saelens.ours(file) if name == "saelens" else None
        if own is not None:
            return own, foreign_saelens.origin_of(file, NOTHING)
        sae, origin, _ = conversion.module(name).parse(file, _stated(name, file, site))
        return portable.to_stack(sae), origin if origin.hook_name else Origin(origin.model_name, _beside(file))
    except UserError as error:
        if _STATE_IT in str(error):
            raise UserError(f"{error}, by `saebook convert {file} OUT --to saelens`, and give OUT instead") from None
        raise


def _stated(name: str, file: Path, site: Site) -> Stated:
    """Of a file with SAEs of several sites, the one of `site` is meant."""
    if name != "e2e_sae":
        return NOTHING
    try:
        conversion.module(name).parse(file, NOTHING)
    except UserError:
        return Stated(hook_name=site.hook_name)
    return NOTHING


def _beside(file: Path) -> str | None:
    """The hook named by a run's configuration beside `file`, as the authors of e2e_sae publish theirs: NAME.pt, NAME.yaml."""
    config = file.with_suffix(".yaml")
    if file.suffix != ".pt" or not config.is_file():
        return None
    saes = opening.described(config).get("saes")
    positions = saes.get("sae_positions") if isinstance(saes, dict) else None
    named = positions if isinstance(positions, list) else [positions]
    return named[0] if len(named) == 1 and isinstance(named[0], str) else None


def _spot(hook_name: str) -> tuple[str, int] | str:
    """The same for two names of one place: what a block leaves behind is what the next one reads."""
    for pattern, kind in _NAMES.items():
        if match := re.fullmatch(pattern, hook_name):
            layer = int(match[1])
            return ("resid_pre", layer + 1) if kind == "resid_post" else (kind, layer)
    return hook_name


def _remedy(hook_name: str) -> str:
    for pattern, kind in _NAMES.items():
        if match := re.fullmatch(pattern, hook_name):
            return f"give -p site {kind} -p layer {match[1]}"
    return f"no page looks there, only at {', '.join(SITES)}"
