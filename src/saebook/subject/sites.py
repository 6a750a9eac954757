"""Hook sites, and what a forward pass over them has to offer. Letters: B rows, T positions, D width of the site."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

Precision = Literal["fp32", "bf16"]

# site -> (hook name inside block L, width as an attribute of the bridge's config)
SITES = {
    "resid_pre": ("hook_resid_pre", lambda c: c.d_model),
    "resid_post": ("hook_resid_post", lambda c: c.d_model),
    "mlp_out": ("hook_mlp_out", lambda c: c.d_model),
    "mlp_post": ("mlp.hook_post", lambda c: c.d_mlp),
    "attn_z": ("attn.hook_z", lambda c: c.n_heads * c.d_head),
}


@dataclass(frozen=True)
class Site:
    """A hook site: `kind` is a key of `SITES`, `hook_name` TransformerLens' name, `d_in` the width."""

    kind: str
    layer: int
    hook_name: str
    d_in: int


class Rest(Protocol):
    """A pass that was stopped at a site and can go on from there."""

    @property
    def activations(self) -> Tensor:
        """Activations [B, T, D] at the site."""
        ...

    def onwards(self, new: Tensor, later: Sequence[Site] = ()) -> tuple[Tensor, list[Tensor]]:
        """Hidden states [n*B, T, d_model] before the unembedding and activations at `later` sites, with `new` [n*B, T, D]."""
        ...


class ForwardPass(Protocol):
    """A way to compute a subject."""

    def activations_at(self, tokens: Tensor, sites: Sequence[Site], precision: Precision) -> list[Tensor]:
        """Activations [B, T, D] of `tokens` [B, T] at each site; nothing after the last of them is computed."""
        ...

    def stopped_at(self, tokens: Tensor, site: Site) -> Rest:
        """The pass of `tokens` [B, T] as far as `site`."""
        ...

    def hidden(self, tokens: Tensor) -> Tensor:
        """Hidden states [B, T, d_model] before the unembedding."""
        ...
