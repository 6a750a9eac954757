"""One library, in its own environment: opens what saebook wrote, and writes SAEs of its own.

    python partner.py LIBRARY FOLDER

Below FOLDER, `x.pt` holds activations [B, D] and `ours` the files by saebook. Each is opened by the library, and what the
library computes goes to `answers/ours`. Its own SAEs, whose tensors have noise on them, go to `theirs`, and what it computes
from them to `answers/theirs`. Nothing here imports saebook.
"""

import importlib.machinery
import importlib.metadata
import importlib.util
import json
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

Computed = tuple[Tensor, Tensor]  # latents [B, M], reconstructions [B, D]
Opened = Callable[[Tensor], Computed]
D, M, K = 16, 48, 6
HOOK = "blocks.6.hook_resid_pre"


def main(name: str, folder: Path, stubs: list[str]) -> None:
    for stub in stubs:
        sys.modules[stub] = _Stub(stub)
        sys.modules[stub].__spec__ = importlib.machinery.ModuleSpec(stub, None)
    library = globals()[f"{name}_library"]()
    x = torch.load(folder / "x.pt", weights_only=True)
    for path in sorted((folder / "ours").iterdir()):
        _answer(folder, "ours", path.name, lambda path=path: library["open"](path), x)
    (folder / "theirs").mkdir(exist_ok=True)
    for kind in library["kinds"]:
        torch.manual_seed(0)
        path = folder / "theirs" / kind
        _answer(folder, "theirs", kind, lambda kind=kind, path=path: library["make"](kind, path), x)
    print(json.dumps({"version": library["version"]}))


