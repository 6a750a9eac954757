"""The precision of products in training: single, or bfloat16 with master weights and optimiser in single precision.

The environment variable SAEBOOK_PRECISION says which: "fp32", "bf16", or "auto", the default, which takes bfloat16 where a
probe of this processor gains by it. The probe's answer is kept on disk, so that later processes agree with the first.
The pass of the subject that makes training's activations follows it; evaluation computes in single precision always.
"""

import json
import math
import os
import time
from typing import Literal

import torch
from torch import Tensor

from saebook.common import hardware, paths
from saebook.common.errors import UserError
from saebook.common.files import write_text
from saebook.sae.kernels import threads

Precision = Literal["fp32", "bf16"]

_GAIN = 1.3  # how many times as fast products must be
_SHAPE = (512, 256, 2048)  # B, D, M of the probe
_ROUNDS = 25
_BF16_SPEED, _FP32_SPEED = 100, 50  # multiplications a nanosecond, roughly: `threads.ranges` asks


def current(device: str = "cpu") -> Precision:
    """The precision of training on `device`. Raises `UserError` for a setting that does not exist."""
    asked = os.environ.get("SAEBOOK_PRECISION", "auto")
    if asked not in ("auto", "fp32", "bf16"):
        raise UserError(f"precision must be auto, bf16 or fp32, not '{asked}'")
    if asked == "auto":
        return "bf16" if device == "cuda" or _gains() else "fp32"
    return "bf16" if asked == "bf16" else "fp32"


def product(a: Tensor, b: Tensor, precision: Precision) -> Tensor:
    """a @ b in the type of `a`; by way of bfloat16 where `precision` says so and a is in single precision."""
    return encoder_product(a, b, precision).to(a.dtype)


def encoder_product(x: Tensor, W: Tensor, precision: Precision) -> Tensor:
    """x @ W [B, M]; with bfloat16 products the outcome is left in bfloat16."""
    speed = _FP32_SPEED
    if precision == "bf16" and x.dtype == torch.float32:
        x, W, speed = x.bfloat16(), W.bfloat16(), _BF16_SPEED
    if not threads.is_resting():
        return torch.mm(x, W)
    # Another thread has a switch of its own for gradients, and it is on.
    x, W, out = x.detach(), W.detach(), x.new_empty(len(x), W.shape[1])

    def rows(first: int, last: int) -> None:
        torch.mm(x[first:last], W, out=out[first:last])

    threads.ranges(rows, len(x), x.numel() * W.shape[1] / speed)
    return out


def _gains() -> bool:
    """Whether bfloat16 is worth it on this processor, by the answer on disk or else by a probe."""
    machine = f"{hardware.processor()}, torch {torch.__version__}"
    file = paths.cache() / "precision.json"
    try:
        known = json.loads(file.read_text("utf-8"))
        return bool(known[machine] >= _GAIN)
    except (OSError, ValueError, KeyError, TypeError):
        gain = probe()
        write_text(file, json.dumps({machine: round(gain, 2)}) + "\n")
        return gain >= _GAIN


def probe() -> float:
    """How many times as fast an encoder's product is in bfloat16, conversions included: under a second.

    Of either the fastest round counts, for other work on the machine can only slow a round down.
    """
    tokens, d_in, d_sae = _SHAPE
    x, W = torch.ones(tokens, d_in), torch.ones(d_in, d_sae)
    seconds: dict[Precision, float] = {"fp32": math.inf, "bf16": math.inf}
    for _ in range(_ROUNDS):
        for precision in seconds:
            begun = time.perf_counter()
            encoder_product(x, W, precision)
            seconds[precision] = min(seconds[precision], time.perf_counter() - begun)
    return seconds["fp32"] / seconds["bf16"]
