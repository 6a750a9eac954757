"""Other libraries' SAEs in plain terms: what a file of each computes, written from its documentation, and made-up files.

Each `..._file` writes a file as its library does, with tensors that nothing has tamed (decoder rows of all norms, biases of
all sizes), and returns the function that the library computes from it: x [B, D] -> latents [B, M], reconstructions [B, D].
"""

import json
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from saebook.sae import registry
from saebook.sae.base import Member, SAEStack
from saebook.sae.relu import ReLU

D, M, K = 12, 40, 5


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def activations(n: int = 64) -> Tensor:
    return 1 + 2 * draw(5, n, D)


def matrices(unit: bool = False) -> dict[str, Tensor]:
    """W_enc [D, M], W_dec [M, D] with rows of norms from 0.2 to 3 or of norm one, and b_dec [D]."""
    W_dec = torch.nn.functional.normalize(draw(2, M, D), dim=1)
    norms = torch.ones(M, 1) if unit else torch.linspace(0.2, 3, M)[:, None]
    return {"W_enc": draw(1, D, M), "W_dec": W_dec * norms, "b_dec": draw(3, D)}


def strongest(pre: Tensor, k: int) -> Tensor:
    top = pre.topk(k)
    return torch.zeros_like(pre).scatter(1, top.indices, top.values.relu())


def assert_same(stack: SAEStack, computed, latents_times: Tensor | float = 1.0) -> None:
    """`stack` has the latents of `computed`, `latents_times` the norms that were folded, and its reconstructions."""
    x = activations()
    z, mean, spread = stack.prepare(x)
    latents, reconstructions = computed(x)
    latents = latents * latents_times
    assert torch.allclose(stack.encode(z)[0], latents, rtol=1e-5, atol=2e-5 * float(latents.max()))
    assert torch.equal(stack.encode(z)[0] > 0, latents > 0)
    ours = stack.reconstruct(z)[0] * spread + mean
    assert torch.allclose(ours, reconstructions, rtol=1e-5, atol=2e-5 * float(reconstructions.abs().max()))
    assert 0.02 < (latents > 0).float().mean() < 0.9


def made(architecture: str, **options) -> SAEStack:
    """A stack of two with noise on every parameter and buffer that a training step moves."""
    stack = registry.build(architecture, D, M, (Member(1, 3), Member(2, K)), **options)
    for seed, parameter in enumerate(stack.parameters()):
        parameter.data += 0.1 * draw(10 + seed, *parameter.shape)
    stack.constrain_weights()
    if "threshold" in dict(stack.named_buffers()):
        stack.threshold.fill_(0.7)
    return stack


def assert_round_trip(stack: SAEStack, again: SAEStack, i: int = 1) -> None:
    """`again` computes what member i of `stack` does."""
    x = activations()
    z, mean, spread = stack.prepare(x)
    once = stack.reconstruct(z)[i] * spread + mean
    assert_same(again, lambda _: (stack.encode(z)[i].detach(), once.detach()))


class StandInJumpReLU(ReLU):
    """JumpReLU with the parameters and the names of the architecture "jump_relu", for as long as it is not there."""

    saelens_name = "jumprelu"
    per_latent = ("b_enc", "log_threshold")
    subtracts_b_dec = False

    def encode(self, x: Tensor) -> Tensor:
        h = torch.einsum("bd,sdm->sbm", x, self.W_enc) + self.b_enc[:, None]
        return h.relu() * (h > self.log_threshold.exp()[:, None])

    def saelens_tensors(self, tensors):
        return {n: t for n, t in tensors.items() if n != "log_threshold"} | {
            "threshold": tensors["log_threshold"].exp()
        }

    @classmethod
    def own_tensors(cls, tensors):
        log_threshold = tensors["threshold"].clamp_min(0).log()
        return {n: t for n, t in tensors.items() if n != "threshold"} | {"log_threshold": log_threshold}


# SAELens ------------------------------------------------------------------------------------------------------------------


