"""One whole training step of one SAE, with its peak of memory: every setting of every library, side by side.

A step is what a training loop repeats: losses, gradients, norm constraints or clipping as the library has them, Adam, and
the counts of silent latents. The SAEs begin at the planted directions, so that about k latents are active per token, and
the learning rate is so small that they stay. TopK has a tenth of its latents dead and the auxiliary loss at work.
"""

from typing import Any

from bench import KINDS, SHAPES, Bench, label_rows, same_data
from coordinator import SETTINGS, SMALL, compare

_CHEAP = 2  # shapes, from the first, that are measured with one thread too
_LAST_ROUNDS = 3  # rounds at the largest shape, where a step takes seconds


def run(bench: Bench) -> list[dict[str, Any]]:
    """Rows: d_in, d_sae, k, batch, kind, threads, setting, seconds of a step, ratio to ours with its range, l0, memory."""
    shapes = SHAPES[:1] if bench.quick else SHAPES
    rows = _shapes(bench, shapes, bench.threads)
    if bench.threads > 1 and not bench.quick:
        rows += _shapes(bench, shapes[:_CHEAP], 1)
    return rows


def _shapes(bench: Bench, shapes, threads: int) -> list[dict[str, Any]]:
    rows = []
    with bench.workers(SETTINGS, threads) as (workers, reasons):
        bench.reasons |= reasons
        for shape in shapes:
            d_in, d_sae, k, batch = shape
            for kind in KINDS:
                shared = {"kind": kind, "d_in": d_in, "d_sae": d_sae, "k": k, "batch": batch}
                task = {"task": "Training", **shared, "seed": 0, "lr": 1e-6, "penalty": 1.0}
                able = {label: w for label, w in workers.items() if kind in w.setting.kinds}
                last = shape == SHAPES[-1]
                rounds = min(bench.rounds, _LAST_ROUNDS) if last else bench.rounds
                timed = compare(able, task, rounds, bench.enough, 1 if last else 3, SMALL)
                same_data(timed)
                bench.failures(timed, f"step {kind} {d_in}/{d_sae}")
                rows += label_rows(timed, {**shared, "threads": threads}, batch)
                _say(rows[-len(timed) :])
    return rows


def _say(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        name = f"{row['kind']:5s} {row['d_in']}/{row['d_sae']}/{row['batch']} {row['setting']:24s}"
        if row["failed"]:
            print(f"{name} failed: {row['failed']}", flush=True)
        else:
            print(
                f"{name} {1e3 * row['seconds']:9.2f} ms  ratio {row['ratio'] or float('nan'):5.2f}  L0 {row['l0']:.1f}",
                flush=True,
            )
