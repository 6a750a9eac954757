"""Learning rates are chosen for each type of site."""

import pandas as pd
import pytest
from papers.gated.site_sweeps import FACTORS, grid

from saebook.claims import results
from saebook.papers.gated import site_rates
from saebook.training import tuning


def test_rate_is_chosen_for_each_type_of_site():
    parts = [grid(FACTORS, 2).assign(lr=lr) for lr in (0.01, 0.02)]
    parts[1].loc[(parts[1].method == "relu") & (parts[1].site == "mlp_out"), "l0"] *= 0.5
    parts[1].loc[parts[1].method == "gated", "l0"] *= 1.5
    table = site_rates.named(pd.concat(parts, ignore_index=True).query("layer == 1").assign(alive=1.0))
    chosen = tuning.chosen(tuning.scores(table))
    assert (chosen["relu at mlp_out"], chosen["gated at mlp_out"], chosen["gated at resid_post"]) == (0.02, 0.01, 0.01)


@pytest.mark.parametrize("tier", ["cpu", "gpu"])
def test_both_architectures_reach_a_common_range_of_loss_at_every_site(tier):
    recorded = results.read("gated/tuning_fig12_sites", tier)
    if recorded is None:
        pytest.skip(f"no tuning of the sites is recorded at tier {tier}")
    common = pd.DataFrame(recorded["findings"]["overlap"])
    assert (common["from"] < common["to"]).all()
