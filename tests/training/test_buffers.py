"""Batches for training: the subject's own activations, well mixed, and the same whatever lies on disk."""

import itertools

import numpy as np
import pytest
import torch

from saebook.common.errors import UserError
from saebook.training import activation_store
from saebook.training.activation_store import collect
from saebook.training.buffers import ActivationBuffer


@pytest.fixture(autouse=True)
def small_store(own_cache, monkeypatch):
    monkeypatch.setattr(activation_store, "_CHUNK", 4 * 32)  # chunks of 4 rows


@pytest.fixture
def site(small_subject):
    return small_subject.site("resid_post", 0)


@pytest.fixture
def buffer(small_subject, site, rows):
    def made(batch=64, **options):
        return ActivationBuffer(small_subject, site, rows, batch, **{"block": 16, "skip": 1} | options)

    return made


@pytest.fixture
def origins(small_subject, site, rows):
    """A function from activations [n, D] as a buffer scales them to the row and position [n] of the text they are of."""
    plain = small_subject.activations(torch.from_numpy(rows.astype(np.int64)), site)

    def of(x, scale):
        distance = torch.cdist(x / scale, plain.flatten(0, 1), compute_mode="donot_use_mm_for_euclid_dist")
        nearest = distance.min(1)
        assert nearest.values.max() < 1e-4
        return torch.stack([nearest.indices // rows.shape[1], nearest.indices % rows.shape[1]], 1)

    return of


def test_a_pass_holds_every_activation_once_scaled_and_in_random_order(buffer, origins):
    source = buffer(batch=62, block=64)  # 42 rows of 31 positions are 21 batches
    x = torch.cat(list(source.batches(0, 21)))
    places = origins(x, source.scale)
    assert len(places.unique(dim=0)) == 42 * 31 and places[:, 1].min() == 1
    assert x.square().sum(1).mean().item() == pytest.approx(32, rel=0.05)
    assert (places[1:, 0] == places[:-1, 0]).float().mean() < 0.1  # neighbours in the text are not neighbours here


def test_scale_is_of_the_first_chunk(buffer, small_subject, site):
    source = buffer()
    x = small_subject.activations(source.activations.tokens(0), site)[:, 1:].double()
    assert source.scale == pytest.approx(float((32 / x.square().sum(-1).mean()).sqrt()), rel=1e-6)


def test_batch_is_mixed_from_the_rows_of_its_window(buffer, origins):
    """The tokens of a batch fall on the 16 rows of a window as evenly as random draws would: chi-square."""
    source = buffer(block=16, steps=7)
    assert source.chunks == 4
    statistics = []
    for x in source.batches(0, 7):
        rows_of = origins(x, source.scale)[:, 0]
        counts = torch.stack([(rows_of == row).sum() for row in rows_of.unique()]).float()
        assert len(counts) >= 12
        counts = torch.cat([counts, counts.new_zeros(16 - len(counts))])
        statistics.append(float(((counts - 4).square() / 4).sum()))
    # 15 degrees of freedom; drawn without replacement the mean is a little below 15. Unmixed text would give over 400.
    assert 8 < np.mean(statistics) < 20


def test_windows_do_not_share_rows_and_have_nearly_equal_sizes(buffer, origins):
    source = buffer(block=8)
    windows = [chunks for (turn, _, chunks), _ in zip(source._windows(), range(6), strict=False) if turn == 0]
    assert sorted(itertools.chain(*windows)) == list(range(11)) and {len(one) for one in windows} <= {1, 2}
    per = [source._tokens(chunks) // 64 for chunks in windows]
    first, second = (torch.cat(list(source.batches(*ends))) for ends in ((0, per[0]), (per[0], per[0] + per[1])))
    in_first, in_second = (set(origins(x, source.scale)[:, 0].tolist()) for x in (first, second))
    assert len(in_first) == 8 and not in_first & in_second


def test_every_pass_has_an_order_of_its_own(buffer, origins):
    source = buffer(batch=62, block=64)
    first, second = (origins(torch.cat(list(source.batches(*ends))), source.scale) for ends in ((0, 21), (21, 42)))
    assert len(first.unique(dim=0)) == len(second.unique(dim=0)) == 42 * 31
    assert (first == second).all(1).float().mean() < 0.05


def test_seeds_give_different_batches_of_the_same_text(buffer, origins):
    one, other = buffer(block=64, steps=4), buffer(block=64, steps=4, seed=1)
    assert one.scale == other.scale and one.chunks == other.chunks == 3
    a, b = (torch.cat(list(source.batches(0, 4))) for source in (one, other))
    assert not torch.equal(a, b)
    assert set(origins(a, one.scale)[:, 0].tolist()) == set(origins(b, one.scale)[:, 0].tolist())


@pytest.mark.parametrize("start", [1, 6, 9, 19, 20, 33])
def test_batches_may_start_at_any_number(buffer, start):
    whole = list(buffer().batches(0, 60))  # three passes over the text
    again = list(buffer().batches(start, 60))
    assert len(whole) == 60 and len(again) == 60 - start
    assert all(torch.equal(a, b) for a, b in zip(whole[start:], again, strict=True))


def test_no_more_text_is_used_than_the_steps_need(buffer):
    for steps in (1, 2, 5, 10, 17):
        source = buffer(steps=steps)
        windows = [chunks for (turn, _, chunks), _ in zip(source._windows(), range(40), strict=False) if turn == 0]
        assert sum(source._tokens(chunks) // 64 for chunks in windows) >= steps
        assert source.chunks <= steps * 64 / (4 * 31) + 2
    assert buffer(steps=10**6).chunks == buffer().chunks == 11


@pytest.mark.parametrize("kept", ["nothing", "some", "all", "no room"])
def test_batches_do_not_depend_on_what_is_on_disk(buffer, monkeypatch, tmp_path, kept):
    monkeypatch.setenv("SAEBOOK_ACTIVATIONS_GIB", "0")
    source = buffer()
    expected = [source.sample(300), *source.batches(0, 50)]
    if kept != "nothing":
        monkeypatch.setenv("SAEBOOK_ACTIVATIONS_GIB", "0.00005" if kept == "no room" else "1")  # three chunks of 17 kB
        collect([buffer().activations], range({"some": 3, "all": 11, "no room": 11}[kept]))
        monkeypatch.setenv("SAEBOOK_ACTIVATIONS_GIB", "0.00005" if kept in ("some", "no room") else "1")
    source = buffer()
    assert [source.activations.has(chunk) for chunk in (0, 2, 5)] == {
        "nothing": [False] * 3, "some": [True, True, False], "all": [True] * 3, "no room": [True, True, False],
    }[kept]  # fmt: skip
    actual = [source.sample(300), *source.batches(0, 50)]
    assert source.scale == buffer().scale
    assert all(torch.equal(a, b) for a, b in zip(expected, actual, strict=True))
    assert not any(x.is_inference() for x in actual)


def test_sample_is_of_the_first_chunks(buffer, origins):
    source = buffer()
    x = source.sample(200)
    places = origins(x, source.scale)
    first = {tuple(row) for chunk in (0, 1) for row in source.activations.tokens(chunk).tolist()}
    assert len(x) == 200 == len(places.unique(dim=0)) and places[:, 1].min() == 1
    assert {tuple(source.rows[row].tolist()) for row in places[:, 0]} == first
    assert torch.equal(x, buffer(steps=40).sample(200)) and len(source.sample(10**6)) == 42 * 31
    assert len(buffer(steps=1).sample(10**6)) == 4 * 31


def test_batch_larger_than_a_block_takes_more_rows(buffer):
    source = buffer(batch=300, block=1)
    assert all(len(chunks) >= 3 for (_, _, chunks), _ in zip(source._windows(), range(30), strict=False))
    assert [len(x) for x in source.batches(0, 12)] == [300] * 12


def test_too_little_text_is_refused(small_subject, site, rows):
    with pytest.raises(UserError, match="1 rows of text do not fill one batch of 64"):
        ActivationBuffer(small_subject, site, rows[:1], batch=64)
