"""The whole cpu book at the tokens of former_budgets.yml, in a copy of the last commit with nothing trained or cached.

It takes about ten minutes, so it runs only when it is named.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from bench import Bench

from saebook.common import paths
from saebook.common.errors import UserError

_BUDGETS = Path(__file__).parents[1] / "former_budgets.yml"
_CORES = 2


def run(bench: Bench) -> list[dict[str, Any]]:
    """One row: tier, cores, and seconds of the book. Raises `UserError` when a notebook fails."""
    tier = "smoke" if bench.quick else "cpu"
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        home = Path(folder) / "saebook"
        subprocess.run(["git", "clone", "--quiet", paths.root(), home], check=True)
        for name, budget in yaml.safe_load(_BUDGETS.read_text("utf-8")).items():
            sidecar = home / "notebooks" / f"{name}.yml"
            content = yaml.safe_load(sidecar.read_text("utf-8"))
            content["budgets"]["cpu"] |= budget
            sidecar.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), "utf-8")
        here = {"SAEBOOK_CACHE", "SAEBOOK_RUNS", "SAEBOOK_BUILD"}
        environment = {name: value for name, value in os.environ.items() if name not in here}
        environment |= {"PYTHONPATH": str(home / "src"), "SAEBOOK_HOME": str(home)}
        cores = sorted(os.sched_getaffinity(0))[:_CORES]
        command = [
            "taskset",
            "-c",
            ",".join(map(str, cores)),
            sys.executable,
            "-m",
            "saebook.cli",
            "book",
            "--tier",
            tier,
        ]
        began = time.monotonic()
        done = subprocess.run(command, cwd=home, env=environment, check=False)
        seconds = time.monotonic() - began
        if done.returncode:
            raise UserError("the book did not build: see above")
    return [{"setting": "saebook", "library": "ours", "tier": tier, "cores": len(cores), "seconds": seconds}]
