"""The subject at a site agrees with Hugging Face's own model, and computes no more than it must."""

import os
import subprocess
import sys

import pytest
import torch
from hub_mirror import serving
from torch.nn.functional import cross_entropy

from saebook.common.errors import UserError
from saebook.subject.model import SITES, Subject


@pytest.fixture(scope="module")
def rows():
    return torch.randint(0, 300, (3, 32), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def plain(small_subject_folder):
    from transformers import GPT2LMHeadModel

    return GPT2LMHeadModel.from_pretrained(small_subject_folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def plain_hidden(plain, rows):
    with torch.inference_mode():
        return plain(rows, output_hidden_states=True).hidden_states


def test_clean_loss_is_the_hugging_face_loss(small_subject, plain, rows):
    with torch.inference_mode():
        expected = plain(rows, labels=rows).loss
    assert torch.allclose(small_subject.loss(rows).mean(), expected, atol=1e-5)


@pytest.mark.parametrize("layer", [0, 1])
def test_residual_activations_are_the_hidden_states(small_subject, plain_hidden, rows, layer):
    before = small_subject.activations(rows, small_subject.site("resid_pre", layer))
    after = small_subject.activations(rows, small_subject.site("resid_post", layer))
    assert torch.allclose(before, plain_hidden[layer], atol=1e-5)
    assert torch.allclose(after, plain_hidden[layer + 1], atol=1e-5)


def test_mlp_and_attention_sites_are_the_modules_tensors(small_subject, plain, rows):
    seen = {}
    block = plain.transformer.h[1]
    handles = [
        block.mlp.register_forward_hook(lambda m, i, o: seen.update(mlp_out=o)),
        block.mlp.c_proj.register_forward_hook(lambda m, i, o: seen.update(mlp_post=i[0])),
        block.attn.c_proj.register_forward_hook(lambda m, i, o: seen.update(attn_z=i[0])),
    ]
    with torch.inference_mode():
        plain(rows)
    for handle in handles:
        handle.remove()
    for kind, expected in seen.items():
        site = small_subject.site(kind, 1)
        found = small_subject.activations(rows, site)
        assert found.shape == (*rows.shape, site.d_in)
        assert torch.allclose(found, expected, atol=1e-5), kind


@pytest.mark.parametrize("kind", SITES)
@pytest.mark.parametrize("layer", [0, 2])
def test_splice_equals_a_whole_pass_with_the_replacement(small_subject, rows, kind, layer):
    site = small_subject.site(kind, layer)

    def zero(x):
        return torch.zeros_like(x)

    logits = small_subject.logits(rows, site, zero)
    plain = cross_entropy(logits[:, :-1].flatten(0, 1), rows[:, 1:].flatten(), reduction="none").view(3, -1)
    assert torch.allclose(small_subject.loss(rows, site, zero), plain, atol=1e-5)
    intervention = small_subject.intervene(rows, site)
    assert torch.allclose(intervention.loss(intervention.activations), small_subject.loss(rows), atol=1e-5)
    assert not torch.allclose(intervention.loss(zero(intervention.activations)), small_subject.loss(rows), atol=1e-3)


def test_the_blocks_below_the_site_run_once(small_subject, rows):
    """TransformerLens' own `start_at_layer` runs them on what it is given, each time, and drops the result."""
    ran = []
    blocks = small_subject.bridge.blocks
    handles = [block.register_forward_hook(lambda *_, i=i: ran.append(i)) for i, block in enumerate(blocks)]
    inner = [
        block._original_component.register_forward_hook(lambda *_, i=i: ran.append(-1 - i))
        for i, block in enumerate(blocks)
    ]
    try:
        intervention = small_subject.intervene(rows, small_subject.site("resid_post", 1))
        ran.clear()
        intervention.loss(torch.zeros_like(intervention.activations))
    finally:
        for handle in handles + inner:
            handle.remove()
    assert -3 in ran and not {-1, -2} & set(ran)
    assert all("forward" not in vars(block) for block in blocks)


def test_nothing_after_the_site_is_run(small_subject, rows):
    def never(value, hook):
        raise AssertionError(f"{hook.name} was computed")

    with small_subject.bridge.hooks(fwd_hooks=[("blocks.2.hook_in", never), ("unembed.hook_in", never)]):
        small_subject.activations(rows, small_subject.site("resid_post", 1))
    assert not small_subject.activations(rows, small_subject.site("resid_pre", 1)).requires_grad


@pytest.mark.parametrize(
    ("kind", "layer", "word"),
    [("resid", 0, "resid_pre"), ("mlp_out", 3, "layers 0 to 2"), ("mlp_out", -1, "layers 0 to 2")],
)
def test_a_wrong_site_says_what_there_is(small_subject, kind, layer, word):
    with pytest.raises(UserError, match=word):
        small_subject.site(kind, layer)


def test_damaged_weights_are_named(small_subject_folder, tmp_path):
    import shutil

    collapsed = tmp_path / "collapsed"
    shutil.copytree(small_subject_folder, collapsed)
    weights = collapsed / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="collapsed"):
        Subject.load(str(collapsed))


_LOAD = """
import sys, torch
from saebook.subject.model import Subject
from saebook.common.errors import UserError
try:
    subject = Subject.load(sys.argv[1], device="cpu")
except UserError as error:
    sys.exit(str(error))
print("loaded", subject.weights_hash, subject.loss(torch.arange(20)[None]).mean().item())
"""


def test_hub_names_work_through_the_same_call(small_subject_folder, small_subject, tmp_path):
    with serving("someone/tiny", small_subject_folder) as address:
        environment = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        run = [sys.executable, "-c", _LOAD]
        found = subprocess.run([*run, "someone/tiny"], env=environment, capture_output=True, text=True, timeout=240)
        absent = subprocess.run([*run, "someone/none"], env=environment, capture_output=True, text=True, timeout=240)
    assert found.stdout.split()[:2] == ["loaded", small_subject.weights_hash], found.stderr[-2000:]
    assert absent.returncode == 1 and absent.stderr.strip().startswith("subject 'someone/none'"), absent.stderr[-2000:]
    assert len(absent.stderr.strip().splitlines()) == 1, absent.stderr
