"""Names of SAEs: what is here is a file, everything else is a name of the hub, and what is neither is refused at once."""

import pytest

from saebook.book.brought import naming
from saebook.common.errors import UserError


def test_what_exists_is_a_file_whatever_else_it_might_name(tmp_path):
    (tmp_path / "gpt2-small-res-jb" / "blocks.8.hook_resid_pre").mkdir(parents=True)
    place = naming.parsed("gpt2-small-res-jb/blocks.8.hook_resid_pre", tmp_path)
    assert place.file == tmp_path / "gpt2-small-res-jb" / "blocks.8.hook_resid_pre" and not place.repository
    assert naming.absolute("gpt2-small-res-jb/blocks.8.hook_resid_pre", tmp_path) == str(place.file)


@pytest.mark.parametrize(
    ("name", "label", "repository", "path", "hook_name"),
    [
        ("someone/saes:layers.6", "layers.6", "someone/saes", "layers.6", None),
        ("someone/saes:run/layers.6/", "layers.6", "someone/saes", "run/layers.6", None),
        ("someone/one-sae", "one-sae", "someone/one-sae", "", None),
        (
            "gpt2-small-resid-post-v5-32k/blocks.11.hook_resid_post", "gpt2-small-resid-post-v5-32k",
            "jbloom/GPT2-Small-OAI-v5-32k-resid-post-SAEs", "v5_32k_layer_11.pt", "blocks.11.hook_resid_post",
        ),
        (
            "e2e-saes-gpt2/downstream_similar_ce_layer_6", "downstream_similar_ce_layer_6", "apollo-research/e2e-saes-gpt2",
            "downstream_similar_ce_layer_6.pt", "blocks.6.hook_resid_pre",
        ),
    ],
)  # fmt: skip
def test_names_of_the_hub(tmp_path, name, label, repository, path, hook_name):
    place = naming.parsed(name, tmp_path)
    assert (place.label, place.file, place.repository, place.path) == (label, None, repository, path)
    assert place.hook_name == hook_name and naming.absolute(name, tmp_path) == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "no file or folder ''"),
        ("/nowhere/sae", "no file or folder '/nowhere/sae'"),
        ("./sae", "no file or folder"),
        ("~/no/such/sae", "no file or folder"),
        ("mistyped", "OWNER/REPO:PATH, or RELEASE/SAE_ID of gpt2-small-res-jb"),
        ("a/b/c", "no file or folder 'a/b/c'"),
        ("a/b:../c", "leads out of its repository"),
        ("e2e-saes-gpt2/layer_6", "its SAEs are called {kind}_similar_{near}_layer_{layer}"),
    ],
)
def test_names_of_nothing_are_refused(tmp_path, name, words):
    with pytest.raises(UserError) as refused:
        naming.parsed(name, tmp_path)
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_damaged_register_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(naming.paths, "data", lambda: tmp_path)
    (tmp_path / "releases.yml").write_text("one: {repository: a/b}\n")
    with pytest.raises(UserError, match=r"releases\.yml is damaged \(model_name"):
        naming.releases()
