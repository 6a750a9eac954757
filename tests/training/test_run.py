"""Whole runs on a real model: steps through compiled loops end where steps in plain PyTorch end.

Every architecture is trained twice from the same seeds, on the same batches of the embedded subject's activations, with
latents that die and are resampled, and measured on text that neither run saw. In float64 both runs give the same numbers.
In single precision, or with products in bfloat16, rounding drives them apart, and by less than seeds are apart.
"""

import copy
from dataclasses import dataclass
from pydoc_data.topics import topics

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.common import paths
from saebook.evaluation import metrics
from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.subject.model import Site, Subject
from saebook.training.config import TrainConfig
from saebook.training.loop import TrainState, train

COLUMNS = ["normalised_mse", "l0", "loss_recovered"]
SEEDS = (0, 1, 2)
BATCH, M = 128, 256
# architecture -> sparsity, learning rate
RECIPES = {
    "relu": (1.0, 0.01),
    "gated": (1.5, 0.01),
    "prolu_ste": (0.4, 0.01),
    "topk": (12, 0.01),
    "normalised_relu": (2.0, 0.01),
}
BOUND = 2.0  # standard deviations over seeds that two means over seeds may be apart


class Shuffled:
    """Batches of fixed activations `x` [n, D], in a new order every epoch."""

    batch, seed = BATCH, 0

    def __init__(self, x):
        self.x = x

    def sample(self, count):
        return self.x[:count]

    def batches(self, start, steps):
        per_epoch = len(self.x) // BATCH
        for step in range(start, steps):
            order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(step // per_epoch))
            first = step % per_epoch * BATCH
            yield self.x[order[first : first + BATCH]]


@dataclass
class Material:
    """The subject, activations [n, D] to train on, of mean squared norm D, and rows [N, T] to measure on."""

    subject: Subject
    site: Site
    activations: torch.Tensor
    rows: torch.Tensor
    scale: float

    def train(self, kind, *, compiled, precision="fp32", dtype=torch.float32, steps=160, penalty=1.0, clip_norm=None):
        """A trained stack of one member per seed."""
        sparsity, lr = RECIPES[kind]
        members = tuple(Member(seed, penalty * sparsity) for seed in SEEDS)
        stack = build(kind, self.site.d_in, M, members, dtype=dtype)
        training = TrainConfig(
            lr, BATCH * steps, BATCH, beta2=0.95, resample_at=(0.3, 0.6), dead_share=0.1, clip_norm=clip_norm
        )
        state = TrainState(stack, training, precision=precision, compiled=compiled)
        train(Shuffled(self.activations.to(dtype)), [state])
        assert state.compiled is compiled and stack.has_own_gradients() and state.resampled == round(0.6 * steps)
        return stack

    def measure(self, stack):
        """Metrics in single precision, one row per seed."""
        stack = copy.deepcopy(stack).float()
        stack.fold_scale(self.scale)
        return pd.DataFrame(metrics.measure([stack], self.subject, self.site, self.rows, 1)[0])[COLUMNS]


@pytest.fixture(scope="module")
def material():
    """English prose about Python: 160 rows of 128 tokens to train on, 20 to measure on."""
    subject = Subject.load(str(paths.data() / "subjects" / "prose-4l128"), device="cpu")
    site = subject.site("resid_post", 1)
    tokens = subject.tokenizer("\n".join(topics.values())[:150_000])["input_ids"]
    rows = torch.tensor(tokens[: 180 * 128]).view(180, 128)
    x = torch.cat([subject.activations(part, site)[:, 1:].flatten(0, 1).clone() for part in rows[:160].split(32)])
    scale = float((site.d_in / x.square().sum(1).mean()).sqrt())
    return Material(subject, site, scale * x, rows[160:], scale)


@pytest.mark.parametrize(("kind", "clip_norm"), [(kind, None) for kind in RECIPES] + [("gated", 5.0)])
def test_runs_in_float64_give_the_same_numbers(material, kind, clip_norm):
    options = {"dtype": torch.float64, "steps": 100, "clip_norm": clip_norm}
    plain, compiled = (material.train(kind, compiled=one, **options) for one in (False, True))
    for name, parameter in plain.named_parameters():
        assert torch.allclose(compiled.get_parameter(name), parameter, rtol=1e-7, atol=1e-8), name
    expected, measured = material.measure(plain), material.measure(compiled)
    assert (measured / expected - 1).abs().max().max() < 1e-4  # of the subject's losses in single precision
    assert expected.loss_recovered.min() > 0.6 and expected.l0.min() > 1  # they learned something


@pytest.fixture(scope="module")
def measured(material):
    """Metrics of every architecture and seed in single precision, by kind of step."""
    steps = {
        "plain": {"compiled": False},
        "compiled": {"compiled": True},
        "bf16": {"compiled": True, "precision": "bf16"},
    }
    return {
        step: {kind: material.measure(material.train(kind, **options)) for kind in RECIPES}
        for step, options in steps.items()
    }


@pytest.fixture(scope="module")
def spread(measured):
    """Standard deviation over seeds of the logarithm of each metric, pooled over all runs of either kind."""
    variances = [np.log(table).var() for tables in measured.values() for table in tables.values()]
    return np.sqrt(sum(variances) / len(variances))


def distance(one, other, spread):
    """By metric, how far two means over seeds are apart, in standard deviations over seeds."""
    return (np.log(one).mean() - np.log(other).mean()).abs() / spread


@pytest.mark.parametrize("step", ["compiled", "bf16"])
@pytest.mark.parametrize("kind", RECIPES)
def test_runs_end_within_the_spread_of_seeds(measured, spread, kind, step):
    assert (distance(measured["plain"][kind], measured[step][kind], spread) < BOUND).all()


def test_another_penalty_is_noticed(material, measured, spread):
    other = material.measure(material.train("relu", compiled=True, penalty=1.25))
    assert (distance(measured["compiled"]["relu"], other, spread)[["normalised_mse", "l0"]] > BOUND).all()
