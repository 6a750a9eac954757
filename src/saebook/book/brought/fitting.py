"""Whether an SAE fits a chapter: read as its file says, made for the chapter's site, and as wide as the activations there."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from saebook.book.brought.naming import Place
from saebook.common.errors import UserError
from saebook.formats import conversion, foreign_saelens, opening, portable
from saebook.formats.portable import Origin
from saebook.formats.stated import NOTHING, Stated
from saebook.sae.base import SAEStack
from saebook.subject.sites import SITES

# What other libraries call a site: their modules by the name of a block's list. A block's output is the residual stream.
_BLOCK = r"(?:\w+\.)*(?:h|layers|blocks)\.(\d+)"
_NAMES = {
    **{rf"blocks\.(\d+)\.{re.escape(inner)}": kind for kind, (inner, _) in SITES.items()},
    _BLOCK: "resid_post", rf"{_BLOCK}\.mlp": "mlp_out",
}  # fmt: skip
# How a format's module says that a convention is left open. By the option of `convert` that states it: what is typed behind
# the option, what else could be, and a value under which the rest of the file can be read, to see what it leaves open too.
_OPEN = re.compile(r"(?P<said>.* does not say .*): state it \((?P<option>--[\w-]+)\)")
_STATING = {
    "--apply-b-dec-to-input": ("yes", "or no", True), "--normalize-activations": ("none", "or layer_norm", "none"),
    "--k": ("K", "", 1), "--input-scale": ("SCALE", "", 1.0), "--architecture": ("ARCHITECTURE", "", None),
}  # fmt: skip


@dataclass(frozen=True)
class Fitting:
    """An SAE, a stack of one that takes raw activations, and what it was made for."""

    stack: SAEStack
    origin: Origin


def opened(place: Place, file: Path, at: str, d_in: int | None, subject: str) -> Fitting:
    """The SAE of `place`, whose files are at `file`, checked against the hook `at` of `subject`, of width `d_in` if known.

    Raises `UserError` in one line for files that no format reads, for conventions that they leave open, and for an SAE of
    another site or width.
    """
    stack, origin = _read(place, file, at)
    hook_name = origin.hook_name or place.hook_name
    if hook_name is None:
        raise UserError(
            f"{file} does not say which site it was made for: `{_convert(file, f'--hook-name {at}')}` writes it down, if it is "
            "this one; then give OUT"
        )
    if _spot(hook_name) != _spot(at):
        raise UserError(
            f"{place.label} was made for {hook_name}, and this run looks at {at} of {subject}: {_remedy(hook_name)}"
        )
    origin = Origin(origin.model_name or place.model_name, hook_name)
    if d_in is not None and stack.d_in != d_in:
        raise UserError(
            f"{place.label} takes activations of width {stack.d_in}, and {at} of {subject} has {d_in}: {_of_width(origin, subject)}"
        )
    return Fitting(stack.float(), origin)


def same_model(said: str | None, subject: str) -> bool | None:
    """Whether an SAE made for the model `said` was made for `subject`; None where a name is missing or `subject` is a folder."""
    if not said or subject.startswith((".", "/", "~")):
        return None
    return _plain(said) == _plain(subject)


def doubt(label: str, origin: Origin, subject: str) -> str:
    """What a reader should know of an SAE whose files name another model; else empty."""
    if same_model(origin.model_name, subject) is not False:
        return ""
    return f"{label} says that it was made for the model {origin.model_name}, and is measured in {subject}"


def _plain(model_name: str) -> str:
    """A model's name without its owner or the size that some libraries add."""
    return {"gpt2-small": "gpt2"}.get(last := model_name.rstrip("/").rpartition("/")[2].lower(), last)


def _of_width(origin: Origin, subject: str) -> str:
    same = same_model(origin.model_name, subject)
    if same:
        return (
            "its files name this very model and hook, so one of them is wrong: save the SAE again, or correct its cfg"
        )
    named = f", {origin.model_name}" if origin.model_name and same is False else ""
    return f"it was made for another model{named}: give that one (-p subject)"


def _read(place: Place, file: Path, at: str) -> tuple[SAEStack, Origin]:
    name = _recognised(file)
    own = foreign_saelens.ours(file) if name == "saelens" else None
    if own is not None:
        return own, foreign_saelens.origin_of(file, NOTHING)
    stated = _stated(name, file, at)
    try:
        sae, origin, _ = conversion.module(name).parse(file, stated)
    except UserError as error:
        raise UserError(_with_command(str(error), place, name, file, at)) from None
    return portable.to_stack(sae), origin if origin.hook_name else Origin(origin.model_name, _beside(file))


def _recognised(file: Path) -> str:
    try:
        return conversion.recognise(file)
    except UserError:
        if (file / foreign_saelens.CONFIG).is_file():
            raise UserError(
                f"{file} has {foreign_saelens.CONFIG} but no weights: {foreign_saelens.WEIGHTS} is missing beside it"
            ) from None
        raise


def _with_command(words: str, place: Place, name: str, file: Path, at: str) -> str:
    """The `words` of a refusal; where a convention is open, with the command that states it and all else that is open."""
    first, options, others, stated = _OPEN.match(words), [], [], {}
    while (match := _OPEN.match(words)) and match["option"] in _STATING:
        value, other, going_on = _STATING[match["option"]]
        options.append(f"{match['option']} {value}")
        others += [other] if other else []
        if going_on is None:
            break
        stated[match["option"].strip("-").replace("-", "_")] = going_on
        try:
            _, origin, _ = conversion.module(name).parse(file, Stated(**stated))
        except UserError as error:
            words = str(error)
        else:
            options += [] if origin.hook_name or place.hook_name or _beside(file) else [f"--hook-name {at}"]
            break
    if not first or not options:
        return words
    also = f" ({'; '.join(others)})" if others else ""
    return f"{first['said']}: state it by `{_convert(file, *options)}`{also}, and give OUT instead"


def _convert(file: Path, *options: str) -> str:
    return " ".join(["saebook convert", shlex.quote(str(file)), "OUT --to saelens", *options])


def _stated(name: str, file: Path, at: str) -> Stated:
    """Of a file with SAEs of several sites, the one of the hook `at` is meant."""
    if name != "e2e_sae":
        return NOTHING
    try:
        conversion.module(name).parse(file, NOTHING)
    except UserError:
        return Stated(hook_name=at)
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
