"""Faithfulness is one for a perfect SAE and zero for none; the features that carry a task are kept first."""

import pandas as pd
import pytest
import torch

from saebook.claims import results
from saebook.papers.e2e.agreement import drawing, faithfulness, sentences
from saebook.papers.e2e.agreement.faithfulness import RANDOM, TOP
from saebook.papers.e2e.agreement.sentences import Items
from saebook.sae.base import Member
from saebook.sae.registry import build


@pytest.fixture
def task(small_subject):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 300, (40, 9), generator=generator)
    right, wrong = torch.randint(1, 300, (2, 40), generator=generator)
    items = Items(tokens, torch.randint(4, 9, (40,), generator=generator), right, wrong, torch.arange(40) % 2 == 1)
    site = small_subject.site("resid_pre", 1)
    clean = faithfulness.differences(small_subject, site, items, small_subject.activations(tokens, site))
    turned = clean < 0  # so that the random model is right as a rule
    items = Items(
        tokens, items.last, torch.where(turned, wrong, right), torch.where(turned, right, wrong), items.plural
    )
    return faithfulness.task(small_subject, site, items)


@pytest.fixture
def perfect():
    """x = relu(x) - relu(-x)."""
    sae = build("normalised_relu", 32, 64, (Member(0, 1.0),))
    with torch.no_grad():
        sae.W_enc[0] = torch.cat([torch.eye(32), -torch.eye(32)], 1)
        sae.W_dec[0] = torch.cat([torch.eye(32), -torch.eye(32)])
        sae.b_enc.zero_()
    return sae


def test_differences_are_those_of_all_logits(small_subject, task):
    logits = small_subject.logits(task.items.tokens)
    at = logits[torch.arange(40), task.items.last]
    plain = at.gather(1, task.items.right[:, None]) - at.gather(1, task.items.wrong[:, None])
    assert task.clean.tolist() == pytest.approx(plain[:, 0].tolist(), abs=1e-4) and task.accuracy > 0.95
    assert task.faithfulness(task.clean) == 1.0 and task.faithfulness(task.ablated) == 0.0


def test_means_leave_out_padding(task):
    counted = task.items.counted
    assert torch.allclose(task.mean[8], task.x[counted[:, 8], 8].mean(0), atol=1e-5)
    assert 0 < counted[:, 8].sum() < 40


def test_whole_sae_is_faithful_and_all_its_features_are_the_whole(task, perfect):
    table = pd.DataFrame([{"method": "local", "seed": 2}])
    read = faithfulness.measured(table, [perfect], {"simple": task}, [1, 8, 64]).set_index(["by", "kept"]).faithfulness
    assert read[TOP, 0] == pytest.approx(1.0, abs=1e-3)
    assert read[TOP, 64] == pytest.approx(1.0, abs=1e-3) and read[RANDOM, 64] == pytest.approx(1.0, abs=1e-3)
    assert read[TOP, 8] != read[RANDOM, 8]


def test_first_order_effects_rank_as_exact_ones(task, perfect):
    effects = faithfulness.effects(perfect, task)
    exact = torch.tensor([faithfulness.ablated_alone(perfect, task, latent) for latent in range(64)])
    assert torch.corrcoef(torch.stack([effects, exact]))[0, 1] > 0.8


def test_tasks_that_the_subject_cannot_do_are_left_out(task):
    wrong = Items(task.items.tokens, task.items.last, task.items.wrong, task.items.right, task.items.plural)
    other = faithfulness.task(task.subject, task.site, wrong)
    assert list(faithfulness.able({"right": task, "wrong": other}, 0.8)) == ["right"]
    assert faithfulness.able({"right": task}, 1.01) == {}
    nothing = faithfulness.measured(pd.DataFrame([{"method": "local", "seed": 2}]), [None], {}, [1])
    assert nothing.empty and faithfulness.per_seed(nothing).empty
    figure = drawing.agreement(pd.Series({"simple": 0.6}), 0.8, nothing)
    assert "cannot do" in figure.axes[1].texts[0].get_text()


def test_table_of_the_paper_is_read_as_shares():
    paper = faithfulness.published(results.published("e2e_table4_5_6_7"), sentences.TEMPLATES)
    (row,) = paper.query("table == '7a' and layer == 6 and type == 'e2e+ds'").to_dict("records")
    assert [row[name] for name in sentences.TEMPLATES] == pytest.approx([0.952, 0.792, 0.955, 0.987]) and len(
        paper
    ) == 18
