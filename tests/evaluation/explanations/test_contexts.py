"""Places where latents fire: the strongest of each row, and others drawn evenly."""

import pytest
import torch

from saebook.evaluation.explanations import contexts


def text(rows=40, length=6, latents=3, share=0.3):
    """Activations that are codes themselves, [N, T, m], of which this share fires."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(rows, length, latents, generator=generator)
    return x * (torch.rand(x.shape, generator=generator) < share)


@pytest.mark.parametrize("cells", [1, 10**6])
def test_strongest_are_the_largest_peaks_of_rows(monkeypatch, cells):
    monkeypatch.setitem(contexts._CELLS, "cpu", cells)
    x = text()
    places = contexts.firing(x, lambda some: some, 3, strongest=5, drawn=0, skip=1, seed=0)
    for latent in range(3):
        mine = places.latent == latent
        peaks = x[:, 1:, latent].amax(1).topk(5).values
        assert torch.equal(places.value[mine].sort(descending=True).values, peaks)
        assert len(places.row[mine].unique()) == 5
    assert torch.equal(x[places.row, places.position, places.latent], places.value) and places.position.min() >= 1


@pytest.mark.parametrize("cells", [1, 10**6])
def test_drawn_places_fire_and_are_different(monkeypatch, cells):
    monkeypatch.setitem(contexts._CELLS, "cpu", cells)
    x = text()
    places = contexts.firing(x, lambda some: some, 3, strongest=0, drawn=20, skip=1, seed=0)
    assert torch.equal(x[places.row, places.position, places.latent], places.value) and (places.value > 0).all()
    assert len({*zip(places.latent.tolist(), places.row.tolist(), places.position.tolist(), strict=True)}) == 60


def test_every_positive_activation_is_as_likely_as_any_other():
    x = torch.tensor([[[0.0], [9.0], [0.1], [0.0]], [[0.0], [0.0], [1.0], [5.0]]])
    drawn = [contexts.firing(x, lambda some: some, 1, 0, 1, skip=1, seed=seed).value.item() for seed in range(400)]
    counts = [sum(abs(one - value) < 1e-6 for one in drawn) for value in (9.0, 0.1, 1.0, 5.0)]
    assert sum(counts) == 400 and min(counts) > 70


def test_latent_that_fires_seldom_or_never_has_fewer_places():
    x = torch.zeros(4, 5, 2)
    x[2, 3, 0] = 1.0
    places = contexts.firing(x, lambda some: some, 2, strongest=3, drawn=3, skip=1, seed=0)
    assert places.latent.tolist() == [0, 0] and places.row.tolist() == [2, 2] and places.position.tolist() == [3, 3]
