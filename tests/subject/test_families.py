"""A model is written out only if its configuration asks for nothing else; every other one stays with the bridge."""

import json
import shutil

import pytest
import torch

from saebook.subject import families
from saebook.subject.blocks import WrittenOut
from saebook.subject.bridged import Bridged
from saebook.subject.model import Subject


def changed(folder, to, **values):
    """A copy of a subject's folder with other values in its configuration."""
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(config | values))
    return Subject.load(str(to), device="cpu")


@pytest.mark.parametrize(
    ("family", "values"),
    [
        ("gpt2", {"activation_function": "gelu_fast"}),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
        ("gpt2", {"scale_attn_weights": False}),
        ("llama-grouped", {"hidden_act": "mish"}),
        ("llama-grouped", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}),
    ],
)
def test_option_that_the_blocks_lack_leaves_the_model_to_the_bridge(family_folders, tmp_path, family, values):
    subject = changed(family_folders[family], tmp_path / "other", **values)
    assert isinstance(subject.forward, Bridged)
    rows = torch.arange(64).view(2, 32)
    site = subject.site("mlp_out", 1)
    assert subject.activations(rows, site, "bf16").shape == (2, 32, 32)
    assert torch.allclose(subject.intervene(rows, site).loss(), subject.loss(rows), atol=1e-5)


@pytest.mark.parametrize(
    ("family", "values"),
    [
        ("gpt2", {"activation_function": "relu"}),
        ("llama-grouped", {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}}),
        (
            "llama-grouped",
            {"rope_parameters": {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0,
                                 "high_freq_factor": 4.0, "original_max_position_embeddings": 16}},
        ),
    ],
)  # fmt: skip
def test_covered_option_gives_the_bridges_loss(family_folders, tmp_path, family, values):
    subject, plain = changed(family_folders[family], tmp_path / "other", **values), family_folders[family]
    rows = torch.randint(0, 300, (3, 32), generator=torch.Generator().manual_seed(1))
    assert isinstance(subject.forward, WrittenOut)
    ours = subject.loss(rows)
    assert not torch.allclose(ours, Subject.load(str(plain), device="cpu").loss(rows), atol=1e-3)
    subject.forward = Bridged(subject.bridge)
    assert torch.allclose(ours, subject.loss(rows), atol=2e-5)


def test_another_architecture_and_half_precision_stay_with_the_bridge(small_subject_folder, tmp_path):
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    shutil.copytree(
        small_subject_folder, tmp_path / "neox", ignore=shutil.ignore_patterns("*.safetensors", "config.json")
    )
    config = GPTNeoXConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=32,
    )  # fmt: skip
    GPTNeoXForCausalLM(config).save_pretrained(tmp_path / "neox")
    other = Subject.load(str(tmp_path / "neox"), device="cpu")
    half = Subject.load(str(small_subject_folder), device="cpu", dtype=torch.bfloat16)
    for subject in (other, half):
        assert isinstance(subject.forward, Bridged)
        assert subject.loss(torch.arange(64).view(2, 32)).isfinite().all()


def test_weights_are_the_models_own_memory(small_subject):
    """So opening a subject takes the memory of one model."""
    model = families.written_out(small_subject.bridge)
    theirs = {p.untyped_storage().data_ptr() for p in small_subject.bridge.original_model.state_dict().values()}
    block = model.blocks[1]
    ours = [
        model.embedding,
        block.attention.qkv[0].weight,
        block.mlp.up.weight,
        block.mlp.down.weight,
        block.norm1.weight,
    ]
    assert {w.untyped_storage().data_ptr() for w in ours} <= theirs
