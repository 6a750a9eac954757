"""The embedded subject's text and activations as .npy files, which every library reads."""

from pathlib import Path

import numpy as np
import torch

from saebook.common import paths
from saebook.subject.model import Subject

SUBJECT, LAYER = "prose-4l128", 1
ROWS, VALIDATION_ROWS = 1088, 32  # rows of 128 tokens; the activations of the former are what is learned from
_SUBJECT_ROWS = 64


def files(folder: Path) -> dict[str, str]:
    """Paths of the packed `rows` [N, T], the `validation` rows, the `activations` [n, D] at resid_post, and the `model`."""
    made = {name: folder / f"{name}.npy" for name in ("rows", "validation", "activations")}
    if not all(file.is_file() for file in made.values()):
        subject = Subject.load(SUBJECT)
        rows = subject.rows("environment", "train")[:ROWS].astype(np.int64)
        folder.mkdir(parents=True, exist_ok=True)
        np.save(made["rows"], rows)
        np.save(made["validation"], subject.rows("environment", "validation")[:VALIDATION_ROWS].astype(np.int64))
        np.save(made["activations"], _activations(subject, rows))
    return {name: str(file) for name, file in made.items()} | {"model": str(paths.data() / "subjects" / SUBJECT)}


def _activations(subject: Subject, rows: np.ndarray) -> np.ndarray:
    site = subject.site("resid_post", LAYER)
    parts = [subject.activations(part, site).flatten(0, 1) for part in torch.from_numpy(rows).split(_SUBJECT_ROWS)]
    x = torch.cat(parts).float().cpu().numpy()
    return x[np.random.default_rng(0).permutation(len(x))]
