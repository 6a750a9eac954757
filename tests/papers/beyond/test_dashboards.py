"""Dashboards of a small SAE are what plain loops over its latents give."""

import pandas as pd
import pytest
import torch

from saebook.common.errors import UserError
from saebook.evaluation.features import firings, logit_effects, neighbours
from saebook.papers.beyond import dashboards
from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.subject.model import Subject

SKIP, CONTEXTS, FEATURES = 1, 2, 5


def sweep(*rows):
    columns = ["method", "sparsity", "seed", "loss_recovered"]
    extra = {"d_sae": 16, "l0": 4.0, "alive": 1.0, "key": "k"}
    return pd.DataFrame(rows, columns=columns).assign(**extra)


def test_pair_of_equal_loss_is_that_of_the_means_over_seeds():
    table = sweep(
        ("gated", 1.0, 0, 0.90), ("gated", 1.0, 1, 0.80), ("gated", 2.0, 0, 0.70), ("gated", 2.0, 1, 0.70),
        ("relu", 0.5, 0, 0.95), ("relu", 0.5, 1, 0.93), ("relu", 4.0, 0, 0.70), ("relu", 4.0, 1, 0.64),
        ("relu", 3.0, 0, 0.80), ("relu", 3.0, 1, 0.88),
    )  # fmt: skip
    chosen = dashboards.equal_loss(table)
    expected = [("gated", 1.0, 0), ("relu", 3.0, 0), ("gated", 1.0, 1), ("relu", 3.0, 1)]
    assert [(row.method, row.sparsity, row.seed) for row in chosen.itertuples()] == expected


def test_latents_are_drawn_among_those_alive_and_always_the_same_ones():
    alive = torch.tensor([2, 3, 5, 8, 13, 21])
    some = dashboards.drawn(alive, 4, "gated")
    assert set(some.tolist()) < set(alive.tolist()) and some.tolist() == sorted(some.tolist()) and len(some) == 4
    assert torch.equal(some, dashboards.drawn(alive, 4, "gated"))
    assert any(dashboards.drawn(alive, 4, "gated", seed).tolist() != some.tolist() for seed in range(1, 9))
    with pytest.raises(UserError, match="only 6 latents of gated fire"):
        dashboards.drawn(alive, 7, "gated")


@pytest.fixture(scope="module")
def made(small_subject_folder):
    """Dashboards of four untrained SAEs, and what they were made of."""
    subject = Subject.load(str(small_subject_folder))
    site = subject.site("resid_post", 1)
    chosen = sweep(("gated", 1.0, 0, 0.9), ("relu", 1.0, 0, 0.9), ("gated", 1.0, 1, 0.9), ("relu", 1.0, 1, 0.9))
    widths = {"gated": 12, "relu": 18}
    saes = [build(r.method, site.d_in, widths[r.method], (Member(r.seed, 1.0),)) for r in chosen.itertuples()]
    rows = torch.randint(0, 300, (6, 20), generator=torch.Generator().manual_seed(0))
    boards = dashboards.measured(chosen, saes, subject, site, rows, SKIP, FEATURES, CONTEXTS)
    return subject, site, saes, rows, boards, chosen


def test_each_line_is_what_a_loop_over_the_text_sees(made):
    subject, site, saes, rows, boards, _ = made
    x = subject.activations(rows, site)
    assert boards.points.shown.sum() == 2 * FEATURES
    for line in boards.points[boards.points.shown == 1].itertuples():
        f = saes[line.sae].encode(x.flatten(0, 1))[0][:, line.latent].view(6, 20).detach()
        f[:, :SKIP] = 0
        assert abs(line.density - float((f > 0).sum()) / (6 * 19)) < 1e-6 and abs(line.largest - float(f.max())) < 1e-5
        assert sum(map(int, line.histogram.split())) == int((f > 0).sum())
        for band in (line.top, line.middle, line.random):
            assert len(band.split("|")) <= CONTEXTS
            for shown in filter(None, band.split("|")):
                row, start, peak, *on = map(int, shown.split())
                levels = dict(zip(on[::2], on[1::2], strict=True))
                assert start == 0 and f[row, peak] > 0 and set(levels) == set(f[row].nonzero().flatten().tolist())
                for offset, level in levels.items():
                    assert 0 <= level - 99 * float(f[row, offset] / f.max()) < 1 + 1e-3


def test_text_and_token_strings_are_those_of_the_rows(made):
    subject, _, _, rows, boards, _ = made
    for row, written in zip(rows.tolist(), boards.text, strict=True):
        decoded = [boards.tokens[int(number)] for number in written.split()]
        assert decoded == [subject.tokenizer.decode([token]) for token in row]


def test_neighbours_are_the_nearest_alive_and_have_a_line_of_their_own(made):
    subject, site, saes, rows, boards, _ = made
    fired = firings.firings(subject, site, saes, rows, SKIP)
    lines = {(line.sae, line.latent) for line in boards.points.itertuples()}
    other = {"other_seed": {0: 2, 1: 3}, "other_kind": {0: 3, 1: 2}, "own": {0: 0, 1: 1}}
    for line in boards.points[boards.points.shown == 1].itertuples():
        for name, where in other.items():
            given = [tuple(map(int, one.split(":"))) for one in getattr(line, name).split()]
            j = where[line.sae]
            own = saes[line.sae].W_dec[0, line.latent]
            alive = [
                k for k, count in enumerate(fired[j].counts().tolist()) if count and (j, k) != (line.sae, line.latent)
            ]
            cosines = {k: float(torch.cosine_similarity(own, saes[j].W_dec[0, k], 0)) for k in alive}
            best = sorted(cosines, key=lambda k, cosines=cosines: -cosines[k])[: len(given)]
            assert [k for _, k, _ in given] == best and all(sae == j for sae, _, _ in given)
            assert all(abs(thousandths / 1000 - cosines[k]) < 1e-3 for _, k, thousandths in given)
            assert {(j, k) for k in best} <= lines


def test_raised_tokens_are_those_of_the_measure(made):
    subject, site, saes, _, boards, _ = made
    line = boards.points.iloc[0]
    expected = logit_effects.effects(subject, site, saes[0].W_dec[0, [line.latent]], 8)
    given = [one.split(":") for one in line.raised.split()]
    decoded = [subject.tokenizer.decode([token]) for token in expected.raised[0].tolist()]
    assert [boards.tokens[int(number)] for number, _ in given] == decoded
    assert all(
        abs(float(change) - float(by)) < 0.01 * abs(float(by)) + 1e-6
        for (_, change), by in zip(given, expected.raised_by[0], strict=True)
    )


def test_saes_of_one_start_are_alike_and_chance_is_what_random_directions_give(made):
    """Untrained SAEs of a seed are the same directions: the trap that the page speaks of."""
    *_, boards, _ = made
    medians = boards.every.groupby("method")[["other_seed", "other_kind", "same_start", "chance"]].median()
    assert medians.loc["gated", "same_start"] > 0.99 and medians.loc["gated", "other_kind"] < 0.9
    assert neighbours.random_directions(4, 8, 0).shape == (4, 8) and set(boards.bands.band) == {
        "top",
        "middle",
        "random",
    }
