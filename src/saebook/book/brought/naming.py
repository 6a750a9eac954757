"""What `-p sae` may name: a file or folder, `OWNER/REPO:PATH` on the model hub, or `RELEASE/SAE_ID` of a known release.

Nothing here imports PyTorch or asks the hub: a wrong name is answered at once.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, StrictStr, ValidationError

from saebook.common import paths, sidecar
from saebook.common.errors import UserError
from saebook.common.limits import problem

_HUB = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(?::(?P<path>[^:]+))?$")


@dataclass(frozen=True)
class Place:
    """Where an SAE is: a `file` (or folder) on this machine, or a `path` in a `repository` of the hub.

    `label` is what figures and tables call it. `model_name` and `hook_name` are what it was made for, where the register of
    releases says so and its own files do not.
    """

    label: str
    file: Path | None = None
    repository: str = ""
    path: str = ""
    model_name: str | None = None
    hook_name: str | None = None


class Release(BaseModel):
    """An entry of `data/releases.yml`. Words in braces in `sae_id`, such as {layer}, stand in `path` and `hook_name` too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: StrictStr
    model_name: StrictStr
    sae_id: StrictStr
    path: StrictStr
    hook_name: StrictStr
    source: StrictStr

    def place(self, release: str, sae_id: str) -> Place:
        """Where the SAE `sae_id` is. Raises `UserError` for an id that the release does not have."""
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[a-z0-9]+)", re.escape(self.sae_id))
        match = re.fullmatch(pattern, sae_id)
        if match is None:
            raise UserError(f"release '{release}' has no SAE '{sae_id}': its SAEs are called {self.sae_id}")
        path, hook_name = (text.format(**match.groupdict()) for text in (self.path, self.hook_name))
        # An id that is the hook's name says nothing that the page does not.
        label = release if sae_id == hook_name else sae_id
        return Place(label, None, self.repository, path, self.model_name, hook_name)


def parsed(name: str, home: Path | None = None) -> Place:
    """The place that `name` names; a relative one is below `home`, by default where the process runs.

    What exists here is a file or folder, whatever else it might name. Raises `UserError` for what is neither there nor a
    name that the hub could know.
    """
    local = (home or Path.cwd()) / Path(name).expanduser()
    if name.strip() and local.exists():
        return Place(local.resolve().name, local.resolve())
    if not name.strip() or name.startswith(("/", "~", ".")) or "\\" in name:
        raise UserError(f"parameter sae: there is no file or folder '{name}'")
    release, _, sae_id = name.partition("/")
    if release in (known := releases()):
        return known[release].place(release, sae_id)
    match = _HUB.match(name)
    if match is None:
        raise UserError(
            f"parameter sae: there is no file or folder '{name}'; of the model hub, use OWNER/REPO:PATH, or RELEASE/SAE_ID of "
            f"{', '.join(known)}"
        )
    path = (match["path"] or "").strip("/")
    if ".." in Path(path).parts:
        raise UserError(f"parameter sae: '{name}' leads out of its repository: use OWNER/REPO:PATH")
    return Place(Path(path).name or match["repository"].split("/")[1], None, match["repository"], path)


def absolute(name: str, home: Path) -> str:
    """`name`, with a relative file or folder resolved against `home`: kernels run in the notebook's own folder."""
    place = parsed(name, home)
    return str(place.file) if place.file else name


def releases() -> dict[str, Release]:
    """The releases that are known by name. Raises `UserError` when their register is damaged."""
    file = paths.data() / "releases.yml"
    try:
        return {str(name): Release.model_validate(entry) for name, entry in sidecar.read_yaml(file).items()}
    except (ValidationError, AttributeError) as error:
        what = f" ({problem(error)})" if isinstance(error, ValidationError) else ""
        raise UserError(f"{file} is damaged{what}: restore it from git") from None
