"""The distance to the floor: what the necessary products and bytes of a step cost at this machine's measured rates.

Necessary are the encoder's dense product, four sparse products over the n active entries (the decode, the gradient of the
values, both weight gradients; Gated decodes twice), and one pass over both weights and Adam's moments. The floor adds up
products at the rate of a dense product in the precision that is used and bytes at the rate of a copy, as if each were
perfect and nothing overlapped: no program reaches it, because products over active entries run at the memory's pace.
"""

from typing import Any

from bench import KINDS, SHAPES, Bench
from coordinator import BY_LABEL, SMALL, Setting, compare

_MACHINE = Setting("machine", "machine")
_COPY = 256 * 2**20  # bytes: beyond any cache
_PASSES = 6  # weight, two moments: each read once and written once
_PRODUCTS = {"relu": 4, "gated": 6, "topk": 4}  # over active entries, of 2 D operations each


def run(bench: Bench) -> list[dict[str, Any]]:
    """Rows: kind, shape, seconds measured, of the products and of the bytes, their sum, and measured over that sum."""
    rows = []
    with bench.workers([BY_LABEL["saebook"], _MACHINE]) as (workers, reasons):
        bench.reasons |= reasons
        machine, ours = ({name: workers[name]} for name in ("machine", "saebook"))
        copy = compare(machine, {"task": "Copy", "bytes": _COPY}, bench.rounds, bench.enough)["machine"].median
        bandwidth = 2 * _COPY / copy
        precision = workers["saebook"].about["precision"]
        for d_in, d_sae, k, batch in SHAPES[: 1 if bench.quick else None]:
            shape = {"d_in": d_in, "d_sae": d_sae, "k": k, "batch": batch}
            rates = {
                name: 2 * batch * d_in * d_sae / compare(machine, {"task": "Product", "dtype": dtype, **shape}, bench.rounds, bench.enough)["machine"].median
                for name, dtype in (("fp32", "float32"), ("bf16", "bfloat16"))
            }  # fmt: skip
            for kind in KINDS:
                task = {"task": "Training", "kind": kind, **shape, "seed": 0, "lr": 1e-6, "penalty": 1.0}
                measured = compare(ours, task, 3, bench.enough, 1, SMALL)["saebook"].median
                auxiliary = d_in // 2 if kind == "topk" else 0
                entries = batch * (k + auxiliary)
                products = (
                    2 * batch * d_in * d_sae / rates[precision] + _PRODUCTS[kind] * 2 * entries * d_in / rates["fp32"]
                )
                moved = (
                    2 * _PASSES * d_in * d_sae * 4 + 2 * batch * d_sae * (2 if precision == "bf16" else 4)
                ) / bandwidth
                rows.append({
                    "kind": kind, **shape, "threads": bench.threads, "precision": precision, "seconds": measured,
                    "products": products, "bytes": moved, "floor": products + moved, "over_floor": measured / (products + moved),
                    "gflops_fp32": rates["fp32"] / 1e9, "gflops_bf16": rates["bf16"] / 1e9, "gbytes": bandwidth / 1e9,
                })  # fmt: skip
                print(
                    f"{kind:5s} {d_in}/{d_sae}: {1e3 * measured:.1f} ms, floor {1e3 * (products + moved):.1f} ms",
                    flush=True,
                )
    return rows
