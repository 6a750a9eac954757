"""SAEs from a loop-back stand-in for the hub: what is fetched is read, and what cannot be fetched is said in one line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from formats.twins import D, M, activations, matrices, saelens_file
from subject.hub_mirror import serving

from saebook.book.brought import fetching, fitting, naming
from saebook.common.errors import UserError
from saebook.formats import conversion
from saebook.formats.portable import Origin

_FETCH = """
import sys
from saebook.book.brought import fetching, naming
from saebook.common.errors import UserError
for name in sys.argv[1:]:
    try:
        print(fetching.fetched(naming.parsed(name)))
    except UserError as error:
        print(error)
"""


@pytest.fixture
def repository(tmp_path):
    """A repository with a folder by SAELens, a folder of a run by sparsify, and what nobody reads."""
    folder = tmp_path / "repository"
    saelens_file(folder / "blocks.8.hook_resid_pre", "standard")
    torch.save({"large": torch.zeros(3)}, folder / "blocks.8.hook_resid_pre" / "optimizer.pt")
    (folder / "run" / "layers.6").mkdir(parents=True)
    shutil.copy(folder / "blocks.8.hook_resid_pre" / "cfg.json", folder / "run" / "layers.6")
    (folder / "run" / "config.json").write_text(json.dumps({"model": "gpt2"}))
    (folder / "README.md").write_text("not an SAE")
    return folder


def fetch(tmp_path, hub, *names, offline="0"):
    environment = os.environ | hub.environment(tmp_path / "hub") | {"HF_HUB_OFFLINE": offline}
    run = [sys.executable, "-c", _FETCH, *names]
    ended = subprocess.run(run, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=True)
    return ended.stdout.splitlines()


def test_fetched_sae_is_the_one_of_the_hub_and_opens_without_a_network_afterwards(tmp_path, repository):
    name = "someone/saes:blocks.8.hook_resid_pre"
    with serving({"someone/saes": repository}) as hub:
        fetched, run, absent, none = fetch(
            tmp_path, hub, name, "someone/saes:run/layers.6", "someone/saes:layers.7", "someone/none:sae"
        )
    again, never = fetch(tmp_path, hub, name, "someone/other:sae", offline="1")
    own = conversion.read(repository / "blocks.8.hook_resid_pre").state_dict()
    assert all(torch.equal(tensor, own[key]) for key, tensor in conversion.read(fetched).state_dict().items())
    place = tmp_path / "hub"
    assert not list(place.rglob("optimizer.pt")) and not list(place.rglob("README.md"))
    assert sorted(path.name for path in place.rglob("snapshots/*/run/*")) == ["config.json", "layers.6"]
    assert run.endswith("run/layers.6") and again == fetched
    assert absent == "the hub has no SAE 'someone/saes:layers.7': it has blocks.8.hook_resid_pre, run"
    assert none.startswith("SAE 'someone/none:sae' cannot be fetched from the hub (")
    assert never.startswith(
        "there is no file or folder 'someone/other:sae' here, and the model hub cannot be reached (HF_HUB"
    )


def test_unreachable_hub_is_told_at_once(tmp_path, repository):
    with serving({"someone/saes": repository}) as hub:
        pass  # closed again: nothing answers there
    (words,) = fetch(tmp_path, hub, "someone/saes:run")
    assert "the model hub cannot be reached" in words


def test_file_of_the_authors_comes_with_its_configuration():
    names = ["local_layer_6.pt", "local_layer_6.yaml", "local_layer_2.pt", "sub/a.pt", "sub/final_config.yaml"]
    place = naming.Place("", None, "a/b", "local_layer_6.pt")
    assert fetching._wanted(names, place) == ["local_layer_6.pt", "local_layer_6.yaml"]
    assert fetching._wanted(names, naming.Place("", None, "a/b", "sub/a.pt")) == ["sub/a.pt", "sub/final_config.yaml"]
    with pytest.raises(UserError, match=r"no SAE 'a/b:other': it has local_layer_2.pt, local_layer_6.pt, sub"):
        fetching._wanted(names, naming.Place("", None, "a/b", "other"))


def test_published_release_is_fetched_by_its_short_name(tmp_path):
    """A small file of our own in the layout of the e2e authors' repository."""
    folder, ours = tmp_path / "published", matrices(unit=True)
    folder.mkdir()
    tensors = {
        "encoder.weight": ours["W_enc"].T.contiguous(), "encoder.bias": torch.zeros(M),
        "decoder.weight": ours["W_dec"].T.contiguous(), "decoder.bias": ours["b_dec"],
    }  # fmt: skip
    torch.save(tensors, folder / "local_similar_ce_layer_6.pt")
    torch.save(tensors, folder / "local_similar_ce_layer_2.pt")
    (folder / "local_similar_ce_layer_6.yaml").write_text("saes: {sae_positions: [blocks.6.hook_resid_pre]}\n")
    name, fits = "e2e-saes-gpt2/local_similar_ce_layer_6", ("blocks.6.hook_resid_pre", D, "gpt2")
    with serving({"apollo-research/e2e-saes-gpt2": folder}) as hub:
        (fetched,) = fetch(tmp_path, hub, name)
    assert not list((tmp_path / "hub").rglob("*_layer_2.pt"))
    one = fitting.opened(naming.parsed(name), Path(fetched), *fits)
    x = activations()
    expected = torch.relu(x @ ours["W_enc"]) @ ours["W_dec"] + ours["b_dec"]
    assert torch.allclose(one.stack.reconstruct(x)[0], expected, atol=1e-4) and one.origin.model_name == "gpt2"
    Path(fetched).with_suffix(".yaml").unlink()  # without it, the register of releases says the same
    assert fitting.opened(naming.parsed(name), Path(fetched), *fits).origin == Origin("gpt2", fits[0])
