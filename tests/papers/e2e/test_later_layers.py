"""Errors at later layers: the ablated ones are those of a plain pass, ratios are taken place by place."""

import pandas as pd
import pytest
import torch

from saebook.papers.e2e import later_layers


def test_ablated_errors_are_those_of_a_plain_pass(small_subject):
    site = small_subject.site("resid_pre", 1)
    rows = torch.randint(300, (20, 32), generator=torch.Generator().manual_seed(2))
    read = later_layers.ablated(small_subject, site, rows)
    x = small_subject.activations(rows, site)
    assert list(read.index) == ["blocks.1.hook_resid_pre", "blocks.2.hook_resid_pre"]
    assert read.iloc[0] == pytest.approx(float(x.flatten(0, 1).var(0, correction=0).mean()), rel=1e-4)
    seen = []
    hooks = [
        ("blocks.1.hook_resid_pre", lambda value, hook: x.mean((0, 1)).expand_as(value)),
        ("blocks.2.hook_resid_pre", lambda value, hook: seen.append(value)),
    ]
    for given in ([], hooks[:1]):
        with torch.no_grad(), small_subject.bridge.hooks(fwd_hooks=[*given, hooks[1]]):
            small_subject.bridge(rows, return_type=None)
    error = (seen[1] - seen[0]).square().mean(-1)
    assert read.iloc[1] == pytest.approx(error.mean().item(), rel=1e-4)
    length = seen[0].norm(dim=-1)
    kept = length <= 1.02 * length.flatten().median()
    masked = later_layers.ablated(small_subject, site, rows, massive=1.02)
    assert 0 < kept.sum() < kept.numel() and masked.iloc[1] == pytest.approx(error[kept].mean().item(), rel=1e-4)


def planted():
    """e2e+ds is six times as bad as local at the site and twice as bad later; one local error is missing."""
    rows = [
        {"method": method, "seed": seed, "position": f"blocks.{block}.hook_resid_pre", "mse": factor * block}
        for method, factors in (("local", (1.0, 1.0, 1.0)), ("e2e+ds", (6.0, 2.0, 2.0)))
        for seed in range(3)
        for block, factor in zip((1, 2, 3), factors, strict=True)
        if (method, seed, block) != ("local", 2, 3)
    ]
    blind = pd.Series({f"blocks.{block}.hook_resid_pre": 10.0 * block for block in (1, 2, 3)})
    return later_layers.placed(pd.DataFrame(rows), blind)


def test_errors_are_placed_and_shared():
    errors = planted()
    assert errors.distance.tolist()[:3] == [0, 1, 2] and errors[errors.method == "local"].share.tolist() == [0.1] * 8


def test_ratios_keep_the_places_and_seeds_that_both_methods_have():
    table = later_layers.ratios(planted(), "e2e+ds")
    assert len(table) == 8 and table[table.distance > 0].ratio.tolist() == pytest.approx([2.0] * 5)
    read = later_layers.intervals_by_position(table)
    assert read["e2e+ds over local, blocks.1"].mean == pytest.approx(6.0)
    assert read["e2e+ds over local, blocks.3"].n == 2
    assert later_layers.at_site_over_later(table) == pytest.approx([3.0] * 3)


def test_where_no_level_is_common_nothing_is_compared():
    empty = later_layers.placed(planted()[:0], pd.Series({"blocks.1.hook_resid_pre": 1.0}))
    table = later_layers.ratios(empty, "e2e")
    assert table.empty and later_layers.intervals_by_position(table) == {}
    assert later_layers.at_site_over_later(table) == []


def test_published_errors_are_counted_from_the_site():
    paper = pd.DataFrame(
        [{"type": t, "layer": layer, "mse": f * layer} for t, f in (("local", 1.0), ("e2e", 9.0)) for layer in (6, 7)]
    )
    shown = later_layers.at_each_distance(paper)
    assert shown.distance.tolist() == [0, 1] and shown.ratio.tolist() == pytest.approx([9.0, 9.0])
