"""Bands and windows are what a plain loop over latents and rows picks."""

import pytest
import torch

from saebook.evaluation.features import bands


def places(of, chosen):
    return list(zip(of.latent[chosen].tolist(), of.row[chosen].tolist(), of.position[chosen].tolist(), strict=True))


def test_top_is_the_strongest_token_of_the_strongest_rows(table, of):
    expected = []
    for latent in range(5):
        peaks = []
        for row in range(12):
            values = table[row, :, latent].tolist()
            if max(values) > 0:
                peaks.append((max(values), row, values.index(max(values))))
        expected += [(latent, row, position) for _, row, position in sorted(peaks, reverse=True)[:4]]
    assert places(of, bands.band(of, "top", 4, 0)) == expected


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_middle_band_holds_places_of_middle_strength_alone(table, of, seed):
    chosen = bands.band(of, "middle", 3, seed)
    strength = of.value[chosen] / of.largest()[of.latent[chosen]]
    assert (strength >= 1 / 3).all() and (strength <= 2 / 3).all()
    for latent in range(5):
        share = table[..., latent] / table[..., latent].max().clamp(min=1e-9)
        there = int(((share >= 1 / 3) & (share <= 2 / 3)).sum())
        assert int((of.latent[chosen] == latent).sum()) == min(3, there)


def test_random_band_draws_each_activation_as_often_as_any_other(of):
    one = of.of(torch.tensor([0]))
    drawn = torch.zeros(len(one.value))
    for seed in range(600):
        chosen = bands.band(one, "random", 3, seed)
        assert len(set(chosen.tolist())) == 3
        assert one.value[chosen].tolist() == sorted(one.value[chosen].tolist(), reverse=True)
        drawn[chosen] += 1
    expected = 3 * 600 / len(one.value)
    assert (drawn - expected).abs().max() < 5 * expected**0.5


def test_unknown_band_is_no_band(of):
    with pytest.raises(KeyError):
        bands.band(of, "weakest", 3, 0)


@pytest.mark.parametrize("length", [3, 6, 64])
def test_windows_hold_their_token_and_all_activations_within(table, of, length):
    chosen = bands.band(of, "random", 5, 0)
    seen = bands.windows(of, chosen, length)
    width = min(length, 10)
    for i, k in enumerate(chosen.tolist()):
        latent, row, start = (int(x[i]) for x in (seen.latent, seen.row, seen.start))
        assert start <= int(seen.peak[i]) < start + width and 0 <= start <= 10 - width
        assert table[row, int(seen.peak[i]), latent] == of.value[k]
        part = slice(int(seen.first[i]), int(seen.last[i]))
        inside = {int(p): float(v) for p, v in zip(of.position[part], of.value[part], strict=True)}
        expected = {p: float(table[row, p, latent]) for p in range(start, start + width) if table[row, p, latent] > 0}
        assert inside == expected
