"""Firings are what a plain loop over tokens and latents sees."""

import pytest
import torch

from saebook.evaluation.explanations import contexts
from saebook.evaluation.features import firings
from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.subject.model import Subject


@pytest.fixture(scope="module")
def subject(small_subject_folder):
    return Subject.load(str(small_subject_folder))


@pytest.mark.parametrize("cells", [1, 10**7])
def test_one_pass_sees_what_a_loop_sees(subject, monkeypatch, cells):
    monkeypatch.setitem(contexts._CELLS, "cpu", cells)
    monkeypatch.setattr(firings, "_ROWS", 3)
    site = subject.site("resid_post", 1)
    saes = [
        build(name, site.d_in, width, (Member(seed, 1.0),)) for name, width, seed in (("relu", 24, 0), ("gated", 16, 1))
    ]
    rows = torch.randint(0, 300, (7, 20), generator=torch.Generator().manual_seed(0))
    for sae, one in zip(saes, firings.firings(subject, site, saes, rows, skip=2), strict=True):
        expected = {}
        for row in range(7):
            f = sae.encode(subject.activations(rows[row : row + 1], site)[0])[0]
            for position in range(2, 20):
                for latent in f[position].nonzero().flatten().tolist():
                    expected[latent, row, position] = float(f[position, latent])
        got = zip(one.latent.tolist(), one.row.tolist(), one.position.tolist(), one.value.tolist(), strict=True)
        got = {(latent, row, position): value for latent, row, position, value in got}
        assert len(expected) > 50 and list(got) == sorted(expected)
        assert all(abs(got[place] - value) < 1e-5 for place, value in expected.items())
        assert one.tokens == 7 * 18 and one.latents == sae.d_sae


def test_counts_density_and_largest_are_those_of_the_table(table, of):
    assert of.counts().tolist() == (table > 0).sum((0, 1)).tolist()
    assert torch.allclose(of.density(), (table > 0).sum((0, 1)) / (12 * 8))
    assert torch.equal(of.largest(), table.amax((0, 1))) and of.largest()[4] == 0


def test_some_latents_alone_are_numbered_in_their_order(table, of):
    some = of.of(torch.tensor([3, 0, 4]))
    assert some.latents == 3 and some.place.tolist() == sorted(some.place.tolist())
    seen = table[:, :, [3, 0, 4]]
    assert torch.equal(seen[some.row, some.position, some.latent], some.value)
    assert some.counts().tolist() == (seen > 0).sum((0, 1)).tolist()


def test_histogram_counts_each_strength_once(table, of):
    counts = firings.histogram(of, 6)
    for latent in range(5):
        values = table[..., latent][table[..., latent] > 0]
        expected = [0] * 6
        for value in values.tolist():
            expected[min(5, int(value / float(values.max()) * 6))] += 1
        assert counts[latent].tolist() == expected
    assert counts[3].tolist() == [0, 0, 0, 0, 0, 1] and counts[4].sum() == 0
