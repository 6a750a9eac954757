"""The folders of the book: every other module asks here.

The repository is the folder that holds ``notebooks/`` and ``_config.yml``. An editable install finds it from
this file; anything else (a wheel, a copy of the package) names it in the environment variable ``SAEBOOK_HOME``.
Caches, trained SAEs and what a build makes can be moved with ``SAEBOOK_CACHE``, ``SAEBOOK_RUNS`` and ``SAEBOOK_BUILD``.
"""

import os
from pathlib import Path

from saebook.common.errors import UserError


def root() -> Path:
    """The repository's folder. Raises `UserError` when it cannot be determined."""
    named = os.environ.get("SAEBOOK_HOME")
    home = Path(named) if named else Path(__file__).resolve().parents[3]
    if not (home / "_config.yml").is_file():
        raise UserError(f"{home} is not the book's folder (no _config.yml): set SAEBOOK_HOME to your clone")
    return home


def data() -> Path:
    """Committed data: papers, subjects, results."""
    return root() / "data"


def cache() -> Path:
    """Files that can be made again: the corpus, packed tokens and activations. Git-ignored."""
    return Path(os.environ.get("SAEBOOK_CACHE") or data() / "cache")


def runs() -> Path:
    """The store of trained SAEs. Git-ignored."""
    return Path(os.environ.get("SAEBOOK_RUNS") or data() / "runs")


def build() -> Path:
    """The folder for output: executed notebooks, live results, pages. Git-ignored."""
    return Path(os.environ.get("SAEBOOK_BUILD") or root() / "_build")
