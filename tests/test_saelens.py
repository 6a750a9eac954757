"""SAELens itself opens our files and computes the same. Needs the extra `interop`, which holds TransformerLens at 3.x."""

import json

import pytest
import torch
from safetensors.torch import save_file

from saebook.sae import ARCHITECTURES, Member, build

sae_lens = pytest.importorskip("sae_lens", reason="SAELens is in the extra `interop`, which needs TransformerLens 3.x")


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_saelens_opens_our_layout_and_agrees(kind, tmp_path):
    stack = build(kind, 12, 40, (Member(1, 3), Member(2, 5)))
    generator = torch.Generator().manual_seed(0)
    for parameter in stack.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    stack.constrain_weights()
    cfg, tensors = stack.to_saelens(1)
    (tmp_path / "cfg.json").write_text(json.dumps(cfg))
    save_file({name: t.contiguous() for name, t in tensors.items()}, tmp_path / "sae_weights.safetensors")
    theirs = sae_lens.SAE.load_from_disk(str(tmp_path))
    x = torch.randn(64, 12, generator=generator)
    latents = theirs.encode(x)
    assert torch.allclose(latents, stack.encode(x)[1], atol=1e-5)
    assert torch.allclose(theirs.decode(latents), stack.reconstruct(x)[1], atol=1e-5)
    assert 0 < (latents > 0).float().mean() < 0.9
