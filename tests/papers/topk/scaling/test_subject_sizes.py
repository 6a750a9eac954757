"""SAEs by the size of their subject: planted laws are read back, and a sweep is that of each subject by itself."""

import math

import pandas as pd
import pytest

from saebook.common.errors import UserError
from saebook.papers.topk.scaling import subject_sizes
from saebook.subject.model import Subject
from saebook.training.config import Data, Method, TrainConfig
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


def test_what_random_weights_show_too_is_taken_off():
    trained, random = (subject_sizes.error_by_size(planted(slope)) for slope in (0.1, 0.08))
    assert subject_sizes.beyond_random(trained, [*random, math.nan]) == pytest.approx([0.02, 0.02])


def test_layers_of_one_depth():
    assert [subject_sizes.layer_at(0.75, layers) for layers in (1, 4, 8, 12, 30)] == [0, 2, 5, 8, 22]
    assert [subject_sizes.layer_at(depth, 4) for depth in (0.01, 0.5, 1.0)] == [0, 1, 3]


@pytest.fixture(scope="module")
def smaller_folder(small_subject_folder, tmp_path_factory):
    """Half as wide as the small subject, with the same tokenizer."""
    import shutil

    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("smaller") / "tinier"
    shutil.copytree(small_subject_folder, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    torch.manual_seed(1)
    config = GPT2Config(vocab_size=300, n_positions=32, n_embd=16, n_layer=2, n_head=4, initializer_range=0.2)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def test_a_sweep_over_sizes_is_that_of_each_subject(small_subject_folder, smaller_folder, text_folder, tmp_path):
    names, data = [str(smaller_folder), str(small_subject_folder)], Data(f"folder:{text_folder}", eval_rows=4)
    training = TrainConfig(lr=0.01, tokens=1024, batch=64, resample_at=())

    def methods(site):
        return [Method("topk", width, (4.0,), training, (("per_token", True),)) for width in (24, 48)]

    store = Store(tmp_path)
    result = subject_sizes.sweep_sizes(names, "resid_post", 0.75, methods, [0], data, store)
    assert result.trained == 4 and result.table.d_in.tolist() == [16, 16, 32, 32]
    assert result.table.layer.tolist() == [1, 1, 2, 2]
    small, large = (Subject.load(name) for name in names)
    assert result.table.parameters.unique().tolist() == [
        sum(p.numel() for p in s.bridge.original_model.parameters()) for s in (small, large)
    ]
    alone = sweep(large, large.site("resid_post", 2), methods(None), [0], data, store)
    assert alone.trained == 0 and alone.table.key.tolist() == result.table.key[2:].tolist()


@pytest.mark.parametrize(
    ("count", "depth", "words"), [(1, 0.75, "at least two"), (2, 0.0, "above 0"), (2, 1.5, "at most 1")]
)
def test_sizes_that_cannot_be_compared_are_refused_in_one_line(
    count, depth, words, small_subject_folder, smaller_folder
):
    names = [str(smaller_folder), str(small_subject_folder)][:count]
    with pytest.raises(UserError, match=words) as refused:
        subject_sizes.sweep_sizes(names, "resid_post", depth, lambda site: [], [0], Data())
    assert "\n" not in str(refused.value)
