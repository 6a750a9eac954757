"""SAELens itself opens our files and computes the same. Needs the extra `interop`, which holds TransformerLens at 3.x."""

import json

import pytest
import torch
from safetensors.torch import save_file

from saebook.sae.base import Member
from saebook.sae.registry import ARCHITECTURES, build

sae_lens = pytest.importorskip("sae_lens", reason="SAELens is in the extra `interop`, which needs TransformerLens 3.x")


@pytest.mark.parametrize("kind", [kind for kind, made in ARCHITECTURES.items() if made.saelens_name != "gated_untied"])
@pytest.mark.parametrize("per_token", [False, True])
def test_saelens_opens_our_layout_and_agrees(kind, per_token, tmp_path):
    stack = build(kind, 12, 40, (Member(1, 3), Member(2, 5)), per_token=per_token)
    generator = torch.Generator().manual_seed(0)
    for parameter in stack.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    stack.constrain_weights()
    cfg, tensors = stack.to_saelens(1)
    (tmp_path / "cfg.json").write_text(json.dumps(cfg))
    save_file({name: t.contiguous() for name, t in tensors.items()}, tmp_path / "sae_weights.safetensors")
    theirs = sae_lens.SAE.load_from_disk(str(tmp_path))
    x = 1 + 2 * torch.randn(64, 12, generator=generator)
    latents = theirs.encode(x)
    z, mean, spread = stack.prepare(x)
    assert torch.allclose(latents, stack.encode(z)[1], atol=1e-4)
    assert torch.allclose(theirs.decode(latents), stack.reconstruct(z)[1] * spread + mean, atol=1e-4)
    assert 0 < (latents > 0).float().mean() < 0.9
