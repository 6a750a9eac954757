"""A reader's SAEs are measured as a chapter's own are, shown beside them, and leave claims and records alone."""

import pandas as pd
import pytest
import torch

from saebook.book import budgets, chapter, own
from saebook.book.brought import naming
from saebook.book.running import runner
from saebook.claims import recording, results
from saebook.common.errors import UserError
from saebook.evaluation.intervals import Interval
from saebook.formats import foreign_saelens
from saebook.formats.portable import Origin
from saebook.sae import registry
from saebook.sae.base import Member
from saebook.training.store import Store

NAME, HOOK = "gated/fig05_pareto", "blocks.1.hook_resid_post"
PAGES = (
    "gated/fig05_pareto", "gated/fig06_shrinkage", "gated/fig10_ito", "topk/fig05_downstream", "topk/fig09_refinement",
    "topk/fig10_progressive", "topk/fig24_n2g", "e2e/fig02_downstream_mse", "e2e/fig11_cosines",
    "e2e/fig12_explained_variance", "beyond/features",
)  # fmt: skip


@pytest.fixture
def given(small_subject_folder, text_folder, tmp_path, monkeypatch):
    """Parameters of Figure 5 on a small model; runs and results stay in a folder of the test."""
    for variable in ("SAEBOOK_RUNS", "SAEBOOK_BUILD", "SAEBOOK_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    return {
        "tier": "smoke", "subject": str(small_subject_folder), "source": f"folder:{text_folder}", "site": "resid_post", "layer": 1,
        "seeds": [0], "d_sae": 32, "gated_sparsities": [1.0], "baseline_sparsities": [1.0], "tokens": 512, "batch": 256,
    }  # fmt: skip


@pytest.fixture
def written(tmp_path):
    """A function that writes a ReLU or other SAE by SAELens' layout, made for block 1, and returns its folder."""

    def write(name="mine", architecture="relu", hook_name=HOOK, model_name="tiny", **options):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        stack = registry.build(architecture, 32, 48, (Member(0, 4.0),), **options)
        stack.W_enc.data += 0.1 * torch.randn(stack.W_enc.shape, generator=torch.Generator().manual_seed(7))
        foreign_saelens.write(stack, tmp_path / name, origin=Origin(model_name, hook_name))
        return str(tmp_path / name)

    return write


def test_own_sae_is_measured_as_the_chapters_are(given, capsys):
    table = chapter.open(NAME, given).sweep()
    row = table[table.method == "gated"].iloc[0]
    page = chapter.open(NAME, given | {"sae": [str(Store().root / row.key)]})
    mine = own.open(page)
    assert list(mine.table.columns) == list(table.columns)
    (again,) = mine.table.to_dict("records")
    assert again["method"] == row.key and (again["d_sae"], again["sparsity"], again["seed"]) == (32, 1.0, 0)
    for metric in table.columns[5:]:
        assert again[metric] == pytest.approx(row[metric], rel=1e-6), metric
    said = capsys.readouterr().out
    assert f"{row.key}: gated, 32 latents, made for {HOOK}; takes activations as they are\n" == said
    whole = mine.beside(table)
    assert whole[: len(table)].equals(table) and whole.method.iloc[-1] == row.key
    assert torch.equal(page.saes(mine.table)[0].W_enc, Store().load_sae(row.key).W_enc)


def test_what_was_measured_is_read_from_the_store(given, written, monkeypatch):
    given |= {"sae": [written()]}
    first = own.open(chapter.open(NAME, given)).table
    monkeypatch.setattr(own.metrics, "measure", lambda *_: pytest.fail("measured again"))
    pd.testing.assert_frame_equal(own.open(chapter.open(NAME, given)).table, first)
    with pytest.raises(pytest.fail.Exception):  # another text is another measurement
        _ = own.open(chapter.open(NAME, given | {"context": 16})).table


def test_without_a_name_everything_is_as_it_was(given, capsys):
    page = chapter.open(NAME, given)
    mine, table, figure = own.open(page), pd.DataFrame({"l0": [1.0]}), object()
    assert mine.beside(table) is table and mine.on(figure, {0: ("l0", "l0")}) is None
    assert mine.measured(lambda row, saes: pytest.fail("nothing is there")).empty and mine.findings == {}
    assert mine.show({"l0": "L0"}) is None and not capsys.readouterr().out
    assert "subject" not in vars(page)  # nothing was opened either


