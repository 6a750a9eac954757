"""Do they learn the same? Loss curves on the same activations in the same order, from the same start.

Error and L0 on held-out activations are read every few steps with each library's own encoder and decoder. Adam's betas,
rate and penalty are the same; the rate is constant, nothing is resampled. TopK has the auxiliary loss for latents that were
silent for some batches, each library's own. What remains different is each library's step.
"""

import time
from typing import Any

import text
from bench import KINDS, Bench
from coordinator import SETTINGS, SMALL, Failed

_DEAD_AFTER = 16_384  # tokens without firing after which AuxK takes a latent
_SKIPPED = ("SAELens sparse",)  # the same arithmetic as its dense form, only slower


def run(bench: Bench) -> list[dict[str, Any]]:
    """Rows: kind, setting, step, normalised_mse, l0, dead, and seconds spent in steps so far."""
    steps, every = (16, 8) if bench.quick else (512, 32)
    rows: list[dict[str, Any]] = []
    with bench.workers([s for s in SETTINGS if s.label not in _SKIPPED]) as (workers, reasons):
        bench.reasons |= reasons
        for kind in KINDS:
            task = {
                "task": "Training", "kind": kind, "d_in": 128, "d_sae": 1024, "k": 32, "batch": 256, "seed": 0, "lr": 1e-3,
                "penalty": 0.5, "beta1": 0.9, "dead_after": _DEAD_AFTER, "file": text.files(bench.folder)["activations"],
            }  # fmt: skip
            for label, worker in workers.items():
                if kind not in worker.setting.kinds:
                    continue
                try:
                    for one in ({**{n: v for n, v in task.items() if n != "file"}, **SMALL}, task):
                        worker.ask("prepare", **one, **dict(worker.setting.options))
                        if one is not task:
                            worker.ask("run", n=2)  # what a step loads once counts for no curve
                    rows += _curve(worker, {"kind": kind, "setting": label}, steps, every)
                    worker.ask("end")
                except Failed as failure:
                    bench.reasons[f"{label}: learning {kind}"] = str(failure)
            print(f"{kind}: {time.strftime('%H:%M:%S')}", flush=True)
    return rows


def _curve(worker, shared: dict[str, Any], steps: int, every: int) -> list[dict[str, Any]]:
    rows, spent = [], 0.0
    for step in range(0, steps + 1, every):
        if step:
            spent += worker.ask("run", n=every)["seconds"]
        report = worker.ask("report")
        rows.append(
            {**shared, "step": step, "seconds": spent}
            | {name: report[name] for name in ("normalised_mse", "l0", "dead")}
        )
    return rows
