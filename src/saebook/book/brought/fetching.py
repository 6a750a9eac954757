"""Files of an SAE from the model hub, into the hub client's own cache."""

from pathlib import Path, PurePosixPath

from saebook.book.brought.naming import Place
from saebook.common.errors import UserError

_READ = {".json", ".yaml", ".safetensors", ".pt"}  # the endings of what some format reads
_LEFT_OUT = {"sparsity.safetensors", "optimizer.pt", "state.pt"}  # beside SAEs, and large


def fetched(place: Place) -> Path:
    """The SAE of `place` on this machine, downloaded where it has to be.

    Raises `UserError` when the hub is out of reach and nothing is cached, and for a repository or path that is not there.
    """
    if place.file:
        return place.file
    from huggingface_hub import constants, hf_hub_download, list_repo_files

    from saebook.subject.loading import silence

    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else silence(constants.ENDPOINT)
    if reason:
        return _cached(place, reason)
    try:
        wanted = _wanted(list_repo_files(place.repository), place)
        files = [Path(hf_hub_download(place.repository, name)) for name in wanted]
    except UserError:
        raise
    except Exception as error:  # the client raises classes of its own, and those of what it is built on
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UserError(f"SAE {_named(place)} cannot be fetched from the hub ({first}): check its name") from None
    return _above(files[0], wanted[0]) / place.path


def _wanted(names: list[str], place: Place) -> list[str]:
    """Of the files of a repository, those of the SAE: its own first, then what may say what it was made for."""
    path = PurePosixPath(place.path)
    if place.path in names:
        own = [place.path]
        beside = [
            str(path.with_suffix(".yaml")),
            *(str(path.parent / name) for name in ("config.json", "final_config.yaml")),
        ]
    else:
        inside = [name for name in names if PurePosixPath(name).parent == path]
        own = [
            name for name in inside if PurePosixPath(name).suffix in _READ and PurePosixPath(name).name not in _LEFT_OUT
        ]
        beside = [str(path.parent / "config.json")] if place.path else []
    if not own:
        folders = sorted({name.split("/")[0] for name in names if "/" in name or name.endswith(".pt")})
        has = f": it has {', '.join(folders[:8])}{', ...' if len(folders) > 8 else ''}" if folders else ""
        raise UserError(f"the hub has no SAE {_named(place)}{has}")
    return [*own, *(name for name in beside if name in names and name not in own)]


def _above(file: Path, name: str) -> Path:
    """The folder of a snapshot in which `file` has the path `name`."""
    return file.parents[len(PurePosixPath(name).parts) - 1]


def _cached(place: Place, reason: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        kept = Path(snapshot_download(place.repository, local_files_only=True)) / place.path
        if kept.exists():
            return kept
    except (OSError, ValueError):  # nothing of that repository was ever fetched
        pass
    raise UserError(
        f"there is no file or folder {_named(place)} here, and the model hub cannot be reached ({reason}): check the name, or "
        "the network"
    )


def _named(place: Place) -> str:
    return f"'{place.repository}{f':{place.path}' if place.path else ''}'"