class _Stub(types.ModuleType):
    """A module that is not installed, with whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return mock.MagicMock()


def _answer(folder: Path, whose: str, name: str, opened: Callable[[], Opened], x: Tensor) -> None:
    """Save what the SAE computes from `x`, or the words of what went wrong."""
    (folder / "answers" / whose).mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        try:
            latents, reconstructions = opened()(x)
            answer: dict[str, Any] = {"latents": latents.float(), "reconstructions": reconstructions.float()}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
    torch.save(answer, folder / "answers" / whose / f"{name}.pt")


def _noise(module: torch.nn.Module) -> None:
    """Move every parameter from where it was initialised, decoder rows off norm one with it."""
    for parameter in module.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)


def _module(file: Any) -> Any:
    """The module in `file`, imported without its package."""
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def saelens_library() -> dict[str, Any]:
    import sae_lens

    kinds = {
        "standard": (sae_lens.StandardSAE, sae_lens.StandardSAEConfig, {}),
        "standard_uncentred": (sae_lens.StandardSAE, sae_lens.StandardSAEConfig, {"apply_b_dec_to_input": False}),
        "gated": (sae_lens.GatedSAE, sae_lens.GatedSAEConfig, {}),
        "gated_layer_norm": (sae_lens.GatedSAE, sae_lens.GatedSAEConfig, {"normalize_activations": "layer_norm"}),
        "topk_by_norm": (sae_lens.TopKSAE, sae_lens.TopKSAEConfig, {"k": K, "rescale_acts_by_decoder_norm": True}),
        "topk_layer_norm": (
            sae_lens.TopKSAE, sae_lens.TopKSAEConfig, {"k": K, "normalize_activations": "layer_norm"},
        ),
        "jumprelu": (sae_lens.JumpReLUSAE, sae_lens.JumpReLUSAEConfig, {}),
        "jumprelu_uncentred": (
            sae_lens.JumpReLUSAE, sae_lens.JumpReLUSAEConfig, {"apply_b_dec_to_input": False},
        ),
    }  # fmt: skip

    def computes(sae) -> Opened:
        def computed(x):
            latents = sae.encode(x)
            return latents, sae.decode(latents)

        return computed

    def make(kind: str, path: Path) -> Opened:
        sae_class, config, options = kinds[kind]
        sae = sae_class(config(d_in=D, d_sae=M, **options))
        _noise(sae)
        sae.save_model(path)
        return computes(sae_lens.SAE.load_from_disk(path))

    return {
        "version": sae_lens.__version__, "kinds": kinds, "make": make,
        "open": lambda path: computes(sae_lens.SAE.load_from_disk(path)),
    }  # fmt: skip


def dictionary_learning_library() -> dict[str, Any]:
    import dictionary_learning
    from dictionary_learning.dictionary import AutoEncoder, AutoEncoderNew, GatedAutoEncoder, JumpReluAutoEncoder
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK
    from dictionary_learning.utils import load_dictionary

    kinds = {
        "AutoEncoder": lambda: AutoEncoder(D, M),
        "AutoEncoderNew": lambda: AutoEncoderNew(D, M),
        "GatedAutoEncoder": lambda: GatedAutoEncoder(D, M),
        "JumpReluAutoEncoder": lambda: JumpReluAutoEncoder(D, M),
        "AutoEncoderTopK": lambda: AutoEncoderTopK(D, M, K),
        "BatchTopKSAE": lambda: BatchTopKSAE(D, M, K),
        "MatryoshkaBatchTopKSAE": lambda: MatryoshkaBatchTopKSAE(D, M, K, [M // 4, 3 * M // 4]),
    }

    def computes(sae) -> Opened:
        def computed(x):
            latents = sae.encode(x)
            return latents, sae.decode(latents)

        return computed

    def make(kind: str, path: Path) -> Opened:
        sae = kinds[kind]()
        _noise(sae)
        if "Batch" in kind:
            sae.threshold.fill_(0.8)
        path.mkdir()
        torch.save(sae.state_dict(), path / "ae.pt")
        config = {"trainer": {"dict_class": kind, "k": K, "lm_name": "gpt2", "layer": 6}, "buffer": {"ctx_len": 128}}
        (path / "config.json").write_text(json.dumps(config))
        return computes(load_dictionary(str(path), "cpu")[0])

    return {
        "version": dictionary_learning.__version__, "kinds": kinds, "make": make,
        "open": lambda path: computes(load_dictionary(str(path), "cpu")[0]),
    }  # fmt: skip


def sparsify_library() -> dict[str, Any]:
    import sparsify

    kinds = {
        "topk": {"num_latents": M},
        "topk_by_expansion": {"expansion_factor": M // D},
    }

    def computes(sae) -> Opened:
        def computed(x):
            values, indices, pre = sae.encode(x)
            return torch.zeros_like(pre).scatter(1, indices, values), sae.decode(values, indices)

        return computed

    def make(kind: str, path: Path) -> Opened:
        sae = sparsify.SparseCoder(D, sparsify.SaeConfig(k=K, **kinds[kind]))
        _noise(sae)
        sae.save_to_disk(path)
        return computes(sparsify.SparseCoder.load_from_disk(path))

    return {
        "version": importlib.metadata.version("eai-sparsify"), "kinds": kinds, "make": make,
        "open": lambda path: computes(sparsify.SparseCoder.load_from_disk(path)),
    }  # fmt: skip


def e2e_sae_library() -> dict[str, Any]:
    import yaml

    # The module alone: the package imports scripts that its wheel lacks.
    SAE = _module(importlib.metadata.distribution("e2e-sae").locate_file("e2e_sae/models/sparsifiers.py")).SAE

    def computes(path: Path) -> Opened:
        """As `SAETransformer.from_local_path` does, without the language model that it wants too."""
        config = yaml.safe_load((path / "final_config.yaml").read_text())
        assert config["tlens_model_path"] is None
        state = torch.load(next(path.glob("samples_*.pt")), map_location="cpu")
        position = config["saes"]["sae_positions"][0].replace(".", "-")
        saes = torch.nn.ModuleDict({position: SAE(D, int(config["saes"]["dict_size_to_input_ratio"] * D))})
        saes.load_state_dict(state)

        def computed(x):
            reconstructions, latents = saes[position](x)
            return latents, reconstructions

        return computed

    def make(kind: str, path: Path) -> Opened:
        saes = torch.nn.ModuleDict({HOOK.replace(".", "-"): SAE(D, M)})
        _noise(saes)
        path.mkdir()
        torch.save(saes.state_dict(), path / "samples_400000.pt")
        config = {
            "tlens_model_name": "gpt2-small", "tlens_model_path": None,
            "saes": {"sae_positions": [HOOK], "dict_size_to_input_ratio": M / D},
        }  # fmt: skip
        (path / "final_config.yaml").write_text(yaml.safe_dump(config))
        return computes(path)

    return {"version": importlib.metadata.version("e2e-sae"), "kinds": ["sae"], "make": make, "open": computes}


def openai_library() -> dict[str, Any]:
    model = _module(Path(os.environ["OPENAI_SPARSE_AUTOENCODER"]) / "sparse_autoencoder" / "model.py")
    kinds = {"topk.pt": (model.TopK, True), "relu.pt": (torch.nn.ReLU, False)}

    def computes(sae) -> Opened:
        def computed(x):
            _, latents, reconstructions = sae(x)
            return latents, reconstructions

        return computed

    def make(kind: str, path: Path) -> Opened:
        activation, normalise = kinds[kind]
        sae = model.Autoencoder(M, D, activation(K) if normalise else activation(), normalize=normalise)
        _noise(sae)
        torch.save(sae.state_dict(), path)
        return computes(sae)

    def opened(path: Path) -> Opened:
        return computes(model.Autoencoder.from_state_dict(torch.load(path, weights_only=True)))

    return {"version": "a checkout", "kinds": kinds, "make": make, "open": opened}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
