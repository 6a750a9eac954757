"""What can be told about a budget before a kernel starts: whether its folders are there, and its subject has its layers."""

import json
import os
from pathlib import Path
from typing import Any

from saebook.book.brought import naming
from saebook.common import paths
from saebook.common.errors import UserError
from saebook.common.limits import Budget, SiteBudget, SitesBudget, SubjectBudget
from saebook.subject import packaged
from saebook.subject.random_weights import trained
from saebook.text import hub, sotu, sources

_LAYERS = ("n_layer", "num_hidden_layers", "num_layers", "n_layers")  # what configurations of models call them
_CONTEXT = ("n_positions", "max_position_embeddings", "n_ctx")


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


def check(budget: Budget) -> None:
    """Raise `UserError` for a budget that names a folder, a subject, a layer or a context that does not exist."""
    ratings = getattr(budget, "ratings", "")
    if ratings and not Path(ratings).is_dir():
        raise UserError(f"parameter ratings must be a folder, and {ratings} is not one")
    if not isinstance(budget, SubjectBudget):
        return
    _check_source(budget.source)
    config = _config(budget.subject)
    if config is None:
        return
    layers, context = (next((config[key] for key in keys if key in config), None) for keys in (_LAYERS, _CONTEXT))
    asked = budget.layers if isinstance(budget, SitesBudget) else ()
    asked = (budget.layer,) if isinstance(budget, SiteBudget) else asked
    if isinstance(layers, int) and (beyond := [layer for layer in asked if layer >= layers]):
        raise UserError(f"parameter layer must be from 0 to {layers - 1} in {budget.subject}, not {beyond[0]}")
    if isinstance(context, int) and budget.context and budget.context > context:
        raise UserError(f"parameter context must be at most {context} in {budget.subject}, not {budget.context}")


def _check_source(source: str) -> None:
    for part in sources.parts(source):
        if part.startswith("folder:"):
            folder = Path(part.removeprefix("folder:")).expanduser()
            if not folder.is_dir():
                raise UserError(f"parameter source names a folder that does not exist: {folder}")
        elif part == "sotu":
            sotu.documents()
        elif part != "environment" and not part.removeprefix("hub:").strip():
            raise UserError(f"parameter source must be {sources.SOURCES}")
        elif part.startswith("hub:"):
            hub.parsed(part)
        elif part != "environment":
            raise UserError(f"parameter source must be {sources.SOURCES}, not '{part}'")


def _config(subject: str) -> dict[str, Any] | None:
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
