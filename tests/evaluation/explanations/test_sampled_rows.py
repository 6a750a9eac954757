"""Rows that latents are explained by."""

import numpy as np
import torch

from saebook.evaluation.explanations import sampled_rows


class _Subject:
    device = torch.device("cpu")

    def rows(self, source, split, length):
        assert (source, split) == ("environment", "train")
        return np.arange(50 * length, dtype=np.uint16).reshape(50, length)


def test_rows_are_a_draw_without_repeats_in_the_order_of_the_text():
    rows = sampled_rows.training_rows(_Subject(), "environment", 8, 20, seed=3)
    assert rows.shape == (20, 8) and rows.dtype == torch.int64
    firsts = rows[:, 0].tolist()
    assert firsts == sorted(set(firsts)) and firsts != list(range(0, 160, 8))  # not simply the first ones
    assert torch.equal(rows, sampled_rows.training_rows(_Subject(), "environment", 8, 20, seed=3))
    assert not torch.equal(rows, sampled_rows.training_rows(_Subject(), "environment", 8, 20, seed=4))
    assert len(sampled_rows.training_rows(_Subject(), "environment", 8, 99, seed=3)) == 50


def test_shuffled_rows_keep_their_tokens():
    rows = torch.arange(60).view(3, 20)
    mixed = sampled_rows.shuffled(rows, 0)
    assert not torch.equal(mixed, rows) and torch.equal(mixed.sort(1).values, rows)
    assert torch.equal(mixed, sampled_rows.shuffled(rows, 0))
