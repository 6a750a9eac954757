"""dictionary_learning: its own trainers, Adam fused, on our batches.

Its loop `trainSAE` turns autocast on for CUDA only; "bf16" wraps the same call in the CPU's autocast, as the loop does there.
"""

import contextlib
from typing import Any

import torch
from dictionary_learning import __version__  # pyright: ignore[reportMissingImports] - lives in an environment of its own
from dictionary_learning.trainers import (  # pyright: ignore[reportMissingImports]
    GatedSAETrainer,
    StandardTrainer,
    TopKTrainer,
)
from libraries.training import Batches

_STEPS = 10**6


def about() -> dict[str, str]:
    return {"version": __version__, "torch": torch.__version__}


class Training:
    """Steps of one SAE."""

    def __init__(self, task: dict[str, Any]):
        self.batches, self.bf16, self.kind = Batches(task), bool(task.get("bf16")), task["kind"]
        start = self.batches.start
        shared: dict[str, Any] = {
            "steps": _STEPS, "activation_dim": task["d_in"], "dict_size": task["d_sae"], "layer": 0, "lm_name": "none",
            "lr": task["lr"], "warmup_steps": 0, "device": "cpu",
        }  # fmt: skip
        if self.kind == "topk":
            self.trainer = TopKTrainer(**shared, k=task["k"])
            self.trainer.dead_feature_threshold = task.get("dead_after", 10**7)
            self.trainer.num_tokens_since_fired[start.dead] = 10**8
        else:
            made = StandardTrainer if self.kind == "relu" else GatedSAETrainer
            self.trainer = made(**shared, l1_penalty=task["penalty"], sparsity_warmup_steps=None)
        ae = self.trainer.ae
        with torch.no_grad():
            ae.encoder.weight.copy_(start.W_enc.T)
            ae.decoder.weight.copy_(start.W_dec.T)
            getattr(ae, {"relu": "bias", "gated": "decoder_bias", "topk": "b_dec"}[self.kind]).copy_(start.b_dec)
            for bias in (ae.gate_bias, ae.mag_bias) if self.kind == "gated" else (ae.encoder.bias,):
                bias.copy_(start.bias)
        for group in self.trainer.optimizer.param_groups:
            group.update(fused=True, foreach=False, betas=(task.get("beta1", group["betas"][0]), 0.999))
        self.step = 0

    def run(self, n: int) -> None:
        for _ in range(n):
            x = self.batches.next()
            self.step += 1  # at step 0 it sets b_dec itself
            with torch.autocast("cpu", torch.bfloat16) if self.bf16 else contextlib.nullcontext():
                self.trainer.update(self.step, x.bfloat16() if self.bf16 else x)

    def report(self) -> dict[str, float]:
        dead = max(0, getattr(self.trainer, "dead_features", 0)) / self.trainer.ae.dict_size
        return self.batches.report(self._read) | {"dead": float(dead)}

    def _read(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        f = self.trainer.ae.encode(x)
        return f, self.trainer.ae.decode(f)
