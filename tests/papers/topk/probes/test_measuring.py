"""Probe losses of codes: planted knowledge is read back, nothing is made of shuffled labels, and summaries are what they say."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.common.errors import UserError
from saebook.papers.topk.probes import measuring
from saebook.papers.topk.probes.aligned import Aligned
from saebook.papers.topk.probes.measuring import LOSS, NONE, OWN, OWN_NONE, RATIO, Part, Split
from saebook.papers.topk.probes.tasks import Task
from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.training.config import Data, Method, TrainConfig

NAMES = ("rare", "common", "never")


def split(n=3000):
    def part(seed):
        generator = torch.Generator().manual_seed(seed)
        y = torch.rand(n, 3, generator=generator) < torch.tensor([0.02, 0.3, 0.0])
        x = torch.randn(n, 10, generator=generator)
        x[:, 4] += 3 * y[:, 0]
        x[:, 7] -= 2 * y[:, 1]
        return Part(x, y, Aligned.of_pieces([[b"a"]]), np.zeros((n, 2), int))

    return Split(tuple(Task(name, name, lambda text: text.repeated) for name in NAMES), part(0), part(1))


def test_tasks_outside_the_range_of_shares_are_left_out():
    assert [task.name for task in split().within(0.001, 0.5).tasks] == ["rare", "common"]
    assert [task.name for task in split().within(0.1, 0.5).tasks] == ["common"]
    assert split().within(0.1, 0.5).judging.y.shape == (3000, 1)
    with pytest.raises(UserError, match="no task has a share"):
        split().within(0.4, 0.5)


def test_planted_dimensions_are_chosen_and_scored_on_other_tokens():
    both = split().within(0.001, 0.5)
    table = measuring.probed(both, lambda x: x, 10).set_index("task")
    assert table.feature.to_dict() == {"rare": 4, "common": 7}
    assert (table[LOSS] < 0.8 * table[NONE]).all() and table[RATIO].tolist() == (table[LOSS] / table[NONE]).tolist()
    share = both.judging.y[:, 1].double().mean().item()
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert table[NONE]["common"] == pytest.approx(entropy, abs=1e-3)


def test_shuffled_labels_leave_nothing_but_what_choosing_flatters_by():
    both = split().within(0.001, 0.5)
    dealt = both.shuffled(0)
    assert torch.equal(dealt.judging.y.sum(0), both.judging.y.sum(0)) and torch.equal(dealt.judging.x, both.judging.x)
    assert not torch.equal(dealt.judging.y, both.judging.y)
    table = measuring.probed(dealt, lambda x: x, 10)
    assert table[LOSS].tolist() == pytest.approx(table[NONE].tolist(), abs=3e-3)
    assert (table[OWN] < table[OWN_NONE]).all()


def test_labels_and_activations_are_of_the_same_tokens(small_subject, text_folder):
    site = small_subject.site("resid_post", 1)
    data = Data(source=f"folder:{text_folder}", eval_rows=3, skip=2, context=32)
    first = Task("first", "an early token", lambda text: np.broadcast_to(np.arange(32) < 4, text.ids.shape))
    read = measuring.read(small_subject, site, data, 5, (first,))
    assert read.choosing.x.shape == (5 * 29, site.d_in) and read.judging.y.shape == (3 * 29, 1)
    assert read.judging.y[:, 0].view(3, 29).sum(1).tolist() == [2, 2, 2] and read.judging.y[0, 0]
    row, position = read.judging.at[29 + 3]
    assert (row, position) == (1, 5)
    ids = torch.from_numpy(read.judging.text.ids)
    expected = small_subject.activations(ids, site)[row, position]
    assert torch.allclose(read.judging.x[29 + 3], expected, atol=1e-5)


def test_saes_and_untrained_saes_are_probed_one_by_one():
    both = split(600).within(0.001, 0.5)
    made = build("topk", 10, 24, (Member(0, 3),), per_token=True)
    run = pd.DataFrame([{"method": "topk", "d_sae": 24, "seed": 0, "sparsity": 3.0, "l0": 3.0}])
    losses = measuring.of_saes(run, [made], both)
    assert losses.task.tolist() == ["rare", "common"] and (losses.d_sae == 24).all()
    assert measuring.means(losses)[LOSS].tolist() == pytest.approx([losses[LOSS].mean()])
    method = Method("topk", 24, (2.0, 3.0), TrainConfig(lr=1e-3, tokens=64, batch=32), (("per_token", True),))
    start = measuring.untrained([method], [0, 1], both)
    assert set(start.method) == {"untrained"} and len(start) == 2 * 2 * 2
    assert measuring.by_task(losses).index[0] == losses.loc[losses[RATIO].idxmin(), "task"]
    assert len(measuring.of_activations(both, made)) == 2


def made_up(slope=-0.02, rise=0.03, fall=0.01, seeds=3, noise=0.0):
    by_k = {2.0: rise, 8.0: 0.0, 32.0: fall}
    return pd.DataFrame(
        [
            {
                "method": "topk", "d_sae": width, "seed": seed, "sparsity": k, "l0": k,
                LOSS: 0.2 + slope * math.log(width / 64) + extra + 0.001 * seed + noise * (-1) ** (seed + int(k)),
            }
            for width in (64, 128, 256)
            for seed in range(seeds)
            for k, extra in by_k.items()
        ]
    )  # fmt: skip


def test_planted_slope_rise_and_fall_are_read_back():
    assert measuring.slopes_with_width(made_up()) == pytest.approx([-0.02] * 3)
    rise, fall = measuring.rise_and_fall(made_up())
    assert rise == pytest.approx([0.03] * 3) and fall == pytest.approx([0.01] * 3)


def test_best_k_is_chosen_by_the_other_seeds():
    flat = made_up(rise=0.001, fall=0.0)
    flat.loc[(flat.seed == 0) & (flat.sparsity == 2.0), LOSS] -= 0.01  # the luck of one seed
    rise, fall = measuring.rise_and_fall(flat)
    assert rise[0] == pytest.approx(-0.009)  # its own least loss is not taken for the best
    assert fall[0] == pytest.approx(0.0)
    assert all(math.isnan(one) for (one,) in measuring.rise_and_fall(made_up(seeds=1)))


def test_difference_is_taken_at_equal_l0_and_only_where_both_are():
    line = lambda method, l0s, extra: pd.DataFrame(  # noqa: E731
        [{"method": method, "seed": 0, "l0": l0, LOSS: 0.3 - 0.01 * math.log(l0) + extra} for l0 in l0s]
    )
    both = pd.concat([line("topk", (4, 16, 64), 0.0), line("relu", (9, 30, 200), 0.02)])
    assert measuring.difference_at_equal_l0(both, "topk", "relu") == pytest.approx([-0.02])
    apart = pd.concat([line("topk", (4, 8), 0.0), line("relu", (9, 30), 0.02)])
    assert math.isnan(measuring.difference_at_equal_l0(apart, "topk", "relu")[0])


def test_differences_are_taken_for_each_task_by_itself():
    rows = [
        {"method": method, "seed": seed, "l0": l0, "task": task, LOSS: 0.3 + extra * (method == "topk")}
        for method in ("topk", "relu")
        for seed in (0, 1)
        for l0 in (4.0, 16.0)
        for task, extra in (("a", -0.1), ("b", 0.05))
    ]
    table = measuring.differences_by_task(pd.DataFrame(rows), "topk", "relu")
    assert table.to_dict() == pytest.approx({"a": -0.1, "b": 0.05})


def test_luck_is_the_difference_between_seeds():
    assert measuring.between_seeds(made_up(), "topk") == pytest.approx([-0.001, -0.002, -0.001])
