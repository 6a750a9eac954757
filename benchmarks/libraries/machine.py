"""What this machine can do: matrix products and copies, with the threads that the libraries have."""

from typing import Any

import torch


def about() -> dict[str, str]:
    return {"version": "", "torch": torch.__version__}


class Product:
    """The encoder's product [B, D] x [D, M], in `dtype`."""

    def __init__(self, task: dict[str, Any]):
        dtype = getattr(torch, task["dtype"])
        self.x, self.W = (
            torch.randn(task["batch"], task["d_in"]).to(dtype),
            torch.randn(task["d_in"], task["d_sae"]).to(dtype),
        )
        self.out = torch.empty(task["batch"], task["d_sae"], dtype=dtype)

    def run(self, n: int) -> None:
        for _ in range(n):
            torch.mm(self.x, self.W, out=self.out)

    def report(self) -> dict[str, float]:
        return {}


class Copy:
    """A copy of `bytes` bytes, which reads and writes as many."""

    def __init__(self, task: dict[str, Any]):
        self.source = torch.randn(task["bytes"] // 4)
        self.target = torch.empty_like(self.source)

    def run(self, n: int) -> None:
        for _ in range(n):
            self.target.copy_(self.source)

    def report(self) -> dict[str, float]:
        return {}