def saelens_file(
    folder: Path, kind: str, b_dec_from_input: bool = True, normalised: str = "none", unit: bool = False,
    version: str = "6.54.12", scale: float = 1.0, **cfg,
):  # fmt: skip
    """A folder by SAELens. `scale` is what a user would multiply activations by; SAELens writes it nowhere."""
    tensors = matrices(unit)
    names = {"gated": ("b_gate", "b_mag", "r_mag"), "jumprelu": ("b_enc", "threshold")}.get(kind, ("b_enc",))
    tensors |= {name: 0.5 * draw(20 + seed, M) for seed, name in enumerate(names)}
    cfg = {
        "architecture": kind, "d_in": D, "d_sae": M, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": b_dec_from_input, "normalize_activations": normalised, "reshape_activations": "none",
        "metadata": {"sae_lens_version": version, "model_name": "gpt2", "hook_name": "blocks.8.hook_resid_pre"}, **cfg,
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "cfg.json").write_text(json.dumps({name: value for name, value in cfg.items() if value is not ...}))
    save_file(tensors, folder / "sae_weights.safetensors")

    def computed(x):
        x = x * scale
        mean, spread = torch.zeros(len(x), 1), torch.ones(len(x), 1)
        if normalised == "layer_norm":
            mean, spread = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
            x = (x - mean) / (spread + 1e-5)
        t = tensors
        h = (x - t["b_dec"] * b_dec_from_input) @ t["W_enc"]
        norms = t["W_dec"].norm(dim=1)
        by_norm = cfg.get("rescale_acts_by_decoder_norm") is True
        if kind == "gated":
            f = (h + t["b_gate"] > 0) * (h * t["r_mag"].exp() + t["b_mag"]).relu()
        elif kind == "topk":
            f = strongest((h + t["b_enc"]) * (norms if by_norm else 1), cfg["k"])
        elif kind == "jumprelu":
            f = (h + t["b_enc"]).relu() * (h + t["b_enc"] > t["threshold"])
        else:
            f = (h + t["b_enc"]).relu()
        return f, ((f / (norms if by_norm else 1) @ t["W_dec"] + t["b_dec"]) * spread + mean) / scale

    return computed


# dictionary_learning ------------------------------------------------------------------------------------------------------


