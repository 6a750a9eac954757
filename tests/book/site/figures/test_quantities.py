"""Names and roundings for readers."""

import pandas as pd
import pytest

from saebook.book.site.figures import quantities


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.123456, "0.123"),
        (0.98765, "0.9877"),
        (23.456, "23.5"),
        (175.6, "176"),
        (12345.6, "12,346"),
        (0.0, "0"),
        (float("nan"), "none"),
    ],
)
def test_numbers_are_rounded_as_far_as_they_mean_something(value, words):
    assert quantities.shown(value) == words


def test_run_is_told_in_a_line():
    run = pd.DataFrame(
        [{"seed": 1, "sparsity": 0.5, "l0": 23.456, "loss_recovered": 0.9611, "alive": 0.981, "key": "c0ffee"}]
    )
    words = quantities.run_words(next(run.itertuples()), ("l0", "loss_recovered"), "λ")
    assert words == "seed 1, λ 0.5, L0 23.5, loss recovered 0.9611, alive 98 %, key c0ffee"


def test_strength_is_a_k_where_l0_grows_with_it(sweep):
    assert quantities.strength(sweep) == "λ"
    assert quantities.strength(sweep.assign(sparsity=sweep.l0)) == "k"
    assert quantities.strength(sweep.assign(sparsity=1.0)) == "λ"


def test_table_has_names_for_readers_and_no_code_names(sweep):
    table = quantities.named(sweep.assign(site="attn_z", layer=1, ce_clean=3.5))
    assert list(table.columns) == [
        "method", "site", "layer", "latents", "seed", "k or λ", "L0", "loss recovered", "share of latents alive", "key",
    ]  # fmt: skip
    assert set(table.method) == {"Gated", "baseline (ReLU + L1)"} and set(table.site) == {"attention, before W_O"}
