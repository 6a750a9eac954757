"""SAEs by the size of their subject: planted laws are read back, and a sweep is that of each subject by itself."""

import math
import shutil
from functools import partial

import pandas as pd
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from saebook.common.errors import UserError
from saebook.papers.topk.scaling import by_block, plans, subject_sizes
from saebook.papers.topk.scaling.budgets import SubjectSizes
from saebook.subject.model import Subject
from saebook.training.config import Data
from saebook.training.store import Store
from saebook.training.sweep import sweep

SIZES, WIDTHS, KS, SEEDS = (1e5, 4e5, 1.6e6), (128, 256, 512), (8.0, 32.0), (0, 1)


def planted(by_size=0.1, exponent=-0.3, by_size_of_exponent=0.0):
    """Errors c n^a with a = exponent + by_size_of_exponent ln N, times N^by_size and a factor of the seed."""
    rows = [
        {
            "subject": f"of {size:g}", "parameters": size, "d_in": 10, "layer": 2, "d_sae": n, "sparsity": k, "seed": seed,
            "normalised_mse": (1 + seed / 9) / k * size**by_size * n ** (exponent + by_size_of_exponent * math.log(size)),
        }
        for size in SIZES for n in WIDTHS for k in KS for seed in SEEDS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_planted_slope_of_size_is_read_back_at_equal_width_and_k():
    assert subject_sizes.error_by_size(planted(0.1)) == pytest.approx([0.1, 0.1])
    assert subject_sizes.error_by_size(planted(0.0)) == pytest.approx([0.0, 0.0], abs=1e-12)
    lacking = planted().drop(index=0)  # the smallest subject at one width and k, of seed 0
    first, second = subject_sizes.error_by_size(lacking)
    assert math.isnan(first) and second == pytest.approx(0.1)


def test_planted_exponents_and_their_change_are_read_back():
    fitted = subject_sizes.exponents(planted())
    assert len(fitted) == len(SIZES) * len(KS) * len(SEEDS) and fitted.exponent.tolist() == pytest.approx([-0.3] * 12)
    assert subject_sizes.exponent_by_size(planted()) == pytest.approx([0.0, 0.0], abs=1e-12)
    assert subject_sizes.exponent_by_size(planted(by_size_of_exponent=0.01)) == pytest.approx([0.01, 0.01])


def test_latents_needed_follow_from_both_laws_and_nothing_is_extrapolated():
    ratio = (SIZES[-1] / SIZES[0]) ** (0.05 / 0.3)  # N^0.05 n^-0.3 is the same
    assert subject_sizes.latents_needed(planted(0.05), 8.0) == pytest.approx([ratio] * 2)
    assert subject_sizes.latents_needed(planted(0.0), 8.0) == pytest.approx([1.0] * 2)
    assert all(map(math.isnan, subject_sizes.latents_needed(planted(5.0), 8.0)))


def test_what_random_weights_show_too_is_taken_off_seed_by_seed():
    random = planted(0.08)
    random.loc[random.seed == 1, "normalised_mse"] *= random.parameters**0.01
    assert subject_sizes.beyond_random(planted(0.1), random) == pytest.approx([0.02, 0.01])


def test_layers_of_one_depth():
    assert [subject_sizes.layer_at(0.75, layers) for layers in (1, 4, 8, 12, 30)] == [0, 2, 5, 8, 22]
    assert [subject_sizes.layer_at(depth, 4) for depth in (0.01, 0.5, 1.0)] == [0, 1, 3]


@pytest.fixture(scope="module")
def smaller_folder(small_subject_folder, tmp_path_factory):
    """Half as wide as the small subject, with the same tokenizer."""
    folder = tmp_path_factory.mktemp("smaller") / "tinier"
    shutil.copytree(small_subject_folder, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    torch.manual_seed(1)
    config = GPT2Config(vocab_size=300, n_positions=32, n_embd=16, n_layer=2, n_head=4, initializer_range=0.2)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def budget(names, **changes):
    values = {
        "tier": "smoke", "subject": names[-1], "smaller": names[:-1], "site": "resid_post", "layer": 2, "seeds": [0], "tokens": 1024,
        "batch": 64, "eval_rows": 4, "widths": [24, 48], "ks": [4], "fixed_k": 4, "topk_lr": dict.fromkeys(names, 0.01),
        "deeper": {"subject": names[-1], "layers": [0, 2], "d_sae": 24, "k": 4, "lr": 0.01},
    }  # fmt: skip
    return SubjectSizes.checked("the test", values | changes)


def test_a_sweep_over_sizes_is_that_of_each_subject(small_subject_folder, smaller_folder, text_folder, tmp_path):
    names, data = [str(smaller_folder), str(small_subject_folder)], Data(f"folder:{text_folder}", eval_rows=4)
    family, store = budget(names, topk_lr=dict(zip(names, (0.02, 0.01), strict=True))), Store(tmp_path)
    methods = partial(plans.by_subject, family)
    result = subject_sizes.sweep_sizes(family, methods, data, store=store)
    assert result.trained == 4 and result.table.d_in.tolist() == [16, 16, 32, 32]
    assert result.table.layer.tolist() == [1, 1, 2, 2]  # of two blocks and of four
    small, large = (Subject.load(name) for name in names)
    assert result.table.parameters.unique().tolist() == [
        sum(p.numel() for p in GPT2LMHeadModel.from_pretrained(name).parameters()) for name in names
    ]
    assert result.table.weights.unique().tolist() == [small.weights_hash, large.weights_hash]
    assert [store.metadata(key)["training"]["lr"] for key in result.table.key] == [0.02, 0.02, 0.01, 0.01]
    site = large.site("resid_post", 2)
    alone = sweep(large, site, plans.subject_sizes(family, site), [0], data, store)
    assert alone.trained == 0 and alone.table.key.tolist() == result.table.key[2:].tolist()
    control = subject_sizes.sweep_sizes(family, methods, data, control=True, store=store).table
    assert set(control.subject) == {f"{name}:random" for name in names} and not set(control.key) & set(result.table.key)
    as_asked = budget([*names[:-1], f"{names[-1]}:random"], topk_lr=family.topk_lr)  # as `saebook control` asks for it
    assert subject_sizes.family(as_asked) == subject_sizes.family(family, control=True)
    assert plans.subject_sizes(as_asked, site) == plans.subject_sizes(family, site)


def test_every_subject_is_tuned_at_all_its_widths_on_seeds_of_its_own(
    small_subject_folder, smaller_folder, text_folder
):
    names, data = [str(smaller_folder), str(small_subject_folder)], Data(f"folder:{text_folder}", eval_rows=4)
    family = budget(names, source=f"folder:{text_folder}", ks=[2, 4])
    tuner = plans.EachSubject(plans.error_at_equal_k, (1e-6, 1e-2), (7, 8))
    tuning = tuner.run(family, Subject.load(names[-1]), [], data)
    assert set(tuning.table.seed) == {7, 8} and set(tuning.table.lr) == {1e-6, 1e-2}
    assert set(tuning.findings["chosen"]) == set(tuning.findings["penalty"]) == set(names)
    assert tuning.findings["chosen"] == tuner.chosen(tuning.scores)
    assert len(tuning.table) == 2 * 2 * 2 * 2 * 2 and set(tuning.scores.method) == {
        f"{name} at {width}" for name in names for width in (24, 48)
    }


def test_a_subject_whose_latents_die_at_one_width_gets_a_lower_rate():
    rows = [
        {"method": f"one at {width}", "lr": lr, "cost": cost, "lost": lost, "seeds": 2}
        for width, costs in {24: (1.0, 0.5, 0.4), 48: (1.0, 0.7, 0.6)}.items()
        for lr, cost, lost in zip((1e-3, 2e-3, 4e-3), costs, (0, 0, int(width == 48)), strict=True)
    ]
    assert plans.EachSubject(plans.error_at_equal_k).chosen(pd.DataFrame(rows)) == {"one": 2e-3}


def test_subjects_of_one_size_are_refused_in_one_line(small_subject_folder, tmp_path):
    shutil.copytree(small_subject_folder, tmp_path / "copy")
    family = budget([str(tmp_path / "copy"), str(small_subject_folder)])
    with pytest.raises(UserError, match="different sizes") as refused:
        subject_sizes.sweep_sizes(family, partial(plans.by_subject, family), Data())
    assert "\n" not in str(refused.value)


def test_a_sweep_over_blocks_is_that_of_each_site_on_its_own_text(small_subject_folder, text_folder, tmp_path):
    name, text = str(small_subject_folder), f"folder:{text_folder}"
    about = {
        "subject": name,
        "source": text,
        "context": 16,
        "skip": 3,
        "layers": [0, 2],
        "d_sae": 24,
        "k": 5,
        "lr": 0.02,
    }
    sizes, store = budget([name + "/.", name], deeper=about), Store(tmp_path)
    method, data = plans.each_block(sizes), Data("environment", eval_rows=4)
    assert (method.d_sae, method.sparsities, method.training.lr) == (24, (5.0,), 0.02)
    result = by_block.sweep_blocks(sizes, method, data, store=store)
    assert result.trained == 2 and result.table.layer.tolist() == [0, 2] and result.table.d_sae.tolist() == [24, 24]
    subject, own = Subject.load(name), Data(text, eval_rows=4, context=16, skip=3)
    for layer in (0, 2):
        alone = sweep(subject, subject.site("resid_post", layer), [method], [0], own, store)
        assert alone.trained == 0 and alone.table.key.item() in result.table.key.tolist()
    control = by_block.sweep_blocks(sizes, method, data, control=True, store=store).table
    assert set(control.subject) == {f"{name}:random"} and not set(control.key) & set(result.table.key)
    assert control.parameters.tolist() == result.table.parameters.tolist()


def test_parameters_until_a_block_leave_out_the_blocks_after_it(small_subject_folder):
    model, subject = GPT2LMHeadModel.from_pretrained(small_subject_folder), Subject.load(str(small_subject_folder))
    whole, block = (sum(p.numel() for p in part.parameters()) for part in (model, model.transformer.h[0]))
    assert [by_block.parameters_until(subject, layer) for layer in range(3)] == [
        whole - 2 * block, whole - block, whole
    ]  # fmt: skip


def test_a_block_that_does_not_exist_is_refused_before_anything_is_trained(
    small_subject_folder, smaller_folder, tmp_path
):
    names, store = [str(smaller_folder), str(small_subject_folder)], Store(tmp_path)
    family = budget(names, deeper={"subject": names[-1], "layers": [0, 9], "d_sae": 24, "k": 4, "lr": 0.01})
    with pytest.raises(UserError, match="layer 9 does not exist"):
        subject_sizes.sweep_sizes(family, partial(plans.by_subject, family), Data(), store=store)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"smaller": ["large"]}, "other subjects than large"),
        ({"subject": "small:random"}, "other subjects than small"),
        ({"widths": [24]}, "at least two"),
        ({"fixed_k": 3}, "one of ks"),
        ({"ks": [4, 32]}, "at most the smallest width"),
        ({"topk_lr": {"large": 0.01}}, "none for small"),
        ({"deeper": {"subject": "large", "layers": [1], "d_sae": 24, "k": 4, "lr": 0.01}}, "deeper layers must be"),
        (
            {"deeper": {"subject": "large", "layers": [0, 1], "d_sae": 24, "k": 32, "lr": 0.01}},
            "k must be at most d_sae",
        ),
        (
            {"deeper": {"subject": "large", "layers": [0, 1], "d_sae": 24, "k": 4, "lr": 0.01, "ks": 3}},
            "unknown.*deeper.ks",
        ),
    ],
)
def test_family_that_cannot_be_compared_is_refused(changes, words):
    with pytest.raises(UserError, match=words):
        budget(["small", "large"], **changes)
