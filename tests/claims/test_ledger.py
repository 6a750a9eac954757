"""The ledger is read from the sidecars, and a row that cannot be meant is refused in one line."""

import pytest
import yaml
from claims.claim_rows import COMMON

from saebook.claims import ledger, rules
from saebook.common import paths
from saebook.common.errors import UserError


def test_ledger_covers_the_three_papers():
    rows = ledger.load()
    assert {c.paper for c in rows} == {"gated", "topk", "e2e"}
    assert {c.kind for c in rows} == {"value", "direction", "ordering", "slope", "existence"}
    judged_here = [c for c in rows if c.live]
    assert len(judged_here) >= 40 and all(c.source and c.claim.endswith(".") for c in rows)
    assert any(not c.confirmed for c in rows) and any(c.not_comparable for c in rows)
    assert all(c.notebook.startswith(c.paper + "/") for c in judged_here if c.notebook)


def test_every_claim_has_a_live_quantity_in_its_notebook():
    for claim in ledger.load():
        if claim.notebook and claim.live:
            source = (paths.root() / "notebooks" / f"{claim.notebook}.ipynb").read_text()
            assert f'\\"{claim.live}\\"' in source, claim.id


def test_claim_without_a_chapter_names_the_planned_one_or_says_why_not():
    for claim in ledger.load():
        if not claim.notebook:
            assert bool(claim.planned) != bool(claim.not_comparable), claim.id


def test_claims_about_time_are_judged_by_repeated_measurement():
    for claim in ledger.load():
        if claim.live and {"time", "seconds"} & set(claim.quantity.replace(",", " ").split()):
            assert claim.timing, claim.id


def test_end_to_end_claims_and_those_about_width_are_not_judged_on_a_laptop():
    for claim in ledger.load():
        if claim.live and (claim.paper == "e2e" or {"width", "widths"} & set(claim.quantity.split()[1:])):
            assert claim.tier != "cpu" or "equal" in claim.quantity, claim.id


def test_no_difference_lies_in_the_band_of_a_claim_of_no_difference():
    """A paper's number of one for a ratio means that nothing differs: no size beyond the band is partly right."""
    for claim in ledger.load():
        if claim.band and claim.paper_value == 1.0 and "over" in claim.quantity:
            assert rules.target(claim).side == 0, claim.id


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "_config.yml").write_text("")
    (tmp_path / "notebooks" / "gated").mkdir(parents=True)
    monkeypatch.setenv("SAEBOOK_HOME", str(tmp_path))
    return tmp_path / "notebooks" / "gated"


GOOD = {name: value for name, value in COMMON.items() if name != "notebook"} | {"kind": "direction"}


def sidecar_of(home, rows):
    (home / "note.ipynb").write_text("{}")
    (home / "note.yml").write_text(yaml.safe_dump({"title": "t", "plan": "p", "claims": rows}))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"claims": "y"}, "claims: Extra inputs"),
        ({"kind": "feeling"}, "kind: Input should be"),
        ({"kind": "value"}, "needs a band"),
        ({"live": ""}, "either live"),
        ({"quantity": ""}, "quantity must say"),
        ({"tier": "smoke"}, "tier: Input should be"),
        ({"id": "other.a"}, "an id begins"),
        ({"band": [2, 1]}, "lower to its upper"),
        ({"one_run": True}, "one_run needs the band"),
        ({"smallest_effect": -0.1}, "cannot be negative"),
        ({"where": None}, "where: Input should be"),
    ],
)
def test_contradictory_row_is_refused_in_one_line(home, row, words):
    sidecar_of(home, [GOOD | row])
    with pytest.raises(UserError, match=words) as refused:
        ledger.load()
    assert "notebooks/gated/note.yml" in str(refused.value) and "\n" not in str(refused.value)


def test_id_that_occurs_twice_is_refused(home):
    sidecar_of(home, [GOOD])
    (home / "claims.yml").write_text(yaml.safe_dump([GOOD]))
    with pytest.raises(UserError, match=r"gated\.a twice"):
        ledger.load()


@pytest.mark.parametrize("content", ["a: [", "- 3", "x: y", ""])
def test_damaged_claims_are_refused_in_one_line(home, content):
    (home / "claims.yml").write_text(content)
    with pytest.raises(UserError, match=r"claims\.yml") as refused:
        ledger.load()
    assert "\n" not in str(refused.value)
