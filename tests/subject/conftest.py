"""Subjects of both families, as Hugging Face folders made once."""

import shutil

import pytest
import torch

LLAMAS = {
    "llama-grouped": {"num_key_value_heads": 2},
    "llama-tied": {"tie_word_embeddings": True, "attention_bias": True},
}


@pytest.fixture(scope="session")
def family_folders(small_subject_folder, tmp_path_factory):
    """Folders of a random GPT-2, and of random Llamas with grouped heads or tied embeddings; vocabulary 300, context 32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folders = {"gpt2": small_subject_folder}
    for name, options in LLAMAS.items():
        folder = tmp_path_factory.mktemp("families") / name
        shutil.copytree(small_subject_folder, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
        torch.manual_seed(1)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
                max_position_embeddings=32, initializer_range=0.2, bos_token_id=0, eos_token_id=0, **options,
            )
        )  # fmt: skip
        for parameter in model.parameters():  # norms and biases off their ones and zeros
            parameter.data += 0.1 * torch.randn_like(parameter)
        model.save_pretrained(folder)
        folders[name] = folder
    return folders


@pytest.fixture(scope="session")
def embedded_folder():
    from saebook.common import paths

    return paths.data() / "subjects" / "prose-4l128"
