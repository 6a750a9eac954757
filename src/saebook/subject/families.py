"""Which models have their forward pass written out (`subject.blocks`), and where their weights are.

A model is covered if its Hugging Face configuration asks for nothing that the blocks do not compute. Weights are views of the
model's own wherever its layout allows.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from saebook.subject.blocks import MLP, Attention, Block, LayerNorm, Linear, RMSNorm, Rotary, Transformer
from saebook.subject.elementwise import gelu_tanh

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu_new": gelu_tanh, "gelu_pytorch_tanh": gelu_tanh, "gelu": F.gelu, "relu": F.relu, "silu": F.silu, "swish": F.silu,
}  # fmt: skip
# Scalings whose frequencies do not depend on the length of the text.
_ROPE_TYPES = ("default", "linear", "llama3")


def written_out(bridge) -> Transformer | None:
    """The forward pass of a TransformerLens bridge's model over its weights, or None for a model that is not covered."""
    model, config = bridge.original_model, bridge.original_model.config
    family = _FAMILIES.get(type(model).__name__)
    if family is None or getattr(bridge, "compatibility_mode", False):
        return None
    # A bridge registers modules under two names, and puts a wrapper around each.
    weights = {name.replace("._original_component", ""): w for name, w in model.state_dict().items()}
    exact = all(w.dtype in (torch.float32, torch.float64) for w in weights.values())
    return family(model, config, weights) if exact else None


def _gpt2(model, config, weights: Mapping[str, Tensor]) -> Transformer | None:
    plain = {
        "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "reorder_and_upcast_attn": False,
        "add_cross_attention": False,
    }  # fmt: skip
    activation = _ACTIVATIONS.get(config.activation_function)
    if activation is None or any(getattr(config, name) is not value for name, value in plain.items()):
        return None

    def linear(name: str) -> Linear:
        return Linear(weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(name: str) -> LayerNorm:
        return LayerNorm(weights[f"{name}.weight"], weights[f"{name}.bias"], config.layer_norm_epsilon)

    def block(at: str) -> Block:
        heads = config.n_head
        attention = Attention((linear(f"{at}.attn.c_attn"),), linear(f"{at}.attn.c_proj"), heads, heads)
        mlp = MLP(linear(f"{at}.mlp.c_fc"), linear(f"{at}.mlp.c_proj"), activation)
        return Block(norm(f"{at}.ln_1"), attention, norm(f"{at}.ln_2"), mlp)

    blocks = tuple(block(f"transformer.h.{layer}") for layer in range(config.n_layer))
    embedding, positions = weights["transformer.wte.weight"], weights["transformer.wpe.weight"]
    return Transformer(embedding, positions, blocks, norm("transformer.ln_f"))


def _llama(model, config, weights: Mapping[str, Tensor]) -> Transformer | None:
    activation = _ACTIVATIONS.get(config.hidden_act)
    turning = model.model.rotary_emb
    turning = getattr(turning, "original_component", turning)
    if activation is None or config.rope_parameters.get("rope_type") not in _ROPE_TYPES:
        return None

    def linear(name: str) -> Linear:
        return Linear(weights[f"{name}.weight"].T, weights.get(f"{name}.bias"))

    def norm(name: str) -> RMSNorm:
        return RMSNorm(weights[f"{name}.weight"], config.rms_norm_eps)

    def block(at: str) -> Block:
        qkv = tuple(linear(f"{at}.self_attn.{part}_proj") for part in "qkv")
        out, heads, kv_heads = linear(f"{at}.self_attn.o_proj"), config.num_attention_heads, config.num_key_value_heads
        mlp = MLP(linear(f"{at}.mlp.up_proj"), linear(f"{at}.mlp.down_proj"), activation, linear(f"{at}.mlp.gate_proj"))
        attention = Attention(qkv, out, heads, kv_heads, rotary)
        return Block(norm(f"{at}.input_layernorm"), attention, norm(f"{at}.post_attention_layernorm"), mlp)

    rotary = Rotary(turning.inv_freq.float(), float(turning.attention_scaling))
    blocks = tuple(block(f"model.layers.{layer}") for layer in range(config.num_hidden_layers))
    return Transformer(weights["model.embed_tokens.weight"], None, blocks, norm("model.norm"))


_FAMILIES = {"GPT2LMHeadModel": _gpt2, "LlamaForCausalLM": _llama}
