"""What can be told about a budget before a kernel starts.

Whether its folders are there, its text can be split, its subject has its layers, and trained SAEs on this machine fit the site.
"""

import json
import os
from pathlib import Path
from typing import Any

from saebook.book.brought import naming
from saebook.book.running import shapes
from saebook.common import paths
from saebook.common.errors import UserError
from saebook.common.limits import Budget, SiteBudget, SitesBudget, SubjectBudget
from saebook.subject import packaged
from saebook.subject.random_weights import trained
from saebook.text import hub, prose, sotu, sources

_TEXTS = (".txt", ".md", ".rst")  # what a folder's text is read from


def absolute(given: dict[str, Any], home: Path) -> dict[str, Any]:
    """The parameters `given`, with relative folders resolved against `home`: kernels run in the notebook's own folder.

    Raises `UserError` for an SAE that is not there and that the hub could not know by this name.
    """
    values = dict(given)
    subject, ratings, source = (given.get(name) for name in ("subject", "ratings", "source"))
    if (
        isinstance(subject, str)
        and (plain := trained(subject)) not in packaged.PACKAGED
        and not _embedded(plain)
        and (home / plain).is_dir()
    ):
        values["subject"] = str((home / plain).resolve()) + subject.removeprefix(plain)
    if isinstance(ratings, str) and ratings:
        values["ratings"] = str((home / Path(ratings).expanduser()).resolve())
    if isinstance(source, str):
        values["source"] = "+".join(_absolute_source(part, home) for part in sources.parts(source))
    if saes := given.get("sae"):
        values["sae"] = [naming.absolute(name, home) for name in saes]
    return values


def _absolute_source(source: str, home: Path) -> str:
    if not source.startswith("folder:"):
        return source
    return f"folder:{(home / Path(source.removeprefix('folder:')).expanduser()).resolve()}"


def check_folders() -> None:
    """Raise `UserError` when a folder that runs write to is a file, or cannot be written to."""
    written = {"SAEBOOK_BUILD": paths.build(), "SAEBOOK_RUNS": paths.runs(), "SAEBOOK_CACHE": paths.cache()}
    for variable, folder in written.items():
        above = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
        if not above.is_dir():
            raise UserError(f"{above} is not a folder: move it away, or set {variable} to a folder of yours")
        if not os.access(above, os.W_OK):
            raise UserError(f"{folder} cannot be written to: set {variable} to a folder of yours")


def check(budget: Budget) -> tuple[str, ...]:
    """What the reader should know of a budget before it is run, a line each.

    Raises `UserError` for a folder, a subject, a layer or a context that does not exist, for a text that cannot be split, and
    for a trained SAE on this machine that does not fit.
    """
    ratings = getattr(budget, "ratings", "")
    if ratings and not Path(ratings).is_dir():
        raise UserError(f"parameter ratings must be a folder, and {ratings} is not one")
    if not isinstance(budget, SubjectBudget):
        return ()
    _check_source(budget.source)
    shape = config(budget.subject) or {}
    layers, context = shapes.layers(shape), shapes.context(shape)
    asked = budget.layers if isinstance(budget, SitesBudget) else ()
    asked = (budget.layer,) if isinstance(budget, SiteBudget) else asked
    if layers is not None and (beyond := [layer for layer in asked if layer >= layers]):
        raise UserError(f"parameter layer must be from 0 to {layers - 1} in {budget.subject}, not {beyond[0]}")
    if context is not None and budget.context and budget.context > context:
        raise UserError(f"parameter context must be at most {context} in {budget.subject}, not {budget.context}")
    return _check_saes(budget, shape) if isinstance(budget, SiteBudget) else ()


def _check_saes(budget: SiteBudget, shape: dict[str, Any]) -> tuple[str, ...]:
    """Read the SAEs of a run that lie on this machine: what does not fit is refused, what may not is returned in words."""
    places = [naming.parsed(name) for name in getattr(budget, "sae", None) or ()]
    here = [(place, place.file) for place in places if place.file]
    if not here:
        return ()
    from saebook.book.brought import fitting  # with PyTorch, which no other check needs
    from saebook.subject.sites import SITES

    hook_name, d_in = f"blocks.{budget.layer}.{SITES[budget.site][0]}", shapes.width(shape, budget.site)
    warnings = []
    for place, file in here:
        origin = fitting.opened(place, file, hook_name, d_in, budget.subject).origin
        warnings.append(fitting.doubt(place.label, origin, budget.subject))
    return tuple(filter(None, warnings))


def _check_source(source: str) -> None:
    for part in sources.parts(source):
        if part.startswith("folder:"):
            folder = Path(part.removeprefix("folder:")).expanduser()
            if not folder.is_dir():
                raise UserError(f"parameter source names a folder that does not exist: {folder}")
            _check_split(folder)
        elif part == "sotu":
            sotu.documents()
        elif part != "environment" and not part.removeprefix("hub:").strip():
            raise UserError(f"parameter source must be {sources.SOURCES}")
        elif part.startswith("hub:"):
            hub.parsed(part)
        elif part != "environment":
            raise UserError(f"parameter source must be {sources.SOURCES}, not '{part}'")


def _check_split(folder: Path) -> None:
    """Raise `UserError` for a folder whose files leave nothing to train on, or nothing to measure on."""
    files = [file for file in folder.rglob("*") if file.suffix in _TEXTS and file.stat().st_size]
    held_out = sum(prose.validation(file.relative_to(folder).as_posix()) for file in files)
    if 0 < held_out < len(files):
        return
    has = f"{len(files) or 'no'} text file{'' if len(files) == 1 else 's'} ({', '.join(_TEXTS)})"
    left = "none is left to train on" if files and held_out else "none is held out to measure on"
    raise UserError(
        f"{folder} has {has}, and {left}: about {prose.HELD_OUT_PERCENT} % of files are held out, each as a whole, so give "
        "hundreds of them; `split -n l/400 -d -a 3 --additional-suffix=.txt FILE FOLDER/` makes them of one"
    )


def config(subject: str) -> dict[str, Any] | None:
    """The configuration of a subject in a folder, or None for one that comes from the hub."""
    subject = trained(subject)
    folder = packaged.folder(subject) or _embedded(subject) or Path(subject).expanduser()
    if folder.is_dir():
        file = folder / "config.json"
        try:
            content = json.loads(file.read_text("utf-8"))
        except FileNotFoundError:
            raise UserError(f"subject {folder} is not a model: it has no config.json") from None
        except (OSError, ValueError):
            raise UserError(f"subject {folder} is damaged: its config.json cannot be read") from None
        if not isinstance(content, dict):
            raise UserError(f"subject {folder} is damaged: its config.json does not map names to values")
        return content
    if subject.startswith((".", "/", "~")) or subject.count("/") > 1 or "\\" in subject:
        raise UserError(f"parameter subject names a folder that does not exist: {subject}")
    if not subject.strip():
        raise UserError("parameter subject must name a model")
    if os.environ.get("HF_HUB_OFFLINE") == "1" and ":" not in subject and not _downloaded(subject):
        raise UserError(f"no embedded subject and no folder '{subject}', and the model hub is switched off")
    return None


def _embedded(subject: str) -> Path | None:
    folder = paths.data() / "subjects" / subject
    inside = subject and not Path(subject).is_absolute() and ".." not in Path(subject).parts
    return folder if inside and folder.is_dir() else None


def _downloaded(subject: str) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(subject, "config.json"), str)
    except HFValidationError:
        return False
