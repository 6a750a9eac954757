"""The forward pass of a pre-norm transformer, written out over its weights: the GPT-2 and Llama families.

A pass is a row of states. Each holds the activations at one point of one block, and what of the residual stream is still to
be added to what comes of them, so a pass can stop at any point and go on from there with other activations: an intervention
in the middle of a block repeats nothing of that block. Gradients with respect to activations are autograd's.
Letters: B rows, T positions, D d_model, H heads, K heads of keys and values, E width of a head.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from saebook.subject import elementwise
from saebook.subject.sites import Precision, Site

_SHORT = 256  # positions up to which attention makes all its scores at once: faster there than the fused kernel


@dataclass(frozen=True)
class Linear:
    """x W + b, with W [in, out]. Products run in the dtype of W."""

    weight: Tensor
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight.T, self.bias)

    def to(self, dtype: torch.dtype) -> "Linear":
        return Linear(self.weight.to(dtype), None if self.bias is None else self.bias.to(dtype))


@dataclass(frozen=True)
class LayerNorm:
    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)


@dataclass(frozen=True)
class RMSNorm:
    weight: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps))


Norm = LayerNorm | RMSNorm


@dataclass(frozen=True)
class Rotary:
    """Rotary positions: pairs of coordinates half a head apart turn by `frequencies` [E / 2] radians a position."""

    frequencies: Tensor
    scaling: float = 1.0

    def angles(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [T, E] for heads `x` [B, H, T, E], made in float32 as Hugging Face makes them."""
        turned = torch.arange(x.shape[-2], device=x.device).float()[:, None] * self.frequencies
        turned = torch.cat([turned, turned], -1)
        return (turned.cos() * self.scaling).to(x.dtype), (turned.sin() * self.scaling).to(x.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        cos, sin = self.angles(x)
        first, second = x.chunk(2, -1)
        return x * cos + torch.cat([-second, first], -1) * sin


@dataclass(frozen=True)
class Attention:
    """Causal attention. `qkv` is one product for queries, keys and values, or one for each of them."""

    qkv: tuple[Linear, ...]
    out: Linear
    heads: int
    kv_heads: int
    rotary: Rotary | None = None

    def z(self, x: Tensor) -> Tensor:
        """The heads' outputs before their last product [B, T, H*E], of normed activations `x` [B, T, D]."""
        rows, positions, _ = x.shape
        width = self.out.weight.shape[0] // self.heads
        counts = self.heads, self.kv_heads, self.kv_heads
        parts = [linear(x) for linear in self.qkv]
        if len(parts) == 1:
            parts = parts[0].split([count * width for count in counts], -1)
        q, k, v = (
            part.view(rows, positions, count, width).transpose(1, 2) for part, count in zip(parts, counts, strict=True)
        )
        if self.rotary:
            q, k = self.rotary(q), self.rotary(k)
        if self.kv_heads != self.heads:
            k, v = (part.repeat_interleave(self.heads // self.kv_heads, 1) for part in (k, v))
        mixed = _scored(q, k, v) if positions <= _SHORT and x.device.type == "cpu" else _fused(q, k, v)
        return mixed.transpose(1, 2).reshape(rows, positions, -1)


def _scored(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention [B, H, T, E] as two batched products, with every score in memory."""
    return elementwise.attention(*(part.flatten(0, 1) for part in (q, k, v))).view_as(v)


def _fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


@dataclass(frozen=True)
class MLP:
    """activation(x W_up) W_down, or with a `gate` activation(x W_gate) * (x W_up) W_down, as in SwiGLU."""

    up: Linear
    down: Linear
    activation: Callable[[Tensor], Tensor]
    gate: Linear | None = None

    def post(self, x: Tensor) -> Tensor:
        """What enters the last product [B, T, d_mlp]."""
        return self.activation(self.up(x)) if self.gate is None else self.activation(self.gate(x)) * self.up(x)


@dataclass(frozen=True)
class Block:
    norm1: Norm
    attention: Attention
    norm2: Norm
    mlp: MLP

    def to(self, dtype: torch.dtype) -> "Block":
        """The block with products in `dtype`; norms stay as they are."""
        attention = replace(
            self.attention, qkv=tuple(one.to(dtype) for one in self.attention.qkv), out=self.attention.out.to(dtype)
        )
        gate = self.mlp.gate and self.mlp.gate.to(dtype)
        mlp = replace(self.mlp, up=self.mlp.up.to(dtype), down=self.mlp.down.to(dtype), gate=gate)
        return replace(self, attention=attention, mlp=mlp)


@dataclass(frozen=True)
class State:
    """Activations [B, T, *] at the point `kind` of block `layer`; `base` [B, T, D] is the residual stream to add to, if any."""

    layer: int
    kind: str
    activations: Tensor
    base: Tensor | None = None


@dataclass(frozen=True)
class Transformer:
    """Embeddings [V, D], learned positions [T, D] or none, blocks and the last norm."""

    embedding: Tensor
    positions: Tensor | None
    blocks: tuple[Block, ...]
    norm: Norm

    def entered(self, tokens: Tensor) -> State:
        """The state before the first block, of `tokens` [B, T]."""
        x = F.embedding(tokens, self.embedding)
        return State(0, "resid_pre", x if self.positions is None else x + self.positions[: tokens.shape[1]])

    def states(self, state: State) -> Iterator[State]:
        """`state` and all that follow it, each computed when asked for: a reader that stops saves what comes after."""
        yield state
        while state.layer < len(self.blocks):
            state = _AFTER[state.kind](self.blocks[state.layer], state)
            yield state

    def to(self, dtype: torch.dtype) -> "Transformer":
        """The model with products in `dtype`; the residual stream, norms and softmax keep theirs."""
        return replace(self, blocks=tuple(block.to(dtype) for block in self.blocks))


def _attend(block: Block, state: State) -> State:
    x = state.activations
    return replace(state, kind="attn_z", activations=block.attention.z(block.norm1(x)), base=x)


def _add_attention(block: Block, state: State) -> State:
    assert state.base is not None
    middle = state.base + block.attention.out(state.activations)
    return replace(state, kind="mlp_post", activations=block.mlp.post(block.norm2(middle)), base=middle)


def _leave_mlp(block: Block, state: State) -> State:
    return replace(state, kind="mlp_out", activations=block.mlp.down(state.activations))


def _add_mlp(block: Block, state: State) -> State:
    assert state.base is not None
    return replace(state, kind="resid_post", activations=state.base + state.activations, base=None)


def _next_block(block: Block, state: State) -> State:
    return State(state.layer + 1, "resid_pre", state.activations)


_AFTER: dict[str, Callable[[Block, State], State]] = {
    "resid_pre": _attend, "attn_z": _add_attention, "mlp_post": _leave_mlp, "mlp_out": _add_mlp, "resid_post": _next_block,
}  # fmt: skip


class WrittenOut:
    """A subject's forward pass by its own `Transformer`."""

    def __init__(self, model: Transformer):
        self.model = model

    @cached_property
    def _bf16(self) -> Transformer:
        return self.model.to(torch.bfloat16)

    def activations_at(self, tokens: Tensor, sites: Sequence[Site], precision: Precision = "fp32") -> list[Tensor]:
        """Activations [B, T, D] at each of `sites`; with "bf16" products are taken in bfloat16, all else in float32."""
        model = self._bf16 if precision == "bf16" else self.model
        wanted, seen = {(site.layer, site.kind) for site in sites}, {}
        for state in model.states(model.entered(tokens)):
            if (state.layer, state.kind) in wanted:
                seen[state.layer, state.kind] = state.activations.to(model.embedding.dtype)
                if len(seen) == len(wanted):
                    break
        return [seen[site.layer, site.kind] for site in sites]

    def stopped_at(self, tokens: Tensor, site: Site) -> "Stopped":
        """The pass of `tokens` [B, T] as far as `site`."""
        for state in self.model.states(self.model.entered(tokens)):
            if (state.layer, state.kind) == (site.layer, site.kind):
                return Stopped(self.model, state)
        raise ValueError(f"{site} is no point of the pass")

    def hidden(self, tokens: Tensor) -> Tensor:
        """Hidden states [B, T, D] before the unembedding."""
        entered = self.model.entered(tokens)
        return Stopped(self.model, entered).onwards(entered.activations)[0]


@dataclass(frozen=True)
class Stopped:
    """A pass that goes on from `state` with other activations in its place."""

    model: Transformer
    state: State

    @property
    def activations(self) -> Tensor:
        """Activations [B, T, D] at the site."""
        return self.state.activations

    def onwards(self, new: Tensor, later: Sequence[Site] = ()) -> tuple[Tensor, list[Tensor]]:
        """Hidden states [n*B, T, D] before the unembedding and activations at `later` sites, with `new` [n*B, T, *]."""
        base = self.state.base
        if base is not None:
            base = base.repeat(len(new) // len(base), 1, 1)
        wanted, seen, state = {(site.layer, site.kind) for site in later}, {}, self.state
        for state in self.model.states(replace(self.state, activations=new, base=base)):
            if (state.layer, state.kind) in wanted:
                seen[state.layer, state.kind] = state.activations
        return self.model.norm(state.activations), [seen[site.layer, site.kind] for site in later]
