"""How our step's cost grows: with the tokens of a batch, the members of a stack, and the width of the dictionary."""

from typing import Any

from bench import KINDS, Bench
from coordinator import BY_LABEL, SMALL, compare

_BASE = {"d_in": 128, "d_sae": 1024, "k": 32, "batch": 256, "members": 1}
_GRID = {
    "batch": (128, 256, 512, 1024, 2048, 4096),
    "members": (1, 2, 4, 8, 16),
    "d_sae": (512, 1024, 2048, 4096, 8192, 16384),
}


def run(bench: Bench) -> list[dict[str, Any]]:
    """Rows: kind, what varies, its value, seconds of a step, tokens times members per second."""
    rows = []
    with bench.workers([BY_LABEL["saebook"]]) as (workers, reasons):
        bench.reasons |= reasons
        for kind in KINDS:
            for varied, values in _GRID.items():
                for value in values[: 2 if bench.quick else None]:
                    shape = {**_BASE, varied: value}
                    task = {"task": "Training", "kind": kind, **shape, "seed": 0, "lr": 1e-6, "penalty": 1.0}
                    timed = compare(workers, task, 2 if bench.quick else 3, bench.enough / 2, small=SMALL)["saebook"]
                    if timed.failed:
                        bench.reasons[f"saebook: {kind} {varied} {value}"] = timed.failed
                        continue
                    speed = shape["batch"] * shape["members"] / timed.median
                    rows.append(
                        {
                            "kind": kind,
                            "varied": varied,
                            "value": value,
                            "seconds": timed.median,
                            "tokens_per_second": speed,
                        }
                    )
    return rows
