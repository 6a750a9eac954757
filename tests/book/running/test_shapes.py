"""The shape of a model by its configuration is the one that TransformerLens finds, under every library's names."""

import pytest

from saebook.book.running import shapes
from saebook.subject.sites import SITES

GPT2 = {"model_type": "gpt2", "n_layer": 12, "n_positions": 1024, "n_embd": 768, "n_head": 12, "n_inner": None}
LLAMA = {
    "num_hidden_layers": 2, "max_position_embeddings": 64, "hidden_size": 48, "intermediate_size": 100,
    "num_attention_heads": 6, "head_dim": 16,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "shape", "widths"),
    [(GPT2, (12, 1024), (768, 768, 768, 3072, 768)), (LLAMA, (2, 64), (48, 48, 48, 100, 96)), ({}, (None, None), (None,) * 5)],
)  # fmt: skip
def test_shape_is_read_under_each_name(config, shape, widths):
    assert (shapes.layers(config), shapes.context(config)) == shape
    assert tuple(shapes.width(config, site) for site in SITES) == widths


def test_what_is_no_number_is_not_known():
    assert shapes.layers({"n_layer": "many"}) is None and shapes.width({"n_embd": 8}, "mlp_post") is None


def test_widths_of_a_small_model_are_those_of_the_opened_one(small_subject):
    config = small_subject.bridge.original_model.config.to_dict()
    for site in SITES:
        assert shapes.width(config, site) == small_subject.site(site, 0).d_in, site
