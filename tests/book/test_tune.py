"""The budgets hold the rates that the recorded grids chose."""

from dataclasses import replace

import pandas as pd
import pytest

from saebook.book import budgets, tune
from saebook.claims import results
from saebook.common import paths
from saebook.common.errors import UserError
from saebook.papers.gated import site_rates
from saebook.papers.topk import shape_search
from saebook.training import tuning


def recorded(name, tier):
    paper, stem = name.split("/")
    record = results.read(f"{paper}/tuning_{stem}", tier)
    if record is None:
        pytest.skip(f"no tuning of {name} is recorded at tier {tier}")
    return record, pd.read_csv(paths.data() / "results" / tier / paper / f"tuning_{stem}.csv")


@pytest.mark.parametrize("tier", ["cpu", "overnight", "gpu"])
@pytest.mark.parametrize(
    "name",
    [
        "gated/fig05_pareto",
        "gated/fig08_ablations",
        "gated/fig09_rescale_shift",
        "topk/fig02_activations",
        "topk/fig16_encoder_init",
        "topk/fig17_ablations",
        "topk/fig01_scaling_laws",
        "topk/fig12_batch_size",
        "topk/fig18_distributions",
        "e2e/fig01_pareto",
    ],
)
def test_budget_holds_what_the_grid_chose(name, tier):
    record, table = recorded(name, tier)
    budget = budgets.resolve(name, tier)
    if isinstance(tune.tuner_of(name), site_rates.BySite):
        held = site_rates.budgeted(budget, lambda site: tune.to_tune(name, budget, site))
    else:
        held = {m.name: m.training.lr for m in tune.to_tune(name, budget)}
    assert held == record["findings"]["chosen"]
    # The grid was run at this very budget, rates and seeds apart, on seeds that appear in no result.
    same = {field for field in record["parameters"] if not field.endswith("_lr")} - {"seeds", "eval_rows", "beside"}
    same -= set(record["findings"].get("given", {}))  # the page on tuning names what differs
    assert len(same) > 8 and {k: record["parameters"][k] for k in same} == {k: budget.plain()[k] for k in same}
    assert not set(record["findings"]["seeds"]) & set(budget.seeds)
    tuner = tune.tuner_of(name)
    assert tuner.chosen(tuning.scores(table, tuner.cost)) == record["findings"]["chosen"]


@pytest.mark.parametrize("tier", ["cpu", "overnight"])
def test_budget_of_every_subject_is_what_the_grid_chose(tier):
    record, table = recorded("topk/fig04_subject_size", tier)
    budget, tuner = budgets.resolve("topk/fig04_subject_size", tier), budgets.plan("topk/fig04_subject_size").tuner
    assert budget.topk_lr == record["findings"]["chosen"] and not set(record["findings"]["seeds"]) & set(budget.seeds)
    at_width = table.assign(method=table.subject + " at " + table.d_sae.astype(str))
    assert tuner.chosen(tuning.scores(at_width, tuner.cost)) == record["findings"]["chosen"]


@pytest.mark.parametrize("tier", ["cpu", "overnight"])
def test_own_rates_are_what_the_grid_of_figure_1_chooses_for_each_objective_alone(tier):
    _, table = recorded("e2e/fig01_pareto", tier)
    budget, tuner = budgets.resolve("e2e/knob_own_rates", tier), tune.tuner_of("e2e/fig01_pareto")
    assert tuner.one_rate and replace(tuner, one_rate=False).chosen(tuning.scores(table, tuner.cost)) == {
        "local": budget.own_local_lr, "e2e": budget.own_e2e_lr, "e2e+ds": budget.own_ds_lr,
    }  # fmt: skip


@pytest.mark.parametrize("tier", ["cpu", "gpu"])
def test_budget_of_every_site_is_what_the_grid_chose(tier):
    record, table = recorded("gated/fig12_sites", tier)
    budget = budgets.resolve("gated/fig12_sites", tier)
    held = site_rates.budgeted(budget, lambda site: tune.to_tune("gated/fig12_sites", budget, site))
    assert held == record["findings"]["chosen"]
    assert tuning.chosen(tuning.scores(table)) == record["findings"]["chosen"]


