"""A language model at one hook site: its activations, and its loss with those activations replaced.

A subject is opened as a TransformerLens `TransformerBridge`. It is named by a folder below ``data/subjects``, by a path to
a Hugging Face model folder, or by a hub name (``gpt2``): one call for all. ``NAME:random`` is its control with random
weights. The families of `subject.families` are computed by
their blocks written out (`subject.blocks`), all others by the bridge (`subject.bridged`).

Only what is needed is computed. Reading activations stops at the site and makes no logits. An intervention starts at the
site, and turns hidden states into losses in pieces, so that the logits [B, T, V] never exist whole. Letters: B rows, T
positions, D width of the site, V vocabulary.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from saebook.common import hardware
from saebook.common.errors import UserError
from saebook.subject import families, loading
from saebook.subject.blocks import WrittenOut
from saebook.subject.bridged import Bridged, writer
from saebook.subject.sites import SITES, ForwardPass, Precision, Site
from saebook.subject.unembedding import Unembedding
from saebook.text.tokens import tokens as packed

__all__ = ["SITES", "Intervention", "Replace", "Site", "Subject"]

Replace = Callable[[Tensor], Tensor]

_CHUNK = 1024  # positions whose logits exist at one time, where the model has to make them


class Subject:
    """A frozen language model. Make one with `Subject.load`."""

    def __init__(self, name: str, bridge, weights_hash: str):
        self.name, self.bridge, self.weights_hash = name, bridge, weights_hash
        self.tokenizer = bridge.tokenizer
        self.n_layers: int = bridge.cfg.n_layers
        self.d_model: int = bridge.cfg.d_model
        self.context: int = bridge.cfg.n_ctx
        self.device = next(bridge.parameters()).device
        bridge.requires_grad_(False)
        bridge.eval()
        model = families.written_out(bridge)
        self.forward: ForwardPass = Bridged(bridge) if model is None else WrittenOut(model)

    @classmethod
    def load(cls, name: str, device: str | None = None, dtype: torch.dtype = torch.float32) -> "Subject":
        """Open a subject by embedded name, folder or hub name.

        Raises `UserError` when the model does not exist, its files are damaged, or the hub is out of reach.
        """
        device = hardware.checked(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        bridge = loading.boot(name, device, dtype)
        return cls(name, bridge, loading.weights_hash(bridge))

    def rows(self, source: str, split: str, context: int | None = None) -> np.ndarray:
        """Rows [N, T] of a text source's tokens, T being `context`, by default the longest that the model takes.

        `split` is "train" or "validation". Raises `UserError` for a context that the model cannot take, or too little text.
        """
        context = self.context if context is None else context
        if not 2 <= context <= self.context:
            raise UserError(f"context {context} does not fit: {self.name} takes rows of 2 to {self.context} tokens")
        return packed(source, self.tokenizer, split, context)

    def site(self, kind: str, layer: int) -> Site:
        """The site of that name and layer. Raises `UserError` listing the sites or layers that exist."""
        if kind not in SITES:
            raise UserError(f"site '{kind}' is not known: use one of {', '.join(SITES)}")
        if not 0 <= layer < self.n_layers:
            raise UserError(f"layer {layer} does not exist: {self.name} has layers 0 to {self.n_layers - 1}")
        inner, width = SITES[kind]
        hook_name = f"blocks.{layer}.{inner}"
        if hook_name not in self.bridge.hook_dict:
            raise UserError(f"{self.name} has no {hook_name}: choose another site")
        return Site(kind, layer, hook_name, width(self.bridge.cfg))

    def activations(self, tokens: Tensor, site: Site, precision: Precision = "fp32") -> Tensor:
        """Activations [B, T, D] of `tokens` [B, T] at `site`; nothing after the site is computed."""
        return self.activations_at(tokens, [site], precision)[0]

    @torch.inference_mode()
    def activations_at(self, tokens: Tensor, sites: Sequence[Site], precision: Precision = "fp32") -> list[Tensor]:
        """Activations [B, T, D] of `tokens` [B, T] at each of `sites`, from one pass that ends at the last of them.

        `precision` "bf16" is for training SAEs: products in bfloat16, about 1e-4 of the variance off. A model whose blocks
        are not written out keeps its own dtype under either. Raises `UserError` for any other precision.
        """
        if precision not in get_args(Precision):
            raise UserError(f"precision '{precision}' is not known: use one of {', '.join(get_args(Precision))}")
        return self.forward.activations_at(tokens.to(self.device), sites, precision)

    def intervene(self, tokens: Tensor, site: Site) -> "Intervention":
        """Run `tokens` [B, T] once, so that many replacements at `site` can be scored from there."""
        return Intervention(self, tokens.to(self.device), site)

    @torch.inference_mode()
    def loss(self, tokens: Tensor, site: Site | None = None, replace: Replace | None = None) -> Tensor:
        """Next-token cross-entropy [B, T-1] in nats of `tokens` [B, T], with `replace(activations)` at `site`."""
        tokens = tokens.to(self.device)
        if site is None or replace is None:
            return self._losses(self.forward.hidden(tokens), tokens)
        intervention = self.intervene(tokens, site)
        return intervention.loss(replace(intervention.activations))

    @torch.inference_mode()
    def logits(self, tokens: Tensor, site: Site | None = None, replace: Replace | None = None) -> Tensor:
        """Logits [B, T, V], with `replace(activations)` at `site`, by the bridge. For a few rows only: memory is B*T*V."""
        hooks = [(site.hook_name, writer(replace))] if site and replace else []
        with self.bridge.hooks(fwd_hooks=hooks):
            return self.bridge(tokens.to(self.device), return_type="logits")

    @cached_property
    def unembedding(self) -> Unembedding:
        """The linear map from hidden states to logits. Raises `UserError` if the model caps its logits."""
        if self._caps_logits:
            raise UserError(f"{self.name} caps its logits: end-to-end objectives need an unembedding that is linear")
        bias = getattr(self.bridge.unembed, "b_U", None)  # a bridge makes a bias of zeros where the model has none
        return Unembedding(self.bridge.unembed.W_U, bias if bias is not None and bool(bias.any()) else None)

    @property
    def _caps_logits(self) -> bool:
        return (getattr(self.bridge.cfg, "output_logits_soft_cap", None) or 0) > 0

    def _losses(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """Cross-entropies [B, T-1] of hidden states [B, T, d_model]; logits are made and dropped piece by piece."""
        flat, targets = hidden[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()
        if not self._caps_logits:
            return self.unembedding.losses(flat, targets).float().view(len(tokens), -1)
        losses = torch.empty(len(flat), dtype=torch.float32, device=flat.device)
        for first in range(0, len(flat), _CHUNK):
            part = slice(first, first + _CHUNK)
            logits = self.bridge.unembed(flat[part][None])[0].float()
            losses[part] = torch.nn.functional.cross_entropy(logits, targets[part], reduction="none")
        return losses.view(len(tokens), -1)


class Intervention:
    """One batch of tokens at a site: its `activations` [B, T, D], and the rest of the model with others in their place."""

    def __init__(self, subject: Subject, tokens: Tensor, site: Site):
        self._subject, self._tokens = subject, tokens
        with torch.inference_mode():
            self._rest = subject.forward.stopped_at(tokens, site)
        self.activations = self._rest.activations

    @torch.inference_mode()
    def loss(self, replacement: Tensor | None = None) -> Tensor:
        """Cross-entropies [n*B, T-1] with `replacement` [n*B, T, D] at the site, as `onwards` takes it; the clean ones without."""
        hidden = self.onwards(self.activations if replacement is None else replacement)[0]
        return self._subject._losses(hidden, self._tokens.repeat(len(hidden) // len(self._tokens), 1))

    def onwards(self, new: Tensor, later: Sequence[Site] = ()) -> tuple[Tensor, list[Tensor]]:
        """Hidden states [n*B, T, d_model] before the unembedding and activations at `later` sites, with `new` at the site.

        `new` [n*B, T, D] holds n replacements of the batch, one after the other. Differentiable with respect to it. What
        lies before the site does not run again.
        """
        return self._rest.onwards(new.to(self.activations.dtype), later)
