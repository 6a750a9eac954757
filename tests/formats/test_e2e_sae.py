"""Files of e2e_sae load as what the library computes, come back as they were, or are refused in one line."""

import pytest
import torch
from formats.twins import D, M, assert_round_trip, assert_same, e2e_file, made

from saebook.common.errors import UserError
from saebook.formats import e2e_sae
from saebook.formats.portable import Origin
from saebook.formats.stated import Stated

HOOK, OTHER = "blocks.6.hook_resid_pre", "blocks.10.hook_resid_pre"


@pytest.mark.parametrize("given", ["samples_400.pt", "."])
def test_files_and_their_folders_compute_the_same_here(tmp_path, given):
    computed = e2e_file(tmp_path / "run" / "samples_400.pt", HOOK)
    stack = e2e_sae.read(tmp_path / "run" / given)
    assert stack.architecture == "normalised_relu"
    assert_same(stack, computed)
    assert e2e_sae.parse(tmp_path / "run" / given, Stated())[1] == Origin("gpt2-small", HOOK)


def test_of_several_positions_one_is_chosen(tmp_path):
    computed = e2e_file(tmp_path / "samples_400.pt", HOOK, OTHER)
    with pytest.raises(UserError, match=rf"holds SAEs of {HOOK}, {OTHER}: choose one \(--hook-name\)"):
        e2e_sae.read(tmp_path / "samples_400.pt")
    assert_same(e2e_sae.read(tmp_path / "samples_400.pt", Stated(hook_name=HOOK)), computed)
    other = e2e_sae.read(tmp_path / "samples_400.pt", Stated(hook_name=OTHER))
    assert not torch.equal(other.W_enc, e2e_sae.read(tmp_path / "samples_400.pt", Stated(hook_name=HOOK)).W_enc)
    with pytest.raises(UserError, match=r"holds no SAE of blocks\.1, only of"):
        e2e_sae.read(tmp_path / "samples_400.pt", Stated(hook_name="blocks.1"))


def test_a_row_of_zeros_decodes_to_nothing(tmp_path):
    e2e_file(tmp_path / "run" / "samples_400.pt", HOOK)
    content = torch.load(tmp_path / "run" / "samples_400.pt", weights_only=True)
    content["blocks-6-hook_resid_pre.decoder.weight"][:, 7] = 0
    torch.save(content, tmp_path / "run" / "samples_400.pt")
    stack = e2e_sae.read(tmp_path / "run")
    x = torch.randn(50, D, generator=torch.Generator().manual_seed(0))
    f = (
        x @ content["blocks-6-hook_resid_pre.encoder.0.weight"].T + content["blocks-6-hook_resid_pre.encoder.0.bias"]
    ).relu()
    assert f[:, 7].any() and not stack.encode(x)[0, :, 7].any()
    W = torch.nn.functional.normalize(content["blocks-6-hook_resid_pre.decoder.weight"], dim=0)
    expected = f @ W.T + content["blocks-6-hook_resid_pre.decoder.bias"]
    assert torch.allclose(stack.reconstruct(x)[0], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"blocks-6-hook_resid_pre.decoder.bias": None}, "lacks blocks-6-hook_resid_pre.decoder.bias"),
        ({"blocks-6-hook_resid_pre.decoder.weight": torch.ones(M, D)}, r"W_dec of shape \(12, 40\), not \(40, 12\)"),
        ({"blocks-6-hook_resid_pre.encoder.0.bias": torch.full((M,), torch.inf)}, "b_enc that are not finite"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, content, message):
    e2e_file(tmp_path / "samples_400.pt", HOOK, **content)
    with pytest.raises(UserError, match=message) as refused:
        e2e_sae.read(tmp_path / "samples_400.pt")
    assert "\n" not in str(refused.value)


def test_a_folder_with_several_files_is_refused(tmp_path):
    e2e_file(tmp_path / "samples_400.pt", HOOK)
    e2e_file(tmp_path / "samples_800.pt", HOOK)
    with pytest.raises(UserError, match=r"has 2 \.pt files: name one of them"):
        e2e_sae.read(tmp_path)


@pytest.mark.parametrize("kind", ["normalised_relu", "relu"])
def test_own_stacks_round_trip(tmp_path, kind):
    stack = made(kind)
    e2e_sae.write(stack, tmp_path / "run", 1, Origin("gpt2-small", HOOK))
    assert_round_trip(stack, e2e_sae.read(tmp_path / "run"))
    assert e2e_sae.parse(tmp_path / "run", Stated())[1] == Origin("gpt2-small", HOOK)


def test_what_the_library_cannot_compute_or_name_is_not_written(tmp_path):
    with pytest.raises(UserError, match=r"names an SAE by its hook: state it \(--hook-name\)"):
        e2e_sae.write(made("relu"), tmp_path / "run")
    with pytest.raises(UserError, match="has no architecture that computes 'topk'"):
        e2e_sae.write(made("topk"), tmp_path / "run", origin=Origin(hook_name=HOOK))
    with pytest.raises(UserError, match="has no SAE that normalises each token"):
        e2e_sae.write(made("relu", per_token=True), tmp_path / "run", origin=Origin(hook_name=HOOK))
    assert not list(tmp_path.iterdir())
