"""The search for a dictionary in which latents die follows its rule."""

from types import SimpleNamespace

import pandas as pd
import pytest

from saebook.papers.topk import shape_search
from saebook.papers.topk.shape_search import ShapeSearch, deadly
from saebook.training.config import Data, Method, TrainConfig


def grid(shares):
    rows = [
        {"d_sae": d, "sparsity": float(k), "lr": lr, "seed": seed, "normalised_mse": nmse, "dead": share + 0.01 * seed}
        for (d, k, lr), (nmse, share) in shares.items()
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows)


def test_narrowest_dictionary_with_enough_dead_latents_is_chosen():
    shares = {
        (64, 8, 0.1): (0.2, 0.0), (64, 8, 0.3): (0.3, 0.9), (128, 8, 0.1): (0.2, 0.4), (128, 16, 0.1): (0.2, 0.3),
        (256, 8, 0.1): (0.1, 0.6),
    }  # fmt: skip
    assert deadly(grid(shares)) == {"d_sae": 128, "k": 16, "lr": 0.1}  # latents that die at a bad rate do not count
    few = {key: (nmse, share / 20) for key, (nmse, share) in shares.items()}
    assert deadly(grid(few)) == {"d_sae": 256, "k": 8, "lr": 0.1}


@pytest.mark.parametrize(("share", "widths"), [(0.4, {64, 128}), (0.1, {64, 128, 256})])
def test_no_width_is_tried_beyond_the_first_where_enough_die(monkeypatch, share, widths):
    shares = {64: 0.1, 128: share, 256: 0.2}

    def sweep(subject, site, methods, seeds, data):
        (method,) = methods
        rows = [
            {
                "d_sae": method.d_sae,
                "sparsity": method.sparsities[0],
                "seed": seed,
                "normalised_mse": method.training.lr,
            }
            for seed in seeds
        ]
        return SimpleNamespace(table=pd.DataFrame(rows))

    monkeypatch.setattr(shape_search, "sweep", sweep)
    monkeypatch.setattr(
        shape_search, "histories", lambda runs: runs.assign(step=1, dead=runs.d_sae.map(shares) * (runs.sparsity == 8))
    )
    search = ShapeSearch(rates=(0.1, 0.3), d_sae=(256, 128, 64), k=(8, 16))
    method = Method("topk", 64, (8.0,), TrainConfig(lr=0.1, tokens=64, batch=64), name="neither")
    tuning = search.run(SimpleNamespace(site="", layer=0), SimpleNamespace(site=lambda *place: None), [method], Data())
    assert set(tuning.table.d_sae) == widths and len(tuning.table) == len(widths) * 2 * 2 * len(search.seeds)
    assert tuning.findings["chosen"] == {"d_sae": 128 if share > 0.25 else 256, "k": 8, "lr": 0.1}
