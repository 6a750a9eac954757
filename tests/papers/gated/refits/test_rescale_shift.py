"""Rescale and shift are learnt with all else frozen, and stored."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.papers.gated.refits import as_gated, rescale_shift
from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.training.buffers import ActivationBuffer
from saebook.training.store import Store
from saebook.training.sweep import Data


def baseline(d_in=12, d_sae=40, dtype=torch.float64, seed=0):
    """A baseline with biases of both signs, and inputs [64, d_in]."""
    made = build("relu", d_in, d_sae, (Member(seed, 1.0),), dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    made.b_enc.data += 0.3 * torch.randn(made.b_enc.shape, generator=generator, dtype=dtype)
    return made, torch.randn(64, d_in, generator=generator, dtype=dtype)


@pytest.fixture
def stream(small_subject, tmp_path):
    rows = np.random.default_rng(0).integers(0, 300, (64, 32))
    return ActivationBuffer(small_subject, small_subject.site("resid_post", 1), rows, 256, skip=1, block=64)


def test_planted_rescale_is_learnt_back_with_all_else_frozen(stream):
    sae, _ = baseline(stream.site.d_in, 48, torch.float32)
    sae.W_enc.data *= 0.5
    sae.W_dec.data[:] = torch.linalg.qr(torch.randn(48, 32, generator=torch.Generator().manual_seed(1)))[0]
    gated = as_gated.as_gated(sae)
    x = stream.sample(2000) / stream.scale
    truth, before = copy.deepcopy(gated), {n: p.clone() for n, p in gated.named_parameters()}
    gated.r_mag.data -= 0.4
    planted_error = float(rescale_shift.reconstruction(gated, x).detach())
    (curve,) = rescale_shift.learn([gated], stream, rescale_shift.Fit(tokens=256 * 7, lr=0.05, batch=256))
    error = float(rescale_shift.reconstruction(gated, x).detach())
    assert curve[-1] < curve[0] and error < planted_error
    assert error < 1.02 * float(rescale_shift.reconstruction(truth, x).detach())
    frozen = set(before) - {"r_mag", "b_mag"}
    assert all(torch.allclose(dict(gated.named_parameters())[n], before[n], rtol=1e-5) for n in frozen)


def test_fitted_baselines_are_stored_and_read_back(small_subject, text_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "cache"))
    store, site = Store(tmp_path / "runs"), small_subject.site("resid_post", 1)
    data, fit = Data(source=f"folder:{text_folder}", eval_rows=16, block=32), rescale_shift.Fit(2048, 0.05, 256)
    sae, _ = baseline(site.d_in, 48, torch.float32)
    store.save_sae("a", sae)
    rows = as_gated.rows_of("validation", data.eval_rows, small_subject, data)
    line = pd.DataFrame([{"method": "relu", "d_sae": 48, "sparsity": 1.0, "seed": 0, "key": "a"}])
    plain = as_gated.measured([sae], line, "relu", small_subject, site, rows, data.skip)
    first = rescale_shift.rescaled(plain, small_subject, site, data, fit, store)
    again = rescale_shift.rescaled(plain, small_subject, site, data, fit, store)
    assert (first.trained, again.trained) == (1, 0) and first.table.equals(again.table)
    first = first.table
    assert first.normalised_mse[0] < plain.normalised_mse[0] and first.l0[0] <= plain.l0[0]
    assert list(first.method) == ["rescaled"] and store.has(first.key[0])
