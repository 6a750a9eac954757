"""A language model at one hook site: its activations, and its loss with those activations replaced.

The only room that touches TransformerLens, through `TransformerBridge` (3.9 to 4.x). A subject is named by a folder
below ``data/subjects``, by a path to a Hugging Face model folder, or by a hub name (``gpt2``): one call for all.

Nothing is computed that nobody reads: activations stop after the site's block and make no logits; a spliced pass
starts at the site's block, stops before the unembedding, and turns hidden states into losses in pieces, so that the
logits [B, T, V] never exist whole. Letters: B rows, T positions, D width of the site,
V vocabulary.
"""

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from saebook.common import paths
from saebook.common.errors import UserError

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
    """Where a subject is read: `kind` is a key of `SITES`, `hook_name` TransformerLens' name, `d_in` the width."""

    kind: str
    layer: int
    hook_name: str
    d_in: int


class _Reached(Exception):
    """Raised from a hook to leave the forward pass: everything after it would be thrown away."""


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

        Raises `UserError` when there is no such model, its files are damaged, or the hub is out of reach.
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        folder = next(
            (f for f in (paths.data() / "subjects" / name, Path(name)) if (f / "config.json").is_file()), None
        )
        # transformers 5 loads a checkpoint in its stored dtype unless told; its loading bars would fill a page.
        with _quiet():
            bridge = _boot(name, folder, device, dtype)
        return cls(name, bridge, _hash(bridge))

    def site(self, kind: str, layer: int) -> Site:
        """The site of that kind and layer. Raises `UserError` listing what there is."""
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
        if site is None:
            return self._losses(self._hidden(tokens, [])[0], tokens)
        intervention = self.intervene(tokens, site)
        return intervention.loss(replace(intervention.activations))

    @torch.inference_mode()
    def logits(self, tokens: Tensor, site: Site | None = None, replace: Replace | None = None) -> Tensor:
        """Logits [B, T, V], with `replace(activations)` at `site`. For looking at a few rows: memory is B*T*V."""
        hooks = [] if site is None else [(site.hook_name, _writer(lambda value: replace(value)))]
        with self.bridge.hooks(fwd_hooks=hooks):
            return self.bridge(tokens.to(self.device), return_type="logits")

    @cached_property
    def _blocks_return_tuples(self) -> bool:
        """What a block of this model gives back, seen on one token: older ones a tuple that begins with the residual."""
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
        """Let the residual stream pass the blocks under `below` untouched, so that they cost nothing.

        The bridge's own `start_at_layer` runs them on whatever it is given and throws their output away.
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

        Without the blocks under `below`: a hook has to give the residual stream that enters there.
        """
        seen: list[Tensor] = []
        passed: dict[str, Tensor] = {}  # by the name that was asked for: a hook's own may be another

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
        """`(W_U, b_U)`, [d_model, V] and [V], for objectives that make no logits. Raises `UserError` where logits are no product."""
        cfg = self.bridge.cfg
        if getattr(cfg, "output_logits_soft_cap", None) and cfg.output_logits_soft_cap > 0:
            raise UserError(f"{self.name} caps its logits: end-to-end objectives need an unembedding that is linear")
        W_U = self.bridge.unembed.W_U
        b_U = getattr(self.bridge.unembed, "b_U", None)
        return W_U, W_U.new_zeros(W_U.shape[1]) if b_U is None else b_U

    def _losses(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """Cross-entropies [B, T-1] of hidden states [B, T, d_model], the logits made and dropped piece by piece."""
        flat, targets = hidden[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()
        found = torch.empty(len(flat), dtype=torch.float32, device=flat.device)
        for first in range(0, len(flat), _CHUNK):
            part = slice(first, first + _CHUNK)
            logits = self.bridge.unembed(flat[part][None])[0].float()
            found[part] = torch.nn.functional.cross_entropy(logits, targets[part], reduction="none")
        return found.view(len(tokens), -1)


class Intervention:
    """One batch of tokens held at a site: `activations` [B, T, D], and what becomes of the model with others in their place."""

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
    """A hook that puts `replace(flat value)` in the value's place, head axis and all."""

    def write(value: Tensor, hook) -> Tensor:
        return replace(value.reshape(*value.shape[:2], -1)).reshape(value.shape).to(value.dtype)

    return write


def _boot(name: str, folder: Path | None, device: str, dtype: torch.dtype):
    from transformer_lens.model_bridge import TransformerBridge

    where = str(folder) if folder else name
    try:
        # A tokenizer made in memory fails inside the bridge (it reads name_or_path): let it open the folder itself.
        return TransformerBridge.boot_transformers(where, device=device, dtype=dtype)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        if folder:
            raise UserError(f"subject folder {folder} cannot be opened ({first}): restore its files") from None
        embedded = ", ".join(sorted(p.parent.name for p in (paths.data() / "subjects").glob("*/config.json")))
        raise UserError(
            f"subject '{name}' is no embedded subject ({embedded or 'none'}), no folder, and the hub does not give it "
            f"({first}): check the name, or the network"
        ) from None
    except Exception as error:
        # safetensors and huggingface_hub raise classes of their own for a damaged or unreachable file.
        raise UserError(f"subject '{name}' cannot be loaded ({type(error).__name__}: {str(error)[:200]})") from None


def _hash(bridge) -> str:
    """A hash of the weights themselves, the same for a folder, a hub name and a shard layout."""
    digest = hashlib.sha256()
    for key, value in sorted(bridge.original_model.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _quiet():
    """Keep the loaders' bars and notices off the page; errors still come through."""
    from transformers.utils import logging as hf_logging

    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    for noisy in ("transformer_lens", "huggingface_hub"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()
