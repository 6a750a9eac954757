"""A language model at one hook site: its activations, and its loss with those activations replaced.

A subject is a TransformerLens `TransformerBridge` (3.9 to 4.x). It is named by a folder below ``data/subjects``, by a path to
a Hugging Face model folder, or by a hub name (``gpt2``): one call for all.

Only what is needed is computed. Reading activations stops at the site and makes no logits. An intervention starts at the
site's block, stops before the unembedding, and turns hidden states into losses in pieces, so that the logits [B, T, V] never
exist whole. Letters: B rows, T positions, D width of the site, V vocabulary.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from saebook.common import hardware
from saebook.common.errors import UserError
from saebook.subject import loading
from saebook.text.tokens import tokens as packed

Replace = Callable[[Tensor], Tensor]

# site -> (hook name inside block L, width as an attribute of the bridge's config)
SITES = {
    "resid_pre": ("hook_resid_pre", lambda c: c.d_model),
    "resid_post": ("hook_resid_post", lambda c: c.d_model),
    "mlp_out": ("hook_mlp_out", lambda c: c.d_model),
    "mlp_post": ("mlp.hook_post", lambda c: c.d_mlp),
    "attn_z": ("attn.hook_z", lambda c: c.n_heads * c.d_head),
}
_CHUNK = 1024  # positions whose logits exist at one time


@dataclass(frozen=True)
class Site:
    """A hook site: `kind` is a key of `SITES`, `hook_name` TransformerLens' name, `d_in` the width."""

    kind: str
    layer: int
    hook_name: str
    d_in: int


