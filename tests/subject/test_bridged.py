"""A bridge's pass runs no block that it does not need."""

import copy
import shutil

import pytest
import torch

from saebook.subject.bridged import Bridged


@pytest.fixture(scope="module")
def bridged(small_subject):
    subject = copy.copy(small_subject)
    subject.forward = Bridged(small_subject.bridge)
    return subject


@pytest.fixture(scope="module")
def rows():
    return torch.randint(0, 300, (3, 32), generator=torch.Generator().manual_seed(1))


def test_blocks_below_the_site_run_once(bridged, rows):
    """TransformerLens' own `start_at_layer` runs them on what it is given, each time, and drops the result."""
    assert not bridged.forward._blocks_return_tuples  # asked once for each subject, by a pass of its own
    ran = []
    blocks = bridged.bridge.blocks
    handles = [block.register_forward_hook(lambda *_, i=i: ran.append(i)) for i, block in enumerate(blocks)]
    inner = [
        block._original_component.register_forward_hook(lambda *_, i=i: ran.append(-1 - i))
        for i, block in enumerate(blocks)
    ]
    try:
        intervention = bridged.intervene(rows, bridged.site("resid_post", 1))
        ran.clear()
        intervention.loss(torch.zeros_like(intervention.activations))
    finally:
        for handle in handles + inner:
            handle.remove()
    assert -3 in ran and not {-1, -2} & set(ran)
    assert all("forward" not in vars(block) for block in blocks)


def test_blocks_after_the_site_do_not_run(bridged, rows):
    def never(value, hook):
        raise AssertionError(f"{hook.name} was computed")

    with bridged.bridge.hooks(fwd_hooks=[("blocks.2.hook_in", never), ("unembed.hook_in", never)]):
        bridged.activations(rows, bridged.site("resid_post", 1))
    assert not bridged.activations(rows, bridged.site("resid_pre", 1)).requires_grad


def test_several_sites_come_from_one_pass(bridged, rows):
    runs = []
    sites = [bridged.site("resid_post", 1), bridged.site("attn_z", 0), bridged.site("mlp_out", 1)]
    alone = [bridged.activations(rows, site) for site in sites]
    with bridged.bridge.hooks(fwd_hooks=[("blocks.0.hook_in", lambda value, hook: runs.append(hook.name))]):
        together = bridged.activations_at(rows, sites)
    assert len(runs) == 1 and all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_model_that_collects_attention_patterns_can_go_on_from_a_block(small_subject_folder, rows, tmp_path):
    """GPT-Neo (TinyStories) reads a pattern from every block's tuple, also from the blocks that are skipped."""
    from transformers import GPTNeoConfig, GPTNeoForCausalLM

    from saebook.subject.model import Subject

    shutil.copytree(
        small_subject_folder, tmp_path / "neo", ignore=shutil.ignore_patterns("*.safetensors", "config.json")
    )
    config = GPTNeoConfig(
        vocab_size=300, hidden_size=32, num_layers=4, num_heads=4, attention_types=[[["global", "local"], 2]],
        window_size=8, max_position_embeddings=32,
    )  # fmt: skip
    GPTNeoForCausalLM(config).save_pretrained(tmp_path / "neo")
    subject = Subject.load(str(tmp_path / "neo"), device="cpu")
    assert isinstance(subject.forward, Bridged) and subject.forward._blocks_return_tuples
    clean = subject.loss(rows)
    for site in (subject.site("resid_pre", 2), subject.site("mlp_out", 1), subject.site("resid_post", 3)):
        intervention = subject.intervene(rows, site)
        assert torch.allclose(intervention.loss(intervention.activations), clean, atol=1e-5)
        assert not torch.allclose(intervention.loss(torch.zeros_like(intervention.activations)), clean, atol=1e-5)
