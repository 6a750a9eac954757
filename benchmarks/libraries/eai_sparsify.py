"""sparsify (EleutherAI): its SparseCoder, in the steps that its trainer's loop takes for one SAE, with Adam fused.

The loop itself runs inside a language model's forward pass and cannot be fed activations. Its autocast is for CUDA only;
"bf16" asks the CPU's for the same.
"""

import contextlib
import importlib.metadata
from typing import Any

import torch
from libraries.training import Batches
from sparsify import SparseCoder, SparseCoderConfig  # pyright: ignore[reportMissingImports] - in an environment of its own


def about() -> dict[str, str]:
    return {"version": importlib.metadata.version("eai-sparsify"), "torch": torch.__version__}


class Training:
    """Steps of one SAE."""

    def __init__(self, task: dict[str, Any]):
        self.batches, self.bf16 = Batches(task), bool(task.get("bf16"))
        start = self.batches.start
        self.sae = SparseCoder(task["d_in"], SparseCoderConfig(num_latents=task["d_sae"], k=task["k"]))
        with torch.no_grad():
            self.sae.encoder.weight.copy_(start.W_enc.T)
            self.sae.encoder.bias.copy_(start.bias)
            self.sae.W_dec.copy_(start.W_dec)
            self.sae.b_dec.copy_(start.b_dec)
        betas = (task.get("beta1", 0.9), 0.999)
        self.optimiser = torch.optim.Adam(self.sae.parameters(), lr=task["lr"], betas=betas, fused=True)
        self.dead_after, self.weight = task.get("dead_after", 10**7), 1 / 32
        self.since_fired = torch.zeros(task["d_sae"], dtype=torch.long)
        self.since_fired[start.dead] = 10**8

    def run(self, n: int) -> None:
        for _ in range(n):
            x = self.batches.next()
            self.sae.set_decoder_norm_to_unit_norm()
            dead = self.since_fired > self.dead_after
            with torch.autocast("cpu", torch.bfloat16) if self.bf16 else contextlib.nullcontext():
                out = self.sae(x, dead_mask=dead, total_variance=(x - x.mean(0)).pow(2).sum())
            fired = torch.zeros_like(dead)
            fired[out.latent_indices.flatten()] = True
            float(out.fvu.detach())  # its loop reads both every step
            float(out.auxk_loss.detach())
            (out.fvu + self.weight * out.auxk_loss).backward()
            self.sae.remove_gradient_parallel_to_decoder_directions()
            self.optimiser.step()
            self.optimiser.zero_grad()
            self.since_fired += len(x)
            self.since_fired[fired] = 0

    def report(self) -> dict[str, float]:
        dead = float((self.since_fired > self.dead_after).float().mean())
        return self.batches.report(self._read) | {"dead": dead}

    def _read(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out = self.sae(x)
        f = torch.zeros(len(x), self.sae.num_latents).scatter_(1, out.latent_indices, out.latent_acts.float())
        return f, out.sae_out
