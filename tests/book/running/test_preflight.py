"""Files and models of a budget are checked before a kernel starts; relative folders are the caller's."""

import json

import pytest

from saebook.book import budgets
from saebook.book.running import preflight
from saebook.common import paths
from saebook.common.errors import UserError
from saebook.formats import foreign_saelens
from saebook.formats.portable import Origin
from saebook.sae import registry
from saebook.sae.base import Member

FIGURE = "gated/fig05_pareto"


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"num_hidden_layers": 2, "n_positions": 64}))
    return folder


def test_relative_folders_are_the_callers(tmp_path, model):
    given = {"subject": "model", "ratings": "answers", "source": "folder:texts", "layer": 1}
    assert preflight.absolute(given, tmp_path) == {
        "subject": str(model),
        "ratings": str(tmp_path / "answers"),
        "source": f"folder:{tmp_path / 'texts'}",
        "layer": 1,
    }
    assert preflight.absolute({"subject": "model:random"}, tmp_path) == {"subject": f"{model}:random"}


def test_names_that_are_not_folders_stay(tmp_path):
    (tmp_path / "prose-4l128").mkdir()
    given = {"subject": "prose-4l128", "source": "environment", "ratings": ""}
    assert preflight.absolute(given, tmp_path) == given
    assert preflight.absolute({"subject": "gpt2"}, tmp_path) == {"subject": "gpt2"}


def test_books_own_budgets_pass():
    preflight.check(budgets.resolve(FIGURE, "cpu"))
    preflight.check(budgets.resolve("gated/fig12_sites", "cpu"))
    preflight.check(budgets.resolve("gated/fig02_shrinkage_toy", "cpu"))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"layer": 99}, "layer must be from 0 to 3 in prose-4l128, not 99"),
        ({"subject": "prose-4l128:random", "layer": 99}, "layer must be from 0 to 3 in prose-4l128"),
        ({"subject": "nowhere:random"}, "no embedded subject and no folder 'nowhere'"),
        ({"context": 4096}, "context must be at most 128"),
        ({"subject": "./nowhere"}, "names a folder that does not exist: ./nowhere"),
        ({"subject": "/nowhere/model"}, "names a folder that does not exist"),
        ({"subject": "a/b/c"}, "names a folder that does not exist"),
        ({"subject": " "}, "must name a model"),
        ({"subject": "nowhere"}, "no embedded subject and no folder 'nowhere'"),
        ({"source": "folder:/nowhere"}, "source names a folder that does not exist: /nowhere"),
        ({"source": "hub:"}, "source must be environment, sotu, folder:PATH, hub:NAME, or several"),
        ({"source": "hub:a/b:many"}, "'hub:a/b:many' is not understood: use hub:NAME/CONFIG@SPLIT#COLUMN:TOKENS"),
        (
            {"source": "nowhere"},
            "source must be environment, sotu, folder:PATH, hub:NAME, or several joined by \\+, not 'nowhere'",
        ),
    ],
)
def test_missing_folders_are_refused(asked, words, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=words):
        preflight.check(budgets.resolve(FIGURE, "smoke", **asked))


def test_layers_of_a_folders_model_and_of_several_sites(model):
    preflight.check(budgets.resolve(FIGURE, "smoke", subject=str(model), layer=1))
    with pytest.raises(UserError, match="from 0 to 1"):
        preflight.check(budgets.resolve(FIGURE, "smoke", subject=str(model), layer=2))
    with pytest.raises(UserError, match="from 0 to 3 in prose-4l128, not 7"):
        preflight.check(budgets.resolve("gated/fig12_sites", "smoke", layers=[0, 7]))


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "has no config.json"), ("{", "is damaged"), ("[]", "is damaged"), ("\xff", "is damaged")],
)
def test_folder_that_is_not_a_model_is_refused(model, content, words):
    file = model / "config.json"
    file.unlink() if content is None else file.write_text(content, "latin-1")
    with pytest.raises(UserError, match=words):
        preflight.check(budgets.resolve(FIGURE, "smoke", subject=str(model)))


def texts(folder, count):
    (folder / "deep").mkdir(parents=True)
    for number in range(count):
        (folder / "deep" / f"{number}.md").write_text("some text")
    (folder / "empty.txt").touch()
    (folder / "code.py").write_text("x = 1")
    return budgets.resolve(FIGURE, "smoke", source=f"folder:{folder}")


def test_text_that_cannot_be_split_is_refused(tmp_path, monkeypatch):
    preflight.check(texts(tmp_path / "many", 300))
    for count, words in ((0, "has no text files"), (1, "has 1 text file "), (4, "has 4 text files ")):
        with pytest.raises(
            UserError, match=words + r".*none is held out to measure on.*`split -n l/400 .*FILE FOLDER/`"
        ):
            preflight.check(texts(tmp_path / str(count), count))
    monkeypatch.setattr(preflight.prose, "validation", lambda path: True)
    with pytest.raises(UserError, match="none is left to train on"):
        preflight.check(texts(tmp_path / "all", 3))


@pytest.fixture
def sae(tmp_path):
    """A function that writes an SAE for the embedded model's neurons, or what else is asked for, and returns its budget."""

    def asked(d_in=512, model_name="prose-4l128", hook_name="blocks.1.mlp.hook_post", **others):
        folder = tmp_path / f"sae{len(list(tmp_path.iterdir()))}"
        stack = registry.build("relu", d_in, 8, (Member(0, 1.0),))
        foreign_saelens.write(stack, folder, origin=Origin(model_name, hook_name))
        return budgets.resolve(FIGURE, "smoke", sae=[str(folder)], **others)

    return asked


def test_fitting_sae_passes_and_another_model_is_said(sae, tmp_path):
    assert preflight.check(sae()) == ()
    assert preflight.check(sae(model_name="EleutherAI/prose-4l128")) == preflight.check(sae(model_name=None)) == ()
    (words,) = preflight.check(sae(model_name="gpt2-small"))
    assert "says that it was made for the model gpt2-small, and is measured in prose-4l128" in words


def test_folder_of_a_model_has_no_name_to_compare(sae, model):
    file = model / "config.json"
    file.write_text(json.dumps({"num_hidden_layers": 2, "n_positions": 128, "intermediate_size": 512}))
    assert preflight.check(sae(subject=str(model), model_name="gpt2-small")) == ()


def test_sae_that_does_not_fit_is_refused_before_a_kernel(sae):
    with pytest.raises(UserError, match=r"was made for blocks\.0\.hook_mlp_out, .*: give -p site mlp_out -p layer 0"):
        preflight.check(sae(hook_name="blocks.0.hook_mlp_out"))
    with pytest.raises(
        UserError, match=r"width 300, and blocks\.1\.mlp\.hook_post of prose-4l128 has 512: its files name this"
    ):
        preflight.check(sae(d_in=300))


def test_sae_of_the_hub_is_left_to_the_run():
    assert preflight.check(budgets.resolve(FIGURE, "smoke", sae=["someone/saes:sae"])) == ()


def test_ratings_must_be_a_folder():
    with pytest.raises(UserError, match="ratings must be a folder"):
        preflight.check(budgets.resolve("gated/fig07_interpretability", "smoke", ratings="/nowhere"))


def test_subject_outside_the_subjects_folder_is_not_embedded():
    assert preflight._embedded("prose-4l128") == paths.data() / "subjects" / "prose-4l128"
    assert preflight._embedded("../papers") is preflight._embedded("") is preflight._embedded("/tmp") is None
