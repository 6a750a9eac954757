"""Chapters that measure the SAEs of Figure 1 again train exactly those, and a budget that means nothing is refused."""

import pytest

from saebook.book import budgets
from saebook.common import sidecar
from saebook.common.errors import UserError
from saebook.papers.e2e import plans
from saebook.subject.model import Site

SHARING = (
    "fig06_downstream_layers", "fig19_umap", "fig22_pca0", "fig23_directions", "fig24_tab07_agreement", "tab06_cost",
)  # fmt: skip


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("tier", ["smoke", "cpu"])
def test_chapters_share_the_saes_of_figure_1(name, tier):
    site = Site("resid_pre", 1, "", 8)
    first, own = (budgets.resolve(f"e2e/{one}", tier) for one in ("fig01_pareto", name))
    assert budgets.plan(f"e2e/{name}").methods(own, site) == plans.three_objectives(first, site)
    shared = ("subject", "source", "site", "layer", "seeds", "tokens", "batch", "eval_rows", "skip", "block")
    assert all(getattr(first, field) == getattr(own, field) for field in shared)
    assert sidecar.load(f"e2e/{name}").tiers() == sidecar.load("e2e/fig01_pareto").tiers()


@pytest.mark.parametrize(
    ("name", "asked", "words"),
    [
        ("fig23_directions", {"directions": 2}, "at least three"),
        ("fig23_directions", {"ablation_rows": 513}, "at most direction_rows, 512"),
        ("tab06_cost", {"rounds": 2}, "at least three"),
        ("fig24_tab07_agreement", {"least_accuracy": 0.5}, "above one half"),
        ("fig24_tab07_agreement", {"kept": [4, 4]}, "must not name a value twice"),
        ("fig19_umap", {"regions": 1}, "regions must be greater than 1"),
    ],
)
def test_budgets_that_mean_nothing_are_refused_in_one_line(name, asked, words):
    with pytest.raises(UserError, match=words) as refused:
        budgets.resolve(f"e2e/{name}", "smoke", **asked)
    assert "\n" not in str(refused.value)
