"""A whole training step, ours against SAELens', side by side in one process on the same activations.

    pip install -e . "sae-lens>=6.54"     # in an environment of its own: SAELens holds TransformerLens at 3.x
    python benchmarks/peers.py

A step is what a training loop repeats: losses, gradients, norm constraint or clipping, Adam, counts of silent latents. SAELens
gets its own step with the better of its flags: Adam fused, and for TopK the faster of dense and sparse activations. Dead
latents are a tenth of all, so that both auxiliary losses have work. Each line is the median of the pairwise ratios.
"""

import statistics
import time

import torch
from sae_lens import (  # pyright: ignore[reportMissingImports] - not in the lock: see above
    GatedTrainingSAE,
    GatedTrainingSAEConfig,
    StandardTrainingSAE,
    StandardTrainingSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)  # fmt: skip
from sae_lens.saes.sae import TrainStepInput  # pyright: ignore[reportMissingImports]

from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.training.loop import TrainConfig, TrainState

BATCH, ROUNDS = 1024, 9
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def seconds(side, x) -> float:
    begun = time.perf_counter()
    side.step(x)
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


class Theirs:
    """SAELens' training step, as its trainer does it."""

    def __init__(self, sae, coefficients: dict):
        self.sae, self.coefficients = sae.to(DEVICE), coefficients
        self.optimiser = torch.optim.Adam(sae.parameters(), lr=1e-3, betas=(0.9, 0.999), fused=True)
        self.silent = torch.zeros(sae.cfg.d_sae, device=DEVICE)
        self.dead = torch.arange(sae.cfg.d_sae, device=DEVICE) < sae.cfg.d_sae // 10

    def step(self, x) -> None:
        out = self.sae.training_forward_pass(TrainStepInput(x, self.coefficients, self.dead, 1, False))
        with torch.no_grad():
            fired = out.feature_acts.bool().float().sum(-2).bool()
            fired = fired.to_dense() if fired.is_sparse else fired
            self.silent += 1
            self.silent[fired] = 0
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(self.sae.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()


def theirs(kind: str, d_in: int, d_sae: int, k: int) -> list[Theirs]:
    shared = {"d_in": d_in, "d_sae": d_sae, "device": DEVICE}
    if kind == "relu":
        return [Theirs(StandardTrainingSAE(StandardTrainingSAEConfig(**shared, l1_coefficient=1.0)), {"l1": 1.0})]
    if kind == "gated":
        return [Theirs(GatedTrainingSAE(GatedTrainingSAEConfig(**shared, l1_coefficient=1.0)), {"l1": 1.0})]
    return [
        Theirs(TopKTrainingSAE(TopKTrainingSAEConfig(**shared, k=k, use_sparse_activations=sparse)), {})
        for sparse in (False, True)
    ]


class Ours:
    def __init__(self, kind: str, d_in: int, d_sae: int, k: int):
        member = Member(0, float(k) if kind == "topk" else 1.0)
        self.state = TrainState(
            build(kind, d_in, d_sae, (member,), device=DEVICE), TrainConfig(lr=1e-3, tokens=BATCH * 10**6)
        )
        self.state.silent[:, : d_sae // 10] = BATCH * 10**6
        self.number = 0

    def step(self, x) -> None:
        self.number += 1
        self.state.silent[:, : self.state.stack.d_sae // 10] = BATCH * 10**6  # they stay dead, as theirs do
        self.state.step(x, self.number)


def runs(other: Theirs, x) -> bool:
    """Whether a flag of theirs works on this device; sparse activations raise on some CPU builds."""
    try:
        other.step(x)
    except NotImplementedError:
        return False
    return True


def main() -> None:
    print(f"{DEVICE}, {torch.get_num_threads()} threads, batch {BATCH}; tokens per second of one SAE in training")
    for kind, d_in, d_sae, k in (
        ("relu", 128, 1536, 0), ("gated", 128, 1024, 0), ("topk", 128, 1024, 32), ("topk", 128, 4096, 32),
        ("relu", 512, 4096, 0), ("gated", 512, 4096, 0), ("topk", 512, 8192, 64),
    ):  # fmt: skip
        x = torch.randn(BATCH, d_in, generator=torch.Generator().manual_seed(0)).to(DEVICE)
        ours, others = Ours(kind, d_in, d_sae, k), theirs(kind, d_in, d_sae, k)
        ours.state.stack.init_bias(x)
        ours.step(x)
        others = [other for other in others if runs(other, x)]
        best = min(others, key=lambda other: min(seconds(other, x) for _ in range(2)))
        pairs = [(seconds(best, x), seconds(ours, x)) for _ in range(ROUNDS)]
        ratio = statistics.median(a / b for a, b in pairs)
        a, b = (BATCH / statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{kind:6s} {d_in:4d} -> {d_sae:5d}: SAELens {a:9,.0f}   ours {b:9,.0f}   ratio {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
