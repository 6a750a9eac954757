"""SAELens: its own trainer, Adam fused, on our batches. TopK's activations dense or sparse; bf16 is its `autocast`."""

from typing import Any

import torch
from libraries.training import Batches
from sae_lens import (  # pyright: ignore[reportMissingImports] - lives in an environment of its own
    GatedTrainingSAE,
    GatedTrainingSAEConfig,
    StandardTrainingSAE,
    StandardTrainingSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
    __version__,
)
from sae_lens.config import SAETrainerConfig  # pyright: ignore[reportMissingImports]
from sae_lens.training.sae_trainer import SAETrainer  # pyright: ignore[reportMissingImports]


def about() -> dict[str, str]:
    return {"version": __version__, "torch": torch.__version__}


def sae(kind: str, d_in: int, d_sae: int, task: dict[str, Any]):
    """An SAE for training. With `file`, TopK as it comes; for timing, without its rescaling by the decoder's norm."""
    shared: dict[str, Any] = {"d_in": d_in, "d_sae": d_sae, "apply_b_dec_to_input": True}
    if kind == "relu":
        return StandardTrainingSAE(StandardTrainingSAEConfig(**shared, l1_coefficient=task["penalty"]))
    if kind == "gated":
        return GatedTrainingSAE(GatedTrainingSAEConfig(**shared, l1_coefficient=task["penalty"]))
    return TopKTrainingSAE(
        TopKTrainingSAEConfig(
            **shared,
            k=task["k"],
            use_sparse_activations=bool(task.get("sparse")),
            rescale_acts_by_decoder_norm="file" in task,
        )
    )


def fused(optimiser: torch.optim.Optimizer) -> None:
    """Let an Adam that was made without it run fused."""
    for group in optimiser.param_groups:
        group.update(fused=True, foreach=False)


class Training:
    """Steps of one SAE."""

    def __init__(self, task: dict[str, Any]):
        self.batches = Batches(task)
        start = self.batches.start
        self.sae = sae(task["kind"], task["d_in"], task["d_sae"], task)
        with torch.no_grad():
            self.sae.W_enc.copy_(start.W_enc)
            self.sae.W_dec.copy_(start.W_dec)
            self.sae.b_dec.copy_(start.b_dec)
            for bias in (self.sae.b_gate, self.sae.b_mag) if task["kind"] == "gated" else (self.sae.b_enc,):
                bias.copy_(start.bias)
        config = SAETrainerConfig(
            total_training_samples=10**9, train_batch_size_samples=task["batch"], lr=task["lr"], lr_end=task["lr"],
            adam_beta1=task.get("beta1", 0.9), autocast=bool(task.get("bf16")),
            dead_feature_window=task.get("dead_after", 10**9) // task["batch"] if "file" in task else 1000,
        )  # fmt: skip
        self.trainer = SAETrainer(config, self.sae, iter(()))
        fused(self.trainer.optimizer)
        self.trainer.n_forward_passes_since_fired[start.dead] = 10**6

    def run(self, n: int) -> None:
        for _ in range(n):
            self.trainer.maybe_reset_sparsity()
            self.trainer.step(self.batches.next())
            self.trainer.n_training_steps += 1

    def report(self) -> dict[str, float]:
        dead = float(self.trainer.dead_neurons.float().mean())
        return self.batches.report(self._read) | {"dead": dead}

    def _read(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        f = self.sae.encode(x)
        return f.to_dense() if f.is_sparse else f, self.sae.decode(f)
