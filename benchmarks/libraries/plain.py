"""The reference path, written plainly: what the e2e paper's code and the usual evaluations do, with no shortcut.

A step runs the whole model twice from the tokens, once as it is and once with the SAE's output in place of the activations,
makes the logits of both whole, takes two log-softmaxes and their KL divergence, and goes back through all of it by
autograd to a decoder that is normalised within the graph (Braun et al. 2024 and their released code).
"""

from typing import Any

import numpy as np
import torch
from libraries.training import batch_of, raw_start
from torch import Tensor, nn
from torch.nn import functional as F


def about() -> dict[str, str]:
    return {"version": "", "torch": torch.__version__}


def bridge(folder: str):
    """The language model, frozen."""
    from transformer_lens.model_bridge import TransformerBridge

    model: Any = TransformerBridge.boot_transformers(folder, device="cpu", dtype=torch.float32)
    model.requires_grad_(False)
    return model.eval()


class SAE(nn.Module):
    """f = ReLU(W_enc x + b_enc); xhat = f . W_dec / ||W_dec|| + b_dec."""

    def __init__(self, d_in: int, d_sae: int):
        super().__init__()
        self.encoder = nn.Linear(d_in, d_sae)
        self.W_dec = nn.Parameter(nn.init.orthogonal_(torch.empty(d_sae, d_in)))
        self.b_dec = nn.Parameter(torch.zeros(d_in))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        f = F.relu(self.encoder(x))
        return f @ F.normalize(self.W_dec, dim=1) + self.b_dec, f


class EndToEnd:
    """Steps of one SAE that is judged by the subject's predictions."""

    def __init__(self, task: dict[str, Any]):
        torch.manual_seed(0)
        self.rows, self.task, self.model = torch.from_numpy(np.load(task["rows"])), task, bridge(task["model"])
        self.sae = SAE(task["d_in"], task["d_sae"])
        self.optimiser = torch.optim.Adam(self.sae.parameters(), lr=task["lr"], fused=True)
        self.hook, self.number = f"blocks.{task['layer']}.hook_resid_pre", 0

    def run(self, n: int) -> None:
        for _ in range(n):
            kl, f = self._forward(batch_of(self.rows, self.number, self.task["count"]))
            loss = kl + self.task["penalty"] / self.task["d_in"] * f.sum(-1).mean()
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            self.number += 1

    def _forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        seen: list[Tensor] = []

        def replace(value: Tensor, hook) -> Tensor:
            xhat, f = self.sae(value)
            seen.append(f)
            return xhat

        with torch.no_grad():
            logits = self.model(tokens, return_type="logits")
        with self.model.hooks(fwd_hooks=[(self.hook, replace)]):
            new = self.model(tokens, return_type="logits")
        p, q = F.log_softmax(logits, -1).flatten(0, 1), F.log_softmax(new, -1).flatten(0, 1)
        return F.kl_div(q, p, log_target=True, reduction="batchmean"), seen[0]

    def report(self) -> dict[str, float]:
        with torch.no_grad():
            kl, f = self._forward(self.rows[: self.task["count"]])
        return {"kl": float(kl), "l0": float((f > 0).sum(-1).float().mean())}


class Evaluation:
    """The metrics of several SAEs, one after the other: each runs the model for its own activations and three losses."""

    def __init__(self, task: dict[str, Any]):
        self.rows, self.model, self.task = torch.from_numpy(np.load(task["validation"])), bridge(task["model"]), task
        self.hook, self.measured = f"blocks.{task['layer']}.hook_resid_post", []
        self.saes = []
        for i in range(task["members"]):
            start, scale = raw_start(task, i)
            self.saes.append((start.W_enc, start.bias / scale, start.W_dec, start.b_dec / scale))

    @torch.no_grad()
    def run(self, n: int) -> None:
        for _ in range(n):
            self.measured = [self._measure(sae) for sae in self.saes]

    def _measure(self, sae: tuple[Tensor, ...]) -> dict[str, float]:
        W_enc, b_enc, W_dec, b_dec = sae
        sums: dict[str, float] = {}
        for tokens in self.rows.split(32):
            seen: list[Tensor] = []
            clean = self._loss(tokens, lambda x, seen=seen: seen.append(x) or x)
            x = seen[0]
            f = F.relu((x - b_dec) @ W_enc + b_enc)
            xhat = f @ W_dec + b_dec
            values = {
                "clean": clean, "ce": self._loss(tokens, lambda x, xhat=xhat: xhat),
                "zero": self._loss(tokens, torch.zeros_like), "l0": (f > 0).sum(), "error": (x - xhat).square().sum(),
                "dot": (x * xhat).sum(), "norm": xhat.square().sum(), "norm_in": x.square().sum(),
                "variance": (x - x.mean((0, 1))).square().sum(),
            }  # fmt: skip
            sums = {name: sums.get(name, 0.0) + float(value) for name, value in values.items()}
        count = self.rows.numel()
        return {"l0": sums["l0"] / count, "ce": sums["ce"] / (count - len(self.rows))} | {
            name: sums[name] for name in ("clean", "zero", "error", "dot", "norm", "norm_in", "variance")
        }

    def _loss(self, tokens: Tensor, replace) -> Tensor:
        with self.model.hooks(fwd_hooks=[(self.hook, lambda value, hook: replace(value))]):
            logits = self.model(tokens, return_type="logits")
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum")

    def report(self) -> dict[str, float]:
        return {name: float(np.mean([one[name] for one in self.measured])) for name in ("l0", "ce")}
