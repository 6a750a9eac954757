"""Tasks in words: counts are of the labels, and examples mark a token that has one."""

import numpy as np
import pytest
import torch

from saebook.papers.topk.probes import describing
from saebook.papers.topk.probes.aligned import Aligned
from saebook.papers.topk.probes.measuring import Part, Split
from saebook.papers.topk.probes.tasks import Task


def split():
    text = Aligned.of_pieces([[b"a", b" (", b"b", b")"], [b"\n\n", b"c", b" (", b"d"]])
    at = np.stack(np.meshgrid(np.arange(2), np.arange(4), indexing="ij"), -1).reshape(-1, 2)
    y = torch.tensor([[0, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 1, 0], [0, 0, 0]]).bool()
    part = Part(torch.zeros(8, 2), y, text, at)
    return Split(tuple(Task(name, f"is {name}", lambda one: one.repeated) for name in ("x", "y", "z")), part, part)


def test_table_counts_labels_and_marks_an_example():
    table = describing.described(split(), 0.1, 0.5).set_index("task")
    assert table["positives, judging"].tolist() == [4, 4, 0] and table.share.tolist() == [0.5, 0.5, 0.0]
    assert table.counts.tolist() == ["yes", "yes", "no"]
    assert table.example.tolist() == ["a (b\u27e6)\u27e7", "\u27e6 \u00b6 \u27e7c (d", ""]


def test_row_with_most_positives_is_marked():
    part = split().judging
    assert describing.marked(part, 0) == "a\u27e6 (\u27e7\u27e6b\u27e7\u27e6)\u27e7"
    assert describing.marked(part, 0, 2) == "a\u27e6 (\u27e7"


def test_tasks_with_the_same_labels_are_most_alike():
    both = split()
    same = both.judging.y.clone()
    same[:, 2] = same[:, 0]
    alike = describing.most_alike(
        Split(both.tasks, both.choosing, Part(both.judging.x, same, both.judging.text, both.judging.at)), 2
    )
    assert alike.index[0] == "x" and alike["and"].iloc[0] == "z" and alike.correlation.iloc[0] == pytest.approx(1.0)
    assert len(alike) == 2 and abs(alike.correlation.iloc[1]) < 1
