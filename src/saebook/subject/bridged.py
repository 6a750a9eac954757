"""The forward pass of any model that TransformerLens opens, by hooks of its `TransformerBridge` (3.9 to 4.x).

Only what is needed is computed: a pass stops at the last hook that is asked for, and an intervention starts at its site's
block. Letters: B rows, T positions, D width of the site.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from saebook.subject.sites import SITES, Precision, Site

_BEFORE_BLOCK = SITES["resid_pre"][0]
_UNEMBED = "unembed.hook_in"


class _Reached(Exception):
    """Raised from a hook to stop the forward pass: nothing after it is needed."""


class Bridged:
    """A subject's forward pass by its bridge, always in the model's own dtype."""

    def __init__(self, bridge):
        self.bridge = bridge

    def activations_at(self, tokens: Tensor, sites: Sequence[Site], precision: Precision = "fp32") -> list[Tensor]:
        """Activations [B, T, D] at each of `sites`; `precision` changes nothing, as the model keeps its dtype."""
        seen = self._passed(tokens, [], 0, {site.hook_name for site in sites})
        return [_flat(seen[site.hook_name]) for site in sites]

    def stopped_at(self, tokens: Tensor, site: Site) -> "BridgedRest":
        """The pass of `tokens` [B, T] as far as `site`."""
        return BridgedRest(self, tokens, site)

    def hidden(self, tokens: Tensor) -> Tensor:
        """Hidden states [B, T, d_model] before the unembedding."""
        return self._passed(tokens, [], 0, {_UNEMBED})[_UNEMBED]

    def onwards(self, tokens: Tensor, hooks: list, below: int, later: Sequence[Site]) -> tuple[Tensor, list[Tensor]]:
        """Hidden states [B, T, d_model] and activations [B, T, D] at `later` sites.

        The blocks under `below` are skipped: a hook has to supply the residual stream that enters there.
        """
        seen = self._passed(tokens, hooks, below, {_UNEMBED, *(site.hook_name for site in later)})
        return seen[_UNEMBED], [_flat(seen[site.hook_name]) for site in later]

    def _passed(self, tokens: Tensor, hooks: list, below: int, wanted: set[str]) -> dict[str, Tensor]:
        """What passes the hooks `wanted`; the pass stops when all of them were reached."""
        seen: dict[str, Tensor] = {}  # by the name that was asked for; the hook's own may differ

        def keep(name: str) -> Callable:
            def note(value: Tensor, hook) -> None:
                seen[name] = value
                if len(seen) == len(wanted):
                    raise _Reached

            return note

        hooks = [*hooks, *((name, keep(name)) for name in wanted)]
        with contextlib.suppress(_Reached), self._without_blocks(below), self.bridge.hooks(fwd_hooks=hooks):
            self.bridge(tokens, return_type=None)
        return seen

    @cached_property
    def _blocks_return_tuples(self) -> bool:
        """Whether a block of this model returns a tuple that begins with the residual stream, as older ones do."""
        seen: list[bool] = []
        block = self.bridge.blocks[0]
        handle = block.register_forward_hook(lambda module, args, out: seen.append(isinstance(out, tuple)))
        try:
            with torch.no_grad():
                device = next(self.bridge.parameters()).device
                self.bridge(torch.zeros(1, 1, dtype=torch.long, device=device), return_type=None)
        finally:
            handle.remove()
        return seen[0]

    @contextlib.contextmanager
    def _without_blocks(self, below: int) -> Iterator[None]:
        """Pass the residual stream through the blocks under `below` unchanged, so that they cost nothing.

        The bridge's own `start_at_layer` runs them and throws their output away.
        """
        if not below:
            yield
            return
        tuples = self._blocks_return_tuples

        def passes(hidden_states: Tensor, *args, **kwargs):
            # A model whose blocks return tuples may look for the attention pattern behind the residual stream.
            return (hidden_states, None) if tuples else hidden_states

        skipped = list(self.bridge.blocks)[:below]
        for block in skipped:
            vars(block)["forward"] = passes  # a bridge hands ordinary assignments on to the module it wraps
        try:
            yield
        finally:
            for block in skipped:
                del vars(block)["forward"]


class BridgedRest:
    """A bridge's pass that goes on from the block of a site with other activations there."""

    def __init__(self, whole: Bridged, tokens: Tensor, site: Site):
        self._whole, self._tokens, self._site = whole, tokens, site
        self._residual: Tensor | None = None  # what enters the site's block, where the site does not replace it
        last = site.layer == whole.bridge.cfg.n_layers - 1
        if site.kind == "resid_pre" or (site.kind == "resid_post" and not last):
            self._start = site.layer + (site.kind == "resid_post")
            (self.activations,) = whole.activations_at(tokens, [site])
        else:
            self._start = site.layer
            before = Site("resid_pre", site.layer, f"blocks.{site.layer}.{_BEFORE_BLOCK}", whole.bridge.cfg.d_model)
            self._residual, self.activations = whole.activations_at(tokens, [before, site])

    def onwards(self, new: Tensor, later: Sequence[Site] = ()) -> tuple[Tensor, list[Tensor]]:
        """Hidden states [n*B, T, d_model] before the unembedding and activations at `later` sites, with `new` [n*B, T, D]."""
        copies = len(new) // len(self._tokens)
        entering = f"blocks.{self._start}.{_BEFORE_BLOCK}"
        if self._residual is None:
            hooks = [(entering, writer(lambda _: new))]
        else:
            residual = self._residual.repeat(copies, 1, 1)
            hooks = [(entering, writer(lambda _: residual)), (self._site.hook_name, writer(lambda _: new))]
        return self._whole.onwards(self._tokens.repeat(copies, 1), hooks, self._start, later)


def writer(replace: Callable[[Tensor], Tensor]) -> Callable:
    """A hook that writes `replace(value)`, with the head axis flattened for `replace` and restored afterwards."""

    def write(value: Tensor, hook) -> Tensor:
        return replace(_flat(value)).reshape(value.shape).to(value.dtype)

    return write


def _flat(value: Tensor) -> Tensor:
    return value.reshape(*value.shape[:2], -1)
