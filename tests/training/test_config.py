"""Configurations refuse what cannot be trained, each in one line."""

import math
from dataclasses import replace

import pytest

from saebook.common.errors import UserError
from saebook.sae.base import Member
from saebook.training.config import Data, Method, Objective, TrainConfig

TRAINING = TrainConfig(lr=1e-3, tokens=4096)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0.0}, "lr must be a finite number above 0, not 0.0"),
        ({"lr": -0.5}, "lr must be"),
        ({"lr": math.inf}, "lr must be"),
        ({"lr": math.nan}, "lr must be"),
        ({"tokens": 0}, "tokens must be at least one batch"),
        ({"tokens": 1023}, r"tokens must be at least one batch \(1024\), not 1023"),
        ({"tokens": math.inf}, "tokens must be finite"),
        ({"batch": 0}, "batch must be at least 1 token"),
        ({"beta1": -0.1}, "beta1 must be at least 0 and below 1"),
        ({"beta2": 1.0}, "beta2 must be at least 0 and below 1"),
        ({"eps": 0.0}, "eps must be"),
        ({"warmup_share": 1.5}, "warmup_share must be a share"),
        ({"decay_share": -0.1}, "decay_share must be a share"),
        ({"resample_at": (0.5, 2.0)}, "resample_at must be a share from 0 to 1, not 2.0"),
        ({"cosine_to": -1.0}, "cosine_to must be a share"),
        ({"clip_norm": 0.0}, "clip_norm must be"),
    ],
)
def test_invalid_training_is_refused(change, message):
    with pytest.raises(UserError, match=message) as refused:
        replace(TRAINING, **change)
    assert "\n" not in str(refused.value)


def test_methods_data_objectives_and_members_are_checked():
    with pytest.raises(UserError, match="d_sae must be at least 1 latent, not 0"):
        Method("relu", 0, (1.0,), TRAINING)
    for sparsity in (-1.0, math.inf, math.nan):
        with pytest.raises(UserError, match="sparsity must be a finite number"):
            Method("relu", 8, (1.0, sparsity), TRAINING)
        with pytest.raises(UserError, match="sparsity must be a finite number"):
            Member(0, sparsity)
    for seed in (-1, 10**23):
        with pytest.raises(UserError, match="seed must be a whole number from 0"):
            Member(seed, 1.0)
    for change in ({"eval_rows": 0}, {"skip": -1}, {"block": 0}, {"order_seed": -1}, {"eval_part": "all"}):
        with pytest.raises(UserError, match=f"{next(iter(change))} must be"):
            Data(**change)
    with pytest.raises(UserError, match="kl must be a finite weight"):
        Objective(kl=-1.0)
    with pytest.raises(UserError, match="at least one weight above 0"):
        Objective()
