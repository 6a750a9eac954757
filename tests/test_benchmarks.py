"""The benchmarks' own parts: planted data at the sparsity that it promises, and workers that answer, fail and go on."""

import importlib
import sys

import pytest
import torch

from saebook.common import paths

BENCHMARKS = paths.root() / "benchmarks"
SHAPE = {"d_in": 64, "d_sae": 512, "k": 8, "batch": 64, "seed": 0, "lr": 1e-6, "penalty": 1.0}


@pytest.fixture(scope="module", autouse=True)
def path():
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


def module(name):
    return importlib.import_module(name)


@pytest.mark.parametrize("kind", ["relu", "gated", "topk"])
def test_planted_saes_are_as_sparse_as_asked_and_stay_so(kind):
    training = module("libraries.ours").Training({"kind": kind, **SHAPE})
    training.run(4)
    report = training.report()
    assert report["l0"] == pytest.approx(SHAPE["k"], rel=0.05)
    assert report["dead"] == pytest.approx(0.1 if kind == "topk" else 0.0, abs=0.01)


def test_planted_data_is_a_function_of_its_seed():
    start = module("planted").start
    one, again, other = (start("relu", 16, 64, 4, 32, seed) for seed in (0, 0, 1))
    assert torch.equal(one.x, again.x) and not torch.equal(one.x, other.x)
    torch.testing.assert_close(one.W_dec.norm(dim=1), torch.ones(64))


def test_worker_times_reports_fails_and_goes_on(tmp_path):
    coordinator = module("coordinator")
    with coordinator.workers([coordinator.BY_LABEL["saebook"]], 1, tmp_path) as (started, reasons):
        assert not reasons
        timed = coordinator.compare(started, {"task": "Training", "kind": "relu", **SHAPE}, 2, 0.01)["saebook"]
        assert len(timed.seconds) == 2 and timed.median > 0 and timed.report["memory"] > 0 and not timed.failed
        broken = coordinator.compare(started, {"task": "Training", "kind": "nonsense", **SHAPE}, 2, 0.01)["saebook"]
        assert "nonsense" in broken.failed and not broken.seconds
        assert coordinator.compare(started, {"task": "Training", "kind": "relu", **SHAPE}, 1, 0.01)["saebook"].seconds


def test_library_that_cannot_be_imported_or_installed_gives_a_reason(tmp_path, monkeypatch):
    coordinator, environments = module("coordinator"), module("environments")
    absent = coordinator.Setting("absent", "no_such_library")
    monkeypatch.setattr(environments, "pins", lambda: {"none": {"install": ["no-such-package==9"]}})
    monkeypatch.setattr(
        environments, "_run", lambda command: (_ for _ in ()).throw(environments.NotInstalled("pip says no"))
    )
    settings = [absent, coordinator.Setting("unavailable", "saelens", "none")]
    with coordinator.workers(settings, 1, tmp_path) as (started, reasons):
        assert not started
    assert "ModuleNotFoundError" in reasons["absent"] and "pip says no" in reasons["unavailable"]


def test_ratios_are_of_times_in_the_same_round():
    coordinator = module("coordinator")
    timed = {
        "saebook": coordinator.Timed([1.0, 2.0, 4.0]),
        "other": coordinator.Timed([3.0, 8.0, 8.0]),
        "failed": coordinator.Timed(),
    }
    assert coordinator.ratios(timed, "other") == {"ratio": 3.0, "ratio_low": 2.0, "ratio_high": 4.0}
    assert coordinator.ratios(timed, "failed")["ratio"] is None


def test_every_other_library_has_an_environment_with_exact_pins():
    coordinator, environments = module("coordinator"), module("environments")
    assert {s.home for s in coordinator.SETTINGS if s.home} == set(environments.pins())
    for made in environments.pins().values():
        assert all("==" in pin for pin in made["install"])
    with pytest.raises(SystemExit):
        module("run").main(["no-such-section"])