@pytest.mark.parametrize("name", PAGES)
def test_budget_without_a_name_reads_as_if_there_were_no_such_parameter(name):
    budget = budgets.resolve(name, "smoke")
    assert budget == budgets.resolve(name, "smoke") and "sae" not in budget.plain()
    assert budget != budgets.resolve(name, "smoke", sae=["a/b"])
    assert budgets.resolve(name, "smoke", sae=["a/b"]).plain() == budget.plain() | {"sae": ["a/b"]}


def test_measuring_pages_alone_take_saes():
    from saebook.common import sidecar

    assert {name for name in sidecar.names() if budgets.takes_saes(name)} == set(PAGES)
    with pytest.raises(UserError, match="unknown parameter 'sae'"):
        budgets.resolve("gated/fig12_sites", "smoke", sae=["a/b"])


def test_several_saes_have_names_of_their_own(given, written, capsys):
    names = [written("mine"), written("other/mine"), written("topk", "topk"), written("$a_b$")]
    page = chapter.open(NAME, given | {"sae": names})
    mine = own.open(page)
    assert list(mine.stacks) == ["mine", "other/mine", f"{page.budget.sae[2].split('/')[-2]}/topk", "$a_b$"]
    assert mine.labels["$a_b$"] == r"\$a_b\$" and len(mine.findings["sae"]) == 4
    rows = mine.measured(lambda row, saes: row.assign(latents=len(saes) * saes[0].d_sae))
    assert rows.method.to_list() == list(mine.stacks) and rows.latents.to_list() == [48] * 4
    capsys.readouterr()
    mine.show({"latents": "M"}, rows)
    assert capsys.readouterr().out.split() == ["method", "M", *(w for name in mine.stacks for w in (name, "48"))]
    with pytest.raises(UserError, match="twice"):
        chapter.open(NAME, given | {"sae": names[:1] * 2})


def test_sae_that_does_not_fit_is_refused_before_anything_is_trained(given, written):
    page = chapter.open(NAME, given | {"sae": [written(hook_name="blocks.0.hook_mlp_out")]})
    with pytest.raises(
        UserError, match=r"mine was made for .*, and this run looks at .*: give -p site mlp_out -p layer 0"
    ):
        own.open(page)
    assert not Store().root.exists()


def test_page_refuses_what_it_cannot_measure(given, written):
    page = chapter.open(NAME, given | {"sae": [written(per_token=True)]})
    with pytest.raises(UserError, match="normalises each token, and this page"):
        own.open(page, per_token=False)
    with pytest.raises(UserError, match="architecture relu, and this page can measure only topk, gated"):
        own.open(page, architectures=("topk", "gated"))


def test_another_model_and_another_space_are_said(given, written, capsys):
    own.open(chapter.open(NAME, given | {"sae": [written("normalising", per_token=True)]}))
    assert "normalises each token; the chapter's own SAEs differ in that" in capsys.readouterr().out
    page = chapter.open(NAME, given | {"sae": [written(model_name="gpt2-small")]})
    own.open(page)
    assert "made for the model" not in capsys.readouterr().out  # a folder has no name to compare
    page.subject.name = "gpt2-medium"
    own.open(page)
    assert "it says it was made for the model gpt2-small, and this is gpt2-medium" in capsys.readouterr().out


def test_sparsity_that_no_file_says_is_blank_beside_the_chapters(given, written):
    table = pd.DataFrame({"method": ["gated", "gated"], "sparsity": [0.5, 2.0], "l0": [9.0, 3.0]})
    mine = own.open(chapter.open(NAME, given | {"sae": [written()]}))
    rows = pd.DataFrame({"method": ["mine", "topk"], "sparsity": [0.0, 4.0], "l0": [5.0, 4.0]})
    shown = mine.beside(table, rows)
    assert shown.sparsity.to_list() == [0.5, 2.0, "", 4.0] and rows.sparsity.to_list() == [0.0, 4.0]
    assert shown.groupby(["method", "sparsity"]).l0.mean()["mine"].to_dict() == {"": 5.0}
    assert shown.to_csv(index=False).splitlines()[3] == "mine,,5.0"  # read again, it is not a number


