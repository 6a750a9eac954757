"""One training step: hand-written gradients against plain autograd of the same loss, side by side in one process.

    make bench

Both sides run on the same data, alternating, with the same optimiser left out; each line is the median of the pairwise ratios.
"""

import statistics
import time

import torch

from saebook.sae.base import Member
from saebook.sae.registry import build

SHAPES = [("relu", 1536, (0.5, 2.0)), ("gated", 1024, (0.5, 2.0)), ("topk", 4096, (16, 32))]
BATCH, D_IN, ROUNDS = 1024, 128, 9


def seconds(work) -> float:
    begun = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(
        f"{device}, {torch.get_num_threads()} threads, batch {BATCH}, d_in {D_IN}, 4 members; tokens x members per second"
    )
    for kind, d_sae, sparsities in SHAPES:
        members = tuple(Member(seed, sparsity) for seed in (0, 1) for sparsity in sparsities)
        stack = build(kind, D_IN, d_sae, members, device=device)
        x = torch.randn(BATCH, D_IN, generator=torch.Generator().manual_seed(0)).to(device)

        def plain(stack=stack, x=x):
            stack.zero_grad(set_to_none=False)
            stack.loss(x).total.sum().backward()

        def fast(stack=stack, x=x):
            stack.step_gradients(x)

        plain()
        fast()
        pairs = [(seconds(plain), seconds(fast)) for _ in range(ROUNDS)]
        ratio = statistics.median(a / b for a, b in pairs)
        a, b = (BATCH * len(members) / statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{kind:6s} d_sae {d_sae}: autograd {a:9,.0f}   by hand {b:9,.0f}   ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
