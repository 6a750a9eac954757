"""The public address of this clone's code, if it has one, read from git."""

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from saebook.common import paths

_SSH = re.compile(r"(?:ssh://)?git@(?P<host>[\w.-]+)[:/](?P<path>.+)")


def repository_url(root: Path | None = None) -> str | None:
    """The web address of the clone at `root`, from `git remote get-url origin`; None when it has no public remote.

    Both `https://HOST/OWNER/NAME.git` and `git@HOST:OWNER/NAME.git` become `https://HOST/OWNER/NAME`. User names and
    tokens are left out, and so are remotes on this machine or without a domain name. None also when `root` (the
    book's folder by default) is not a clone, or git is not installed.
    """
    root = root or paths.root()
    if not (root / ".git").exists():  # otherwise git would answer for a repository further up
        return None
    try:
        command = ["git", "-C", str(root), "remote", "get-url", "origin"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return web_address(done.stdout.strip()) if done.returncode == 0 else None


def web_address(remote: str) -> str | None:
    """The https address of a git remote, without user, port or suffix; None for one that a browser cannot open."""
    ssh = _SSH.fullmatch(remote)
    if ssh:
        host, path = ssh["host"], ssh["path"]
    else:
        address = urlsplit(remote)
        if address.scheme != "https":
            return None
        host, path = address.hostname or "", address.path
    path = path.strip("/").removesuffix(".git")
    if "." not in host or not re.fullmatch(r"[\w.-]+(/[\w.-]+)+", path):
        return None
    return f"https://{host}/{path}"
