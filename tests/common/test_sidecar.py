"""Sidecars: read once, refused in one line, and in the order of the book."""

import pytest
import yaml

from saebook.common import sidecar
from saebook.common.errors import UserError
from saebook.common.names import PAPERS, TIERS


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "_config.yml").write_text("")
    monkeypatch.setenv("SAEBOOK_HOME", str(tmp_path))

    def write(name, **content):
        file = tmp_path / "notebooks" / f"{name}.yml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".ipynb").write_text("{}")
        file.write_text(yaml.safe_dump({"title": "t", "plan": "p"} | content))
        return file

    return write


def test_every_notebook_of_the_book_has_a_sidecar():
    notebooks = {f"{p.parent.name}/{p.stem}" for p in sidecar.folder().glob("*/*.ipynb")}
    assert (
        notebooks
        == set(sidecar.names())
        == {f"{p.parent.name}/{p.stem}" for p in sidecar.folder().glob("*/*.yml") if p.stem != "claims"}
    )


def test_chapters_come_by_paper_then_figures_tables_and_knobs(home):
    for name in ("gated/knob_a", "gated/tab_b", "gated/fig12_c", "gated/fig02_d", "e2e/fig01_e", "checks/z"):
        home(name)
    home("checks/a", order=1)
    assert sidecar.names() == [
        "checks/z", "checks/a", "gated/fig02_d", "gated/fig12_c", "gated/tab_b", "gated/knob_a", "e2e/fig01_e",
    ]  # fmt: skip
    assert [name.split("/")[0] for name in sidecar.names()] == sorted(
        (name.split("/")[0] for name in sidecar.names()), key=list(PAPERS).index
    )


def test_own_values_of_a_tier_win_over_common_and_inherited_ones(home):
    home("gated/a", budgets={"common": {"x": 1, "y": 1, "z": 1}, "smoke": {"z": 2}, "cpu": {}})
    home("gated/b", budgets={"like": "gated/a", "common": {"y": 3}, "cpu": {"z": 4}})
    assert sidecar.load("gated/b").values("cpu") == {"x": 1, "y": 3, "z": 4}
    assert sidecar.load("gated/b").tiers() == ["cpu"]
    home("gated/c", budgets={"like": "gated/a", "common": {"y": 3}})
    assert sidecar.load("gated/c").tiers() == ["smoke", "cpu"]
    assert sidecar.load("gated/c").values("smoke") == {"x": 1, "y": 3, "z": 2}


def test_a_tier_can_share_the_runs_of_another_chapter_or_of_none(home):
    home("gated/a", budgets={"common": {"x": 1}, "smoke": {}, "cpu": {"z": 2}})
    home("gated/b", budgets={"common": {"x": 5, "y": 5}, "cpu": {"z": 6}})
    home("gated/c", budgets={"like": "gated/a", "common": {"y": 7}, "smoke": {}, "cpu": {"like": "gated/b", "w": 8}})
    assert [sidecar.load("gated/c").like(tier) for tier in ("smoke", "cpu")] == ["gated/a", "gated/b"]
    assert sidecar.load("gated/c").values("smoke") == {"x": 1, "y": 7}
    assert sidecar.load("gated/c").values("cpu") == {"x": 5, "y": 7, "z": 6, "w": 8}
    home("gated/d", budgets={"like": "gated/a", "cpu": {"like": None, "v": 9}})
    assert sidecar.load("gated/d").like("cpu") is None and sidecar.load("gated/d").values("cpu") == {"v": 9}


def test_tier_without_a_budget_and_an_unknown_tier_are_refused(home):
    home("gated/a", budgets={"smoke": {}})
    with pytest.raises(UserError, match="gated/a has no budget at tier cpu: run it at smoke"):
        sidecar.load("gated/a").values("cpu")
    with pytest.raises(UserError, match="tier 'huge' is not known"):
        sidecar.load("gated/a").values("huge")
    assert sidecar.names_at("smoke") == ["gated/a"] and sidecar.names_at("gpu") == []
    assert set(TIERS) <= set(sidecar.Budgets.model_fields)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"title: [", "not valid YAML"),
        (b"", "must map names to values"),
        (b"- a", "must map names to values"),
        (b"title: caf\xe9", "cannot be read"),
        (b"title: t", "plan: Field required"),
        (b"title: t\nplan: p\ncolour: red", "colour: Extra inputs"),
        (b"title: t\nplan: p\nbudgets: {cloud: {}}", "cloud: Extra inputs"),
    ],
)
def test_damaged_sidecar_is_refused_in_one_line(home, content, words):
    file = home("gated/a")
    file.write_bytes(content)
    with pytest.raises(UserError, match=words) as refused:
        sidecar.load("gated/a")
    assert "\n" not in str(refused.value) and "a.yml" in str(refused.value)


def test_names_are_found_by_path_and_misspelt_ones_are_corrected(home):
    home("gated/fig05_pareto")
    for name in ("gated/fig05_pareto", "notebooks/gated/fig05_pareto.ipynb"):
        assert sidecar.resolved(name) == "gated/fig05_pareto"
    for name in ("gated/fig5_pareto", "gated.fig05_pareto"):
        with pytest.raises(UserError, match="did you mean gated/fig05_pareto"):
            sidecar.resolved(name)
    with pytest.raises(UserError, match="no notebook") as refused:
        sidecar.resolved("x" * 5000)
    assert len(str(refused.value)) < 300