def dictionary_file(folder: Path, dict_class: str, config: bool = True, unit: bool = False, **content):
    """A folder by dictionary_learning; `content` replaces entries of ae.pt, and ... leaves one out."""
    t, b_enc, threshold = matrices(unit), 0.5 * draw(20, M), torch.tensor(0.6)
    norms = t["W_dec"].norm(dim=1)
    linear = {"encoder.weight": t["W_enc"].T, "decoder.weight": t["W_dec"].T}
    plain = t | {"b_enc": b_enc}
    constants = {"k": torch.tensor(K, dtype=torch.int), "threshold": threshold}
    gate, magnitude, r_mag = 0.5 * draw(21, M), 0.5 * draw(22, M), 0.5 * draw(23, M)
    each = 0.5 * draw(24, M).abs()
    state = {
        "AutoEncoder": linear | {"bias": t["b_dec"], "encoder.bias": b_enc},
        "AutoEncoderNew": linear | {"decoder.bias": t["b_dec"], "encoder.bias": b_enc},
        "GatedAutoEncoder": linear
        | {"decoder_bias": t["b_dec"], "r_mag": r_mag, "gate_bias": gate, "mag_bias": magnitude},
        "AutoEncoderTopK": linear | constants | {"b_dec": t["b_dec"], "encoder.bias": b_enc},
        "BatchTopKSAE": linear | constants | {"b_dec": t["b_dec"], "encoder.bias": b_enc},
        "MatryoshkaBatchTopKSAE": plain | constants | {"group_sizes": torch.tensor([M // 2, M - M // 2])},
        "JumpReluAutoEncoder": plain | {"threshold": each},
    }[dict_class] | content
    folder.mkdir(parents=True)
    torch.save({name: value for name, value in state.items() if value is not ...}, folder / "ae.pt")
    if config:
        trainer = {"dict_class": dict_class, "k": K, "lm_name": "EleutherAI/pythia-70m", "submodule_name": "resid_3"}
        (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {}}))

    def computed(x):
        centred = dict_class not in ("AutoEncoderNew", "JumpReluAutoEncoder")
        h = (x - t["b_dec"] * centred) @ t["W_enc"]
        if dict_class == "GatedAutoEncoder":
            f = (h + gate > 0) * (r_mag.exp() * h + magnitude).relu()
        elif dict_class == "AutoEncoderTopK":
            f = strongest((h + b_enc).relu(), K)
        elif "BatchTopK" in dict_class:
            f = (h + b_enc).relu()
            f = f * (f > threshold)
        elif dict_class == "JumpReluAutoEncoder":
            f = ((h + b_enc) * (h + b_enc > each)).relu()
        else:
            f = (h + b_enc).relu()
        # The classes Gated and JumpReLU return their latents times the norms, and divide by them when they decode.
        returned = f * norms if dict_class in ("GatedAutoEncoder", "JumpReluAutoEncoder") else f
        return returned, f @ t["W_dec"] + t["b_dec"]

    return computed


# sparsify -----------------------------------------------------------------------------------------------------------------


def sparsify_file(folder: Path, unit: bool = False, dtype: torch.dtype = torch.float32, **cfg):
    """A folder by sparsify; in `cfg` ... leaves an entry out."""
    t, b_enc = matrices(unit), 0.5 * draw(20, M)
    tensors = {"encoder.weight": t["W_enc"].T, "encoder.bias": b_enc, "W_dec": t["W_dec"], "b_dec": t["b_dec"]}
    cfg = {
        "activation": "topk", "expansion_factor": 32, "normalize_decoder": True, "num_latents": M, "k": K,
        "multi_topk": False, "skip_connection": False, "transcode": False, "d_in": D, **cfg,
    }  # fmt: skip
    folder.mkdir(parents=True)
    save_file({name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}, folder / "sae.safetensors")
    (folder / "cfg.json").write_text(json.dumps({name: value for name, value in cfg.items() if value is not ...}))

    def computed(x):
        W_enc, b, W_dec, b_dec = (tensors[name].to(dtype).float() for name in tensors)
        f = strongest(((x - b_dec) @ W_enc.T + b).relu(), K)
        return f, f @ W_dec + b_dec

    return computed


# OpenAI -------------------------------------------------------------------------------------------------------------------


def openai_file(file: Path, kind: str = "TopK", unit: bool = True, **content):
    """A file by OpenAI's code; `content` replaces entries, and ... leaves one out."""
    t, latent_bias = matrices(unit), 0.5 * draw(20, M)
    options = {"k": K, "postact_fn": "ReLU"} if kind == "TopK" else {}
    state = {
        "pre_bias": t["b_dec"], "latent_bias": latent_bias, "encoder.weight": t["W_enc"].T,
        "decoder.weight": t["W_dec"].T, "stats_last_nonzero": torch.zeros(M, dtype=torch.long),
        "latents_activation_frequency": torch.ones(M), "latents_mean_square": torch.zeros(M), "activation": kind,
        "activation_state_dict": options, **{f"activation.{name}": value for name, value in options.items()}, **content,
    }  # fmt: skip
    torch.save({name: value for name, value in state.items() if value is not ...}, file)

    def computed(x):
        mean, spread = torch.zeros(len(x), 1), torch.ones(len(x), 1)
        if kind == "TopK":
            mean, spread = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
            x = (x - mean) / (spread + 1e-5)
        pre = (x - t["b_dec"]) @ t["W_enc"] + latent_bias
        f = strongest(pre, K) if kind == "TopK" else pre.relu()
        return f, (f @ t["W_dec"] + t["b_dec"]) * spread + mean

    return computed


# e2e_sae ------------------------------------------------------------------------------------------------------------------


def e2e_file(file: Path, *hooks: str, config: bool = True, **content):
    """A file by e2e_sae with an SAE for each hook, and what the first computes."""
    t, bias = matrices(), 0.5 * draw(20, M)
    state = {}
    for shift, hook in enumerate(hooks):
        at = hook.replace(".", "-")
        state |= {
            f"{at}.encoder.0.weight": t["W_enc"].T + shift, f"{at}.encoder.0.bias": bias,
            f"{at}.decoder.weight": t["W_dec"].T, f"{at}.decoder.bias": t["b_dec"],
        }  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state | content, file)
    if config:
        described = {"tlens_model_name": "gpt2-small", "saes": {"sae_positions": list(hooks)}}
        (file.parent / "final_config.yaml").write_text(yaml.safe_dump(described))

    def computed(x):
        f = (x @ t["W_enc"] + bias).relu()
        return f, f @ (t["W_dec"] / t["W_dec"].norm(dim=1, keepdim=True)) + t["b_dec"]

    return computed
