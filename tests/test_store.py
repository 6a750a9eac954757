"""Runs are whole or absent, whatever happens while they are written."""

import subprocess
import sys
import time

import pytest
import torch

from saebook.common.errors import UserError
from saebook.training import store as storing
from saebook.training.store import Store, key_of

CFG = {"architecture": "standard", "metadata": {"l0": 3.5}}


def tensors():
    return {"W_enc": torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).T}


def test_a_run_comes_back_as_it_was(tmp_path):
    store = Store(tmp_path)
    assert not store.has("a")
    store.save("a", CFG, tensors())
    cfg, weights = store.load("a")
    assert cfg == CFG and torch.equal(weights["W_enc"], tensors()["W_enc"])
    store.save("a", {"other": 1}, tensors())
    assert store.load("a")[0] == CFG


def test_keys_name_content_whatever_the_order():
    assert key_of({"a": 1, "b": [1, 2]}) == key_of({"b": [1, 2], "a": 1}) != key_of({"a": 1, "b": [2, 1]})


@pytest.mark.parametrize("where", ["save_file", "json.dumps", "os.fsync"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), RuntimeError("odd")])
def test_a_save_that_fails_leaves_nothing(tmp_path, monkeypatch, where, error):
    def fails(*_, **__):
        raise error

    store = Store(tmp_path / "runs")
    monkeypatch.setattr(f"saebook.training.store.{where}", fails)
    expected = UserError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected, match="full" if isinstance(error, OSError) else None):
        store.save("a", CFG, tensors())
    assert not store.has("a") and not list((tmp_path / "runs").glob("*"))


@pytest.mark.parametrize("name", ["cfg.json", "sae_weights.safetensors"])
def test_a_damaged_run_is_named(tmp_path, name):
    store = Store(tmp_path)
    store.save("a", CFG, tensors())
    file = tmp_path / "a" / name
    file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(UserError, match="delete that folder"):
        store.load("a")


def test_checkpoints(tmp_path, capsys):
    checkpoint = Store(tmp_path).checkpoint("run")
    assert checkpoint.load() is None
    checkpoint.save({"step": 3, "x": torch.ones(100)})
    assert checkpoint.load()["step"] == 3
    checkpoint.file.write_bytes(checkpoint.file.read_bytes()[:300])
    assert checkpoint.load() is None
    assert "damaged" in capsys.readouterr().out
    checkpoint.clear()
    checkpoint.clear()
    assert not list((tmp_path / "checkpoints").glob("*"))


def test_a_checkpoint_cut_off_keeps_the_one_before(tmp_path, monkeypatch):
    checkpoint = Store(tmp_path).checkpoint("run")
    checkpoint.save({"step": 3})

    def half(state, file):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(storing.torch, "save", half)
        with pytest.raises(UserError, match="full"):
            checkpoint.save({"step": 4})
    assert checkpoint.load() == {"step": 3} and len(list((tmp_path / "checkpoints").glob("*"))) == 1


def test_a_second_process_waits(tmp_path):
    script = f"import pathlib; from saebook.training.store import Store\nwith Store(pathlib.Path({str(tmp_path)!r})).lock('k'): print('in')"
    with Store(tmp_path).lock("k"):
        other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(timeout=6)
        released = time.monotonic()
    assert other.communicate(timeout=60)[0] == "in\n" and time.monotonic() - released < 60