@pytest.mark.parametrize("tier", ["cpu", "overnight", "gpu"])
def test_shape_at_which_latents_die_is_what_the_grid_chose(tier):
    record, table = recorded("topk/fig15_dead_latents", tier)
    budget = budgets.resolve("topk/fig15_dead_latents", tier)
    assert shape_search.deadly(table) == record["findings"]["chosen"]
    assert record["findings"]["chosen"] == {"d_sae": budget.d_sae, "k": budget.k, "lr": budget.lr}
    assert not set(record["findings"]["seeds"]) & set(budget.seeds)


def test_chapter_without_rates_to_tune_is_refused():
    with pytest.raises(UserError, match="nothing to tune for gated/fig02_shrinkage_toy: use one of gated/fig05_pareto"):
        tune.tune("gated/fig02_shrinkage_toy", "cpu")
    with pytest.raises(UserError, match="gated/fig05_pareto has chosen all its rates"):
        tune.tune("gated/fig06_shrinkage", "smoke")
    assert "gated/fig06_shrinkage" not in tune.tunable()


def test_rates_and_parameters_that_are_asked_for_are_those_of_the_grid_and_kept(monkeypatch):
    seen = {}

    def run(self, budget, subject, methods, data):
        seen.update(rates=self.rates, rows=data.eval_rows, held=budget.eval_rows)
        return tuning.Tuning(pd.DataFrame(), {"tried": 1}, pd.DataFrame({"lr": self.rates}))

    def keep(tier, name, budget, subject, points, findings):
        kept.append(tuning.Tuning(points, findings, points))

    kept = []
    monkeypatch.setattr(tuning.Tuner, "run", run)
    monkeypatch.setattr(results, "tuning", keep)
    tune.tune("topk/fig02_activations", "smoke", [0.02, 0.01, 0.02], {"eval_rows": "4", "tokens": 4096})
    assert seen == {"rates": (0.01, 0.02), "rows": 4, "held": 4}
    assert kept.pop().findings == {"tried": 1, "given": {"eval_rows": 4, "tokens": 4096}}
    tune.tune("topk/fig02_activations", "smoke")
    assert kept.pop().findings == {"tried": 1}
    assert seen["rates"] == budgets.plan("topk/fig02_activations").tuner.rates
    assert seen["rows"] == budgets.resolve("topk/fig02_activations", "smoke").eval_rows


@pytest.mark.parametrize(
    ("rates", "given"),
    [([0.01, 0.0], {}), ([float("nan")], {}), ([], {"eval_rows": 0}), ([], {"epochs": 3}), ([], {"tier": "cpu"})],
)
def test_impossible_rate_or_parameter_is_refused_before_anything_runs(monkeypatch, rates, given):
    monkeypatch.setattr(tuning.Tuner, "run", lambda *given: pytest.fail("the grid was run"))
    with pytest.raises(UserError, match=r"lr|eval_rows|epochs|tier"):
        tune.tune("topk/fig02_activations", "smoke", rates, given)


def test_shapes_that_a_tier_gives_itself_are_tuned_by_the_rule_of_the_chapter_it_is_like():
    name = "topk/fig18_distributions"
    assert tune.tuner_of(name) is budgets.plan("topk/fig02_activations").tuner and name not in tune.tunable()
    assert tune.to_tune(name, budgets.resolve(name, "cpu")) == []
    methods = tune.to_tune(name, budgets.resolve(name, "overnight"))
    assert {(method.architecture, method.d_sae) for method in methods} == {("relu", 2048), ("topk", 2048)}
    with pytest.raises(UserError, match="topk/fig02_activations has chosen all its rates"):
        tune.tune(name, "cpu")
