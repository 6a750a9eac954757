"""All metrics of twelve SAEs on validation rows: ours at once, a plain loop over SAEs, and SAELens' `run_evals` for each."""

from typing import Any

import text
from bench import Bench, label_rows
from coordinator import PLAIN, WITH_SUBJECT, compare

SETTINGS = (WITH_SUBJECT["saebook"], PLAIN, WITH_SUBJECT["SAELens"])


def run(bench: Bench) -> list[dict[str, Any]]:
    """Rows: saes, tokens, setting, seconds, ratio to ours with its range, and the L0 and loss that each one measured."""
    members, tokens = 2 if bench.quick else 12, text.VALIDATION_ROWS * 128
    shape = {"d_in": 128, "d_sae": 1024, "k": 32}
    task = {
        "task": "Evaluation", "above_prepared": True, **shape, **text.files(bench.folder), "subject": text.SUBJECT, "layer": text.LAYER,
        "members": members,
    }  # fmt: skip
    with bench.workers(SETTINGS) as (workers, reasons):
        bench.reasons |= reasons
        timed = compare(workers, task, 1 if bench.quick else 3, 0.0, warm=1)
    bench.failures(timed, "evaluation")
    return label_rows(timed, {**shape, "saes": members, "tokens": tokens, "threads": bench.threads}, tokens * members)
