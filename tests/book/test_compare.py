"""Settings are compared on the same SAEs, and what is apart is held against what seeds are apart."""

import os

import numpy as np
import pandas as pd
import pytest

from saebook.book import budgets, compare
from saebook.claims import results, settings
from saebook.common.errors import UserError
from saebook.training.config import Data, Method, TrainConfig


def made_up(shift=0.0, sd=0.1, seeds=200):
    """Every setting with its own noise over seeds, and "bf16" with L0 and error moved by `shift` on the log scale."""
    rng, lines = np.random.default_rng(0), []
    for setting in compare.SETTINGS:
        moved = shift if setting == "bf16" else 0.0
        for sparsity in (1.0, 2.0):
            for seed in range(seeds):
                error, l0, recovered = rng.normal(0, sd, 3)
                lines.append(
                    (setting, "relu", sparsity, seed, np.exp(error + moved), np.exp(2 - l0 + moved), 0.9 + recovered)
                )
    return pd.DataFrame(lines, columns=["setting", "method", "sparsity", "seed", *compare.METRICS])


def test_distance_is_in_spreads_of_seeds():
    moved = compare.apart(made_up(shift=0.3)).set_index(["setting", "metric"])
    assert moved.loc[("bf16", "normalised_mse"), "apart"] == pytest.approx(3, abs=0.3)
    assert moved.loc[("bf16", "l0"), "change"] == pytest.approx(0.3, abs=0.03)
    assert moved.loc["plain", "apart"].max() < 0.3 and moved.loc["plain", "change"].abs().max() < 0.03
    assert moved.spread.to_numpy() == pytest.approx(0.1, rel=0.1)


def test_changes_that_cancel_over_sparsities_are_seen():
    table = made_up(sd=0.01)
    table.loc[(table.setting == "bf16") & (table.sparsity == 1.0), "l0"] *= 1.5
    table.loc[(table.setting == "bf16") & (table.sparsity == 2.0), "l0"] /= 1.5
    row = compare.apart(table).set_index(["setting", "metric"]).loc[("bf16", "l0")]
    assert abs(row.change) < 0.01 and row.apart > 30


def test_metric_without_spread_is_not_divided_by_it():
    table = made_up()
    table["l0"] = 8.0
    assert (compare.apart(table).query("metric == 'l0'").apart == 0).all()
    table.loc[table.setting == "plain", "l0"] = 9.0
    assert compare.apart(table).query("metric == 'l0'").set_index("setting").apart.to_dict() == {
        "bf16": 0.0,
        "plain": np.inf,
    }


def test_settings_train_the_same_saes(small_subject, text_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "cache"))
    seen, original = [], compare.train_and_measure

    def noted(*args, compiled):
        seen.append((os.environ["SAEBOOK_PRECISION"], compiled))
        return original(*args, compiled=compiled)

    monkeypatch.setattr(compare, "train_and_measure", noted)
    methods = [Method(kind, 64, (0.3, 1.0), TrainConfig(3e-3, 2048, 128)) for kind in ("relu", "gated")]
    data = Data(source=f"folder:{text_folder}", eval_rows=4, block=8)
    table = compare.trained(small_subject, small_subject.site("resid_post", 1), methods, [0, 1], data)
    assert seen == [("fp32", True), ("bf16", True), ("fp32", False)] and os.environ["SAEBOOK_PRECISION"] == "fp32"
    wide = table.pivot(index=["method", "sparsity", "seed"], columns="setting", values="normalised_mse")
    assert len(wide) == 8 and wide.notna().all().all()
    assert (wide.plain / wide.fp32 - 1).abs().max() < 1e-4 < (wide.bf16 / wide.fp32 - 1).abs().max() < 1e-2
    assert wide.groupby("method").fp32.std().min() > 1e-3  # they are not all alike whatever is trained


def test_comparison_is_recorded_and_shown(tmp_path, monkeypatch, small_subject, text_folder):
    asked = {}

    def trained(subject, site, methods, seeds, data):
        asked.update(methods=methods, seeds=seeds, data=data)
        return made_up(shift=0.3)

    monkeypatch.setattr(compare, "trained", trained)
    monkeypatch.setattr(compare.Subject, "load", lambda name: small_subject)
    monkeypatch.setattr(results, "folder", lambda tier, where="recorded": tmp_path / tier)
    monkeypatch.setattr(results, "_about", lambda budget, subject: {"device": "a machine", "date": "2030-01-02"})
    assert settings.tables() == "No settings have been compared in this copy.\n"
    compare.compare("topk/fig02_activations", "cpu")
    assert {m.d_sae for m in asked["methods"]} == {512} and len({m.architecture for m in asked["methods"]}) == 5
    assert {m.training.tokens for m in asked["methods"]} <= {compare.TOKENS} and len(asked["seeds"]) == compare.SEEDS
    result = results.read("topk/settings_fig02_activations", "cpu")
    assert result["findings"]["largest"]["bf16"]["relu"] > 2.5 > 1 > result["findings"]["largest"]["plain"]["relu"]
    assert (
        result["parameters"]["tokens"] <= compare.TOKENS < 2 * budgets.resolve("topk/fig02_activations", "cpu").tokens
    )
    page = settings.tables()
    assert "`topk/fig02_activations`" in page and "against single precision | relu | +3" in page
    file = results.file("topk/settings_fig02_activations", "cpu")
    file.write_text(file.read_text().replace('"apart"', '"a part"'))
    with pytest.raises(UserError, match="damaged"):
        settings.tables()


@pytest.mark.parametrize("name", ["gated/fig02_shrinkage_toy", "gated/fig12_sites"])
def test_chapter_without_one_site_is_refused(name):
    with pytest.raises(UserError, match="does not train SAEs at one site"):
        compare.compare(name, "cpu")
