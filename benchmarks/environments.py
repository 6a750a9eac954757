"""An environment of its own for each library that we are compared with, so that no pin of one binds another."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).with_name("environments.yml")
_LINES = 12  # lines of pip's complaint that are passed on


class NotInstalled(Exception):
    """An environment could not be made: pip's last words."""


def pins() -> dict[str, dict[str, list[str]]]:
    """What each environment is made of: `install`, and what to `remove` again."""
    return yaml.safe_load(_FILE.read_text("utf-8"))


def python(name: str, home: Path) -> Path:
    """The interpreter of the environment `name` below `home`, which is made first where it is missing or its pins changed.

    Raises `NotInstalled` when pip cannot.
    """
    folder = home / name
    interpreter, stamp = folder / "bin" / "python", folder / "pins"
    wanted = pins()[name]
    mark = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text("utf-8") == mark:
        return interpreter
    print(f"bench: installing {name} into {folder} (once; a few minutes)", flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", str(folder)])
    pip = [str(interpreter), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    _run([*pip, "install", *wanted["install"]])
    if wanted.get("remove"):
        _run([*pip, "uninstall", "--yes", *wanted["remove"]])
    stamp.write_text(mark, "utf-8")
    return interpreter


def versions(interpreter: Path, names: list[str]) -> dict[str, str]:
    """The installed versions of the distributions `names`; one that is not there is left out."""
    program = (
        "import importlib.metadata as m, json, sys\n"
        "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions() if d.metadata['Name'] in sys.argv[1:]}))"
    )
    done = subprocess.run([str(interpreter), "-c", program, *names], capture_output=True, text=True, check=False)
    installed: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
    return dict(sorted(installed.items()))


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-_LINES:]
        raise NotInstalled("; ".join(last)[:500] or f"{command[0]} ended with status {done.returncode}")