class _Reached(Exception):
    """Raised from a hook to stop the forward pass: nothing after it is needed."""


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

    @torch.inference_mode()
    def activations(self, tokens: Tensor, site: Site) -> Tensor:
        """Activations [B, T, D] of `tokens` [B, T] at `site`; blocks after the site are not run."""
        seen: list[Tensor] = []

        def keep(value: Tensor, hook) -> None:
            seen.append(value.reshape(*value.shape[:2], -1))
            raise _Reached

        with contextlib.suppress(_Reached), self.bridge.hooks(fwd_hooks=[(site.hook_name, keep)]):
            self.bridge(tokens.to(self.device), return_type=None)
        return seen[0]

    def intervene(self, tokens: Tensor, site: Site) -> "Intervention":
        """Run `tokens` [B, T] once, so that many replacements at `site` can be scored from there."""
        return Intervention(self, tokens.to(self.device), site)

    @torch.inference_mode()
    def loss(self, tokens: Tensor, site: Site | None = None, replace: Replace | None = None) -> Tensor:
        """Next-token cross-entropy [B, T-1] in nats of `tokens` [B, T], with `replace(activations)` at `site`."""
        tokens = tokens.to(self.device)
        if site is None or replace is None:
            return self._losses(self._hidden(tokens, [])[0], tokens)
        intervention = self.intervene(tokens, site)
        return intervention.loss(replace(intervention.activations))

    @torch.inference_mode()
    def logits(self, tokens: Tensor, site: Site | None = None, replace: Replace | None = None) -> Tensor:
        """Logits [B, T, V], with `replace(activations)` at `site`. For a few rows only: memory is B*T*V."""
        hooks = [(site.hook_name, _writer(replace))] if site and replace else []
        with self.bridge.hooks(fwd_hooks=hooks):
            return self.bridge(tokens.to(self.device), return_type="logits")

    @cached_property
    def _blocks_return_tuples(self) -> bool:
        """Whether a block of this model returns a tuple that begins with the residual stream, as older ones do."""
        seen: list[bool] = []
        block = self.bridge.blocks[0]
        handle = block.register_forward_hook(lambda module, args, out: seen.append(isinstance(out, tuple)))
        try:
            with torch.no_grad():
                self.bridge(torch.zeros(1, 1, dtype=torch.long, device=self.device), return_type=None)
        finally:
            handle.remove()
        return seen[0]

    @contextlib.contextmanager
    def _without_blocks(self, below: int) -> Iterator[None]:
        """Pass the residual stream through the blocks under `below` unchanged, so that they cost nothing.

        The bridge's own `start_at_layer` runs them and throws their output away.
        """
        tuples = self._blocks_return_tuples

        def passes(hidden_states: Tensor, *args, **kwargs):
            return (hidden_states,) if tuples else hidden_states

        skipped = list(self.bridge.blocks)[:below]
        for block in skipped:
            vars(block)["forward"] = passes  # a bridge hands ordinary assignments on to the module it wraps
        try:
            yield
        finally:
            for block in skipped:
                del vars(block)["forward"]

    def _hidden(
        self, tokens: Tensor, hooks: list, below: int = 0, later: Sequence[Site] = ()
    ) -> tuple[Tensor, list[Tensor]]:
        """Hidden states [B, T, d_model] before the unembedding, and activations [B, T, D] at `later` sites.

        The blocks under `below` are skipped: a hook has to supply the residual stream that enters there.
        """
        seen: list[Tensor] = []
        passed: dict[str, Tensor] = {}  # by the name that was asked for; the hook's own may differ

        def keep(value: Tensor, hook) -> None:
            seen.append(value)
            raise _Reached

        def note(name: str) -> Callable:
            return lambda value, hook: passed.update({name: value.reshape(*value.shape[:2], -1)})

        hooks = [*hooks, *((site.hook_name, note(site.hook_name)) for site in later), ("unembed.hook_in", keep)]
        with contextlib.suppress(_Reached), self._without_blocks(below), self.bridge.hooks(fwd_hooks=hooks):
            self.bridge(tokens, return_type=None)
        return seen[0], [passed[site.hook_name] for site in later]

    def unembedding(self) -> tuple[Tensor, Tensor]:
        """`(W_U, b_U)`, [d_model, V] and [V], for objectives that make no logits. Raises `UserError` if logits are capped."""
        cfg = self.bridge.cfg
        if getattr(cfg, "output_logits_soft_cap", None) and cfg.output_logits_soft_cap > 0:
            raise UserError(f"{self.name} caps its logits: end-to-end objectives need an unembedding that is linear")
        W_U = self.bridge.unembed.W_U
        b_U = getattr(self.bridge.unembed, "b_U", None)
        return W_U, W_U.new_zeros(W_U.shape[1]) if b_U is None else b_U

    def _losses(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """Cross-entropies [B, T-1] of hidden states [B, T, d_model]; logits are made and dropped piece by piece."""
        flat, targets = hidden[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()
        losses = torch.empty(len(flat), dtype=torch.float32, device=flat.device)
        for first in range(0, len(flat), _CHUNK):
            part = slice(first, first + _CHUNK)
            logits = self.bridge.unembed(flat[part][None])[0].float()
            losses[part] = torch.nn.functional.cross_entropy(logits, targets[part], reduction="none")
        return losses.view(len(tokens), -1)


class Intervention:
    """One batch of tokens at a site: its `activations` [B, T, D], and the rest of the model with others in their place."""

    def __init__(self, subject: Subject, tokens: Tensor, site: Site):
        self._subject, self._tokens, self._site = subject, tokens, site
        self._residual: Tensor | None = None  # what enters the site's block, where the site does not replace it
        last = site.layer == subject.n_layers - 1
        if site.kind == "resid_pre" or (site.kind == "resid_post" and not last):
            self._start = site.layer + (site.kind == "resid_post")
        else:
            self._start = site.layer
            self._residual = subject.activations(tokens, subject.site("resid_pre", site.layer))
        self.activations = subject.activations(tokens, site)

    @torch.inference_mode()
    def loss(self, replacement: Tensor | None = None) -> Tensor:
        """Cross-entropy [B, T-1] with `replacement` [B, T, D] at the site; the clean loss without one."""
        new = self.activations if replacement is None else replacement
        return self._subject._losses(self.onwards(new)[0], self._tokens)

    def onwards(self, new: Tensor, later: Sequence[Site] = ()) -> tuple[Tensor, list[Tensor]]:
        """Hidden states [n*B, T, d_model] before the unembedding and activations at `later` sites, with `new` at the site.

        `new` [n*B, T, D] holds n replacements of the batch, one after the other. Differentiable with respect to it. The
        blocks below the site do not run again.
        """
        subject, site = self._subject, self._site
        new = new.to(self.activations.dtype)
        copies = len(new) // len(self._tokens)
        entering = f"blocks.{self._start}.hook_resid_pre"
        if self._residual is None:
            hooks = [(entering, _writer(lambda _: new))]
        else:
            residual = self._residual.repeat(copies, 1, 1)
            hooks = [(entering, _writer(lambda _: residual)), (site.hook_name, _writer(lambda _: new))]
        return subject._hidden(self._tokens.repeat(copies, 1), hooks, self._start, later)


def _writer(replace: Replace):
    """A hook that writes `replace(value)`, with the head axis flattened for `replace` and restored afterwards."""

    def write(value: Tensor, hook) -> Tensor:
        return replace(value.reshape(*value.shape[:2], -1)).reshape(value.shape).to(value.dtype)

    return write
