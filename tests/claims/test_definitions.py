"""A result depends on the definitions of its paper that its notebook and its plan reach, and on no neighbour's."""

import pytest

from saebook.claims.definitions import Place, reached, used

FILES = {
    "papers/__init__.py": "",
    "papers/one/__init__.py": "",
    "papers/one/plans.py": """
from saebook.papers.one import more
from saebook.papers.one.budgets import BUDGETS, Narrow
from saebook.training.sweep import sweep
from saebook.sae import relu
RATE = 1e-3
UNUSED = 2
def narrow(budget: Narrow):
    return helper(RATE), sweep
def helper(rate):
    return rate
def wide(budget):
    return UNUSED, relu.ReLU
PLANS = {"narrow": (BUDGETS["narrow"], narrow), "wide": (BUDGETS["wide"], wide), **more.PLANS}
""",
    "papers/one/budgets.py": """
class Narrow: width = LEAST
class Wide: pass
LEAST = 4
BUDGETS = {"narrow": Narrow, "wide": Wide}
""",
    "papers/one/more.py": """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from saebook.sae.topk import TopK
def extra(): return "prolu_ste"
PLANS = {"extra": extra}
def drawn(): pass
def other(): pass
""",
    "sae/__init__.py": "", "sae/relu.py": "", "sae/topk.py": "", "training/__init__.py": "", "training/sweep.py": "",
}  # fmt: skip
PLANS = "saebook.papers.one.plans"


@pytest.fixture
def home(tmp_path):
    for name, text in FILES.items():
        file = tmp_path / "saebook" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "saebook"


def of(plan, home):
    return reached([Place(PLANS, "PLANS", plan)], home)


def test_plan_reaches_its_budget_functions_and_constants_and_nothing_of_its_neighbours(home):
    narrow = of("narrow", home)
    written = {module: text.decode() for module, text in narrow.written().items()}
    assert set(written) == {PLANS, "saebook.papers.one.budgets"}
    assert all(name in written[PLANS] for name in ("narrow", "helper", "RATE")) and "UNUSED" not in written[PLANS]
    assert "LEAST" in written["saebook.papers.one.budgets"] and "Wide" not in written["saebook.papers.one.budgets"]
    assert narrow.modules == {"saebook.training.sweep"}
    assert of("wide", home).modules == {"saebook.sae.relu"}


def test_entry_of_a_table_taken_in_from_elsewhere_is_reached_there(home):
    extra = of("extra", home)
    assert set(extra.definitions) == {"saebook.papers.one.more"} and extra.constants() == {"prolu_ste"}
    assert extra.modules == set()  # what only type checkers import counts nowhere
    assert of("nowhere", home).definitions == {}


@pytest.mark.parametrize(
    ("file", "old", "new", "ages"),
    [
        ("plans.py", "return rate", "return 2 * rate", {"narrow"}),
        ("plans.py", "RATE = 1e-3", "RATE = 2e-3", {"narrow"}),
        ("plans.py", "UNUSED = 2", "UNUSED = 3", {"wide"}),
        ("plans.py", '"narrow": (BUDGETS["narrow"], narrow)', '"narrow": (BUDGETS["narrow"], helper)', {"narrow"}),
        ("plans.py", "**more.PLANS", '"new": (1, 2), **more.PLANS', set()),
        ("plans.py", "UNUSED = 2", "UNUSED = 2  # two", set()),
        ("plans.py", "UNUSED = 2", "UNUSED = 2\nprint(RATE)", {"narrow", "wide", "extra"}),
        ("budgets.py", "LEAST = 4", "LEAST = 5", {"narrow"}),
        ("budgets.py", "class Wide: pass", "class Wide: more = 1", {"wide"}),
        ("more.py", "prolu_ste", "prolu_relu", {"extra"}),
    ],
)
def test_change_ages_exactly_the_plans_that_reach_it(home, file, old, new, ages):
    before = {plan: of(plan, home).written() for plan in ("narrow", "wide", "extra")}
    path = home / "papers" / "one" / file
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    assert {plan for plan, written in before.items() if of(plan, home).written() != written} == ages


def test_script_reaches_what_it_asks_of_a_module(home):
    """`other` of the same module is not asked for; a module that is passed on whole counts whole."""
    script = "from saebook.papers.one import more\nfrom saebook.sae.topk import TopK\nmore.drawn()"
    places = list(used(script, home))
    found = reached(places, home)
    assert "drawn" in found.written()["saebook.papers.one.more"].decode()
    assert "other" not in found.written()["saebook.papers.one.more"].decode()
    assert found.modules == {"saebook.sae.topk"}
    whole = reached(used("from saebook.papers.one import more\nprint(more)", home), home)
    assert "other" in whole.written()["saebook.papers.one.more"].decode()
