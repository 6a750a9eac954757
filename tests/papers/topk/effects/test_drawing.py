"""Figures on what latents do draw every quantity, with one seed and with several."""

import numpy as np
import pandas as pd
import pytest

from saebook.papers.topk.effects import drawing, logit_changes

REMOVED = (logit_changes.LATENT, logit_changes.RANDOM, logit_changes.ELSEWHERE, logit_changes.CHANNEL)


@pytest.mark.parametrize("seeds", [1, 3])
def test_logit_changes_have_a_line_for_all_that_is_removed(seeds):
    rows = [
        {
            "method": "topk", "seed": seed, "sparsity": k, "removed": removed, "density": 0.1 + seed / 99,
            "own_density": 0.5 + k / 99,
        }
        for seed in range(seeds)
        for k in (8.0, 16.0)
        for removed in REMOVED
    ]  # fmt: skip
    figure = drawing.logit_changes(pd.DataFrame(rows))
    for ax, y in zip(figure.axes, (0.1 + (seeds - 1) / 198, 0.5 + 8 / 99), strict=True):
        assert len(ax.containers) == 4 and ax.get_yscale() == "log"
        assert ax.containers[0].lines[0].get_ydata()[0] == pytest.approx(y)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert set(REMOVED) < set(labels) and len(labels) == 5


@pytest.mark.parametrize("seeds", [1, 3])
def test_noise_has_a_line_for_each_of_the_inputs_and_a_cross(seeds):
    rows = [
        {"inputs": inputs, "seed": seed, "d_sae": width, "normalised_mse": 1 / width + seed / 999}
        for inputs in ("activations", "white noise")
        for seed in range(seeds)
        for width in (64, 128)
    ]
    figure = drawing.noise(pd.DataFrame(rows), {"activations": -0.2, "white noise": -0.04}, (256, 0.7))
    (ax,) = figure.axes
    assert len(ax.containers) == 2 and ax.get_xscale() == ax.get_yscale() == "log"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any("-0.040" in label for label in labels) and len(labels) == 3


@pytest.mark.parametrize("seeds", [1, 3])
def test_layers_have_a_line_for_each_k_and_its_principal_components(seeds):
    rows = [
        {"layer": layer, "seed": seed, "sparsity": k, "normalised_mse": 1 / k + seed / 99, "ce_increase": layer + 1.0}
        for layer in (0, 1, 2)
        for seed in range(seeds)
        for k in (8.0, 32.0)
    ]
    principal = pd.DataFrame([{"layer": n, "k": k, "normalised_mse": 0.5} for n in (0, 1, 2) for k in (8, 32)])
    left, right = drawing.layers(pd.DataFrame(rows), principal).axes
    assert [len(ax.containers) for ax in (left, right)] == [2, 2]
    dashed = [line for line in left.lines if line.get_linestyle() == "--"]
    assert len(dashed) == 2 and dashed[0].get_ydata().tolist() == [0.5] * 3
    assert right.containers[0].lines[0].get_ydata().tolist() == [1.0, 2.0, 3.0]


def test_distributions_have_a_line_for_each_method_and_one_for_chance():
    latents = pd.DataFrame(
        [{"method": m, "density": d, "nearest": 0.1 + d} for m in ("topk", "relu") for d in (0.0, 0.01, 0.1, 0.5)]
    )
    sizes = pd.DataFrame(
        [{"method": m, "seed": 0, "size": s, "share": 0.5} for m in ("topk", "relu") for s in (0.1, 1)]
    )
    left, middle, right = drawing.distributions(latents, sizes, np.array([0.2, 0.3])).axes
    assert [len(ax.lines) for ax in (left, middle, right)] == [3, 2, 3]
    assert right.lines[0].get_xdata().tolist() == pytest.approx([0.11, 0.2, 0.6])
    assert left.get_xscale() == middle.get_xscale() == "log"
