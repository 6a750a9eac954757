"""Neighbours are what a plain loop over pairs of latents finds."""

import torch

from saebook.evaluation.features import neighbours


def test_nearest_are_those_of_a_loop_and_among_the_allowed(monkeypatch):
    monkeypatch.setattr(neighbours, "_ROWS", 4)
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(9, 6, generator=generator), torch.randn(20, 6, generator=generator)
    among = torch.tensor([0, 3, 4, 7, 11, 12, 19])
    cosines, indices = neighbours.nearest(one, other, among, 3)
    for i in range(9):
        every = sorted(
            ((float(one[i] @ other[j] / one[i].norm() / other[j].norm()), j) for j in among.tolist()), reverse=True
        )
        assert indices[i].tolist() == [j for _, j in every[:3]]
        assert torch.allclose(cosines[i], torch.tensor([cosine for cosine, _ in every[:3]]), atol=1e-5)


def test_a_latent_that_is_there_again_is_its_own_neighbour():
    one = neighbours.random_directions(8, 16, 0)
    cosines, indices = neighbours.nearest(one * 3, one.flip(0), torch.arange(8), 1)
    assert indices[:, 0].tolist() == list(range(7, -1, -1)) and torch.allclose(cosines, torch.ones(8, 1))


def test_a_dictionary_compared_with_itself_leaves_each_latent_out():
    one = torch.randn(7, 5, generator=torch.Generator().manual_seed(2))
    mine, among = torch.tensor([1, 4]), torch.tensor([0, 1, 2, 4, 6])
    _, indices = neighbours.nearest(one[mine], one, among, 9, mine)
    for i, others_near in zip(mine.tolist(), indices.tolist(), strict=True):
        others = [j for j in among.tolist() if j != i]
        assert others_near == sorted(others, key=lambda j, i=i: -float(torch.cosine_similarity(one[i], one[j], 0)))


def test_fewer_allowed_than_asked_for():
    one = neighbours.random_directions(4, 8, 0)
    assert neighbours.nearest(one, one, torch.tensor([2]), 3)[1].tolist() == [[2]] * 4


def test_random_directions_are_of_norm_one_and_of_their_seed():
    some = neighbours.random_directions(1000, 32, 1)
    assert torch.allclose(some.norm(dim=1), torch.ones(1000)) and some.mean(0).abs().max() < 0.05
    assert torch.equal(some, neighbours.random_directions(1000, 32, 1))
    assert not torch.equal(some, neighbours.random_directions(1000, 32, 2))
