"""What the configuration of a model in a folder says of its shape. Libraries name the same entry differently."""

from typing import Any

_LAYERS = ("n_layer", "num_hidden_layers", "num_layers", "n_layers")
_CONTEXT = ("n_positions", "max_position_embeddings", "n_ctx")
_D_MODEL = ("hidden_size", "n_embd", "d_model")
_D_MLP = ("intermediate_size", "n_inner", "ffn_dim")
_HEADS = ("num_attention_heads", "n_head")


def layers(config: dict[str, Any]) -> int | None:
    """How many blocks the model has; None where its configuration does not say."""
    return _first(config, _LAYERS)


def context(config: dict[str, Any]) -> int | None:
    """The longest row of tokens that the model takes; None where its configuration does not say."""
    return _first(config, _CONTEXT)


def width(config: dict[str, Any], site: str) -> int | None:
    """The width of a site (a key of `subject.sites.SITES`); None where the configuration does not say."""
    d_model = _first(config, _D_MODEL)
    if site == "mlp_post":
        implied = 4 * d_model if d_model and config.get("model_type") == "gpt2" else None
        return _first(config, _D_MLP) or implied
    if site == "attn_z":
        heads, d_head = _first(config, _HEADS), _first(config, ("head_dim",))
        return heads * d_head if heads and d_head else d_model
    return d_model


def _first(config: dict[str, Any], names: tuple[str, ...]) -> int | None:
    value = next((config[name] for name in names if config.get(name) is not None), None)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