def test_run_with_an_sae_is_kept_apart_and_never_recorded(given, written, monkeypatch, small_subject_folder):
    asked = {"sae": [written()], "subject": str(small_subject_folder), "site": "resid_post"}
    budget = budgets.resolve(NAME, "cpu", **asked)
    request = runner.request(NAME, "cpu", asked)
    assert not request.own and request.budget == budget and request.values["sae"] == asked["sae"]
    page = chapter.Chapter(NAME, budget)
    monkeypatch.setattr(results, "_about", lambda *_: {"subject": None, "corpus": None})
    points = pd.DataFrame({"method": ["gated"], "l0": [1.0]})
    monkeypatch.setattr(chapter.Chapter, "subject", None)
    page.close(points, {"l0_ratio": Interval(0.5, 0.4, 0.6, 3)})
    (kept,) = results.folder("cpu", "live").rglob("*.json")
    assert kept.stem.startswith("fig05_pareto@") and runner._page(request, request_hashes(request)).stem == kept.stem
    with pytest.raises(
        UserError, match="has no live result at tier cpu: run `saebook run gated/fig05_pareto --tier cpu`"
    ):
        recording.record("cpu", [NAME], budgets.resolve)
    for end in (".json", ".csv"):  # not even in the place of the tier's own
        kept.with_suffix(end).rename(kept.with_name(f"fig05_pareto{end}"))
    monkeypatch.setattr(results, "checked", lambda place: results.json.loads(place.read_text()))
    with pytest.raises(UserError, match="has other parameters than tier cpu has now"):
        recording.record("cpu", [NAME], budgets.resolve)


def request_hashes(request):
    return runner._hashes(request)


def test_name_of_nothing_is_refused_before_a_kernel_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="parameter sae: there is no file or folder 'mistyped'"):
        runner.request(NAME, "smoke", {"sae": "mistyped"})
    (tmp_path / "sae").mkdir()
    monkeypatch.setattr(runner.preflight, "check", lambda budget: ())  # what is in it is another matter
    asked = runner.request(NAME, "smoke", {"sae": "sae,gpt2-small-res-jb/blocks.8.hook_resid_pre"})
    assert asked.values["sae"] == [str(tmp_path / "sae"), "gpt2-small-res-jb/blocks.8.hook_resid_pre"]
    again = runner.request(NAME, "smoke", {"sae": "[sae, someone/saes:layers.6]"})
    assert again.values["sae"] == [str(tmp_path / "sae"), "someone/saes:layers.6"]


def test_weights_of_the_authors_stand_at_the_paper_tier_and_are_of_its_site():
    for name in PAGES:
        budget = budgets.resolve(name, "paper")
        names = getattr(budget, "sae", None) or ()
        assert bool(names) != name.startswith(("gated/", "beyond/"))  # the authors of the Gated paper released none
        for one in names:
            place = naming.parsed(one)
            assert place.hook_name == f"blocks.{budget.layer}.hook_{budget.site}" and place.model_name == budget.subject
        assert not getattr(budgets.resolve(name, "smoke"), "sae", None)


def test_weights_that_a_tier_names_are_called_theirs(given, written, monkeypatch):
    page = chapter.open(NAME, given | {"sae": [written()]})
    assert own.open(page).labels == {"mine": "mine"}
    monkeypatch.setattr(own.budgets, "resolve", lambda name, tier: page.budget)
    assert own.open(page).labels == {"mine": "their weights, mine"}
    elsewhere = page.budget.model_copy(
        update={"layer": 2}
    )  # where they do not fit, a run of the tier goes on without them
    monkeypatch.setattr(own.budgets, "resolve", lambda name, tier: elsewhere)
    assert own.open(page).labels == {}


def test_directions_have_norm_one():
    free = registry.build("topk_free_norm", 8, 16, (Member(0, 4),))
    free.W_dec.data *= 3
    assert torch.allclose(own.directions(free).norm(dim=1), torch.ones(16), atol=1e-6)
