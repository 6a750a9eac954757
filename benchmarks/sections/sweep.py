"""Twelve Gated SAEs on one stream of the subject's activations: from rows of text to trained SAEs.

Ours is one stack in `training.loop.train`, fed by an `ActivationBuffer` that begins with no stored activations. SAELens' is
its `MultiSAETrainer`, fed by its own `ActivationsStore` from the same weights as a HookedTransformer. Same rows, widths,
penalties, rates, and batch; each library has its own initialisation, order of the tokens, and (ours) resampling.
"""

from typing import Any

import text
from bench import Bench, label_rows
from coordinator import WITH_SUBJECT, compare

SETTINGS = (
    WITH_SUBJECT["saebook"], WITH_SUBJECT["SAELens"], WITH_SUBJECT["SAELens bf16"]
)  # fmt: skip
_PENALTIES, _SEEDS = (0.1, 0.5, 2.0, 8.0), 3
_ROUNDS = 3


def run(bench: Bench) -> list[dict[str, Any]]:
    """Rows: saes, tokens, setting, seconds of the sweep, its ratio to ours with its range, mean L0 and error, memory."""
    tokens = 4096 if bench.quick else 65_536
    shape = {"kind": "gated", "d_in": 128, "d_sae": 1024, "batch": 256, "tokens": tokens}
    task = {
        "task": "Sweep", "above_prepared": True, **shape, **text.files(bench.folder), "subject": text.SUBJECT, "layer": text.LAYER,
        "penalties": _PENALTIES, "seeds": _SEEDS, "lr": 1e-2, "beta1": 0.0, "beta2": 0.95,
    }  # fmt: skip
    with bench.workers(SETTINGS) as (workers, reasons):
        bench.reasons |= reasons
        timed = compare(workers, task, 1 if bench.quick else _ROUNDS, 0.0, warm=0, small={"tokens": 1024})
    bench.failures(timed, "sweep")
    return label_rows(timed, {**shape, "saes": len(_PENALTIES) * _SEEDS, "threads": bench.threads}, tokens)
