"""The precision of products: what is asked for, what a probe says, and that processes agree."""

import json

import pytest
import torch

from saebook.common.errors import UserError
from saebook.sae.kernels import precision


def test_setting_decides(monkeypatch):
    for asked in ("fp32", "bf16"):
        monkeypatch.setenv("SAEBOOK_PRECISION", asked)
        assert precision.current() == asked and precision.current("cuda") == asked
    monkeypatch.setenv("SAEBOOK_PRECISION", "fp8")
    with pytest.raises(UserError, match="auto, bf16 or fp32, not 'fp8'"):
        precision.current()


@pytest.mark.parametrize(("gain", "expected"), [(1.9, "bf16"), (0.6, "fp32")])
def test_probe_is_asked_once_and_its_answer_kept(monkeypatch, tmp_path, gain, expected):
    monkeypatch.setenv("SAEBOOK_PRECISION", "auto")
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path))
    asked = []
    monkeypatch.setattr(precision, "probe", lambda: asked.append(1) or gain)
    assert [precision.current(), precision.current()] == [expected, expected] and len(asked) == 1
    assert list(json.loads((tmp_path / "precision.json").read_text()).values()) == [gain]
    (tmp_path / "precision.json").write_text("{cut off")
    assert precision.current() == expected and len(asked) == 2


def test_a_gpu_needs_no_probe(monkeypatch):
    monkeypatch.setenv("SAEBOOK_PRECISION", "auto")
    monkeypatch.setattr(precision, "probe", lambda: pytest.fail("probed"))
    assert precision.current("cuda") == "bf16"


@pytest.mark.parametrize("gain", [0.01, 2.0])  # the first was measured on a processor without bfloat16 products
def test_probe_is_the_ratio_of_the_fastest_rounds(monkeypatch, gain):
    clock, rounds = [0.0], {"fp32": [], "bf16": []}

    def product(x, W, asked):
        assert x.dtype == W.dtype == torch.float32 and x.shape[1] == W.shape[0]
        rounds[asked].append(1)
        slowed = 1 + len(rounds[asked]) % 3  # other work on the machine, in two rounds of three
        clock[0] += slowed * {"fp32": 1.0, "bf16": 1 / gain}[asked]

    monkeypatch.setattr(precision, "encoder_product", product)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: clock[0])
    assert precision.probe() == pytest.approx(gain)
    assert len(rounds["fp32"]) == len(rounds["bf16"]) >= 3


def test_products_round_their_inputs_only_when_asked():
    a, b = (torch.randn(40, 40, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    exact = a.double() @ b.double()
    for asked, least, most in (("fp32", 0, 1e-6), ("bf16", 1e-4, 1e-2)):
        for made in (precision.product(a, b, asked), precision.encoder_product(a, b, asked)):
            error = float((made.double() - exact).norm() / exact.norm())
            assert least <= error < most
    assert precision.product(a, b, "bf16").dtype == torch.float32
    assert precision.encoder_product(a, b, "bf16").dtype == torch.bfloat16
    assert torch.equal(precision.product(a.double(), b.double(), "bf16"), exact)  # double stays double
