"""One end-to-end step of one SAE (KL of the predictions), against the reference code path written plainly, with memory."""

from typing import Any

import text
from bench import Bench, label_rows
from coordinator import PLAIN, WITH_SUBJECT, compare

_COUNTS = (2, 32)  # rows of 128 tokens in a batch: what the cpu tier's chapters take, and many


def run(bench: Bench) -> list[dict[str, Any]]:
    """Rows: batch, setting, seconds of a step, its ratio to ours with its range, KL, L0, memory."""
    rows = []
    with bench.workers([WITH_SUBJECT["saebook"], PLAIN]) as (workers, reasons):
        bench.reasons |= reasons
        for count in _COUNTS[: 1 if bench.quick else None]:
            shape = {"d_in": 128, "d_sae": 1024, "batch": 128 * count}
            task = {
                "task": "EndToEnd", "above_prepared": True, **shape, **text.files(bench.folder), "subject": text.SUBJECT, "layer": text.LAYER,
                "count": count, "lr": 1e-3, "penalty": 0.1,
            }  # fmt: skip
            timed = compare(workers, task, bench.rounds, 2 * bench.enough, small={"count": 1})
            bench.failures(timed, f"e2e step of {count} rows")
            rows += label_rows(timed, {**shape, "threads": bench.threads}, shape["batch"])
    return rows
