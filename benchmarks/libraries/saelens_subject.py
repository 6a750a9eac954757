"""SAELens with the subject: its trainer for several SAEs on its own stream of activations, and its evaluations.

The embedded subject becomes a HookedTransformer, the class that SAELens runs fastest: the weights are the same.
"""

import importlib
from typing import Any

import datasets  # pyright: ignore[reportMissingImports] - lives in an environment of its own
import numpy as np
import torch
import transformers
from libraries.saelens import about, fused, sae
from libraries.training import quality, raw_start
from sae_lens import StandardTrainingSAE, StandardTrainingSAEConfig  # pyright: ignore[reportMissingImports]
from sae_lens.config import SAETrainerConfig  # pyright: ignore[reportMissingImports]
from sae_lens.evals import EvalConfig, run_evals  # pyright: ignore[reportMissingImports]
from sae_lens.training.activation_scaler import ActivationScaler  # pyright: ignore[reportMissingImports]
from sae_lens.training.activations_store import ActivationsStore  # pyright: ignore[reportMissingImports]
from sae_lens.training.multi_sae_trainer import MultiSAETrainer  # pyright: ignore[reportMissingImports]

# TransformerLens 3.9, where our own environment, which the type checker reads, has 4.
lens: Any = importlib.import_module("transformer_lens")
conversions: Any = importlib.import_module("transformer_lens.pretrained.weight_conversions")

__all__ = ["Evaluation", "Sweep", "about"]
_ROWS = 32  # rows a pass of the subject


def hooked(folder: str):
    """The subject of a Hugging Face folder as a HookedTransformer, without any processing of its weights."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    c: Any = model.config
    config = lens.HookedTransformerConfig(
        n_layers=c.n_layer, d_model=c.n_embd, n_ctx=c.n_positions, d_head=c.n_embd // c.n_head, n_heads=c.n_head,
        act_fn=c.activation_function, d_vocab=c.vocab_size, eps=c.layer_norm_epsilon, normalization_type="LN", device="cpu",
        tokenizer_name=folder, default_prepend_bos=False,
    )  # fmt: skip
    made = lens.HookedTransformer(config, tokenizer=transformers.AutoTokenizer.from_pretrained(folder))
    made.load_and_process_state_dict(
        conversions.convert_gpt2_weights(model, config),
        fold_ln=False,
        center_writing_weights=False,
        center_unembed=False,
    )
    return made.eval().requires_grad_(False)


class Sweep:
    """A whole sweep by `MultiSAETrainer`: from rows of text to trained SAEs, one pass of the subject for all of them."""

    def __init__(self, task: dict[str, Any]):
        self.task, self.model = task, hooked(task["model"])
        rows = np.load(task["rows"])
        self.context = rows.shape[1]
        self.rows = rows[: task["tokens"] // self.context]

    def run(self, n: int) -> None:
        for _ in range(n):
            self._sweep()

    def _sweep(self) -> None:
        task, hook = self.task, f"blocks.{self.task['layer']}.hook_resid_post"
        names = {f"{penalty}-{seed}": penalty for penalty in task["penalties"] for seed in range(task["seeds"])}
        self.saes = {
            name: sae(task["kind"], task["d_in"], task["d_sae"], {**task, "penalty": penalty})
            for name, penalty in names.items()
        }
        for one in self.saes.values():
            one.cfg.normalize_activations = "expected_average_only_in"
        store = ActivationsStore.from_config_multi_hook(
            model=self.model, dataset=datasets.Dataset.from_dict({"input_ids": self.rows}), hook_names=[hook],
            hook_d_ins={hook: task["d_in"]}, hook_head_indices={hook: None}, streaming=False, context_size=self.context,
            n_batches_in_buffer=len(self.rows) // 2, total_training_tokens=task["tokens"], store_batch_size_prompts=_ROWS,
            train_batch_size_tokens=task["batch"], prepend_bos=False, normalize_activations="none",
            device=torch.device("cpu"), dtype="float32",
        )  # fmt: skip
        config = SAETrainerConfig(
            total_training_samples=task["tokens"], train_batch_size_samples=task["batch"], lr=task["lr"], lr_end=task["lr"],
            adam_beta1=task["beta1"], adam_beta2=task["beta2"], autocast=bool(task.get("bf16")), n_batches_for_norm_estimate=16,
        )  # fmt: skip
        trainer = MultiSAETrainer(config, self.saes, dict.fromkeys(names, hook), store.get_multi_hook_data_loader())
        for one in trainer.trainers.values():
            fused(one.optimizer)
        trainer.fit()

    def report(self) -> dict[str, float]:
        return quality([(one.encode, one.decode) for one in self.saes.values()], self.task)


class Evaluation:
    """SAELens' `run_evals` for each SAE in turn: losses with and without the SAE and with zeros, sparsity, norms, variance."""

    def __init__(self, task: dict[str, Any]):
        self.model, self.rows, hook = (
            hooked(task["model"]),
            np.load(task["validation"]),
            f"blocks.{task['layer']}.hook_resid_post",
        )
        self.saes, self.measured, self.hook, self.d_in = [], [], hook, task["d_in"]
        for i in range(task["members"]):
            start, scale = raw_start(task, i)
            config = StandardTrainingSAEConfig(d_in=task["d_in"], d_sae=task["d_sae"], apply_b_dec_to_input=True)
            config.metadata.hook_name = hook
            one = StandardTrainingSAE(config)
            with torch.no_grad():
                one.W_enc.copy_(start.W_enc)
                one.W_dec.copy_(start.W_dec)
                one.b_enc.copy_(start.bias / scale)
                one.b_dec.copy_(start.b_dec / scale)
            self.saes.append(one)

    def run(self, n: int) -> None:
        batches = len(self.rows) // _ROWS
        config = EvalConfig(
            batch_size_prompts=_ROWS, n_eval_reconstruction_batches=batches, compute_ce_loss=True,
            n_eval_sparsity_variance_batches=batches, compute_l2_norms=True, compute_sparsity_metrics=True,
            compute_variance_metrics=True,
        )  # fmt: skip
        for _ in range(n):
            self.measured = []
            for one in self.saes:
                store = ActivationsStore(
                    self.model, datasets.Dataset.from_dict({"input_ids": self.rows}), streaming=False, hook_name=self.hook,
                    hook_head_index=None, context_size=self.rows.shape[1], d_in=self.d_in, n_batches_in_buffer=2,
                    total_training_tokens=self.rows.size, store_batch_size_prompts=_ROWS, train_batch_size_tokens=256,
                    prepend_bos=False, normalize_activations="none", device=torch.device("cpu"), dtype="float32",
                )  # fmt: skip
                values, _ = run_evals(one, store, self.model, ActivationScaler(), config, exclude_special_tokens=False)
                self.measured.append(
                    {"l0": values["sparsity"]["l0"], "ce": values["model_performance_preservation"]["ce_loss_with_sae"]}
                )

    def report(self) -> dict[str, float]:
        return {name: float(np.mean([one[name] for one in self.measured])) for name in ("l0", "ce")}
