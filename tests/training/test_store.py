"""Runs are whole or absent, even if writing is interrupted."""

import os
import shutil
import subprocess
import sys
import time

import pytest
import torch

from saebook.common.errors import UserError
from saebook.sae.base import Member
from saebook.sae.registry import build, names
from saebook.training import checkpoint as checkpoint_module
from saebook.training.store import Store, key_of, load_sae

CFG = {"architecture": "standard", "metadata": {"l0": 3.5}}


def tensors():
    return {"W_enc": torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).T}


def test_run_round_trips_and_is_never_overwritten(tmp_path):
    store = Store(tmp_path)
    assert not store.has("a")
    store.save("a", CFG, tensors())
    cfg, weights = store.load("a")
    assert cfg == CFG and torch.equal(weights["W_enc"], tensors()["W_enc"])
    store.save("a", {"other": 1}, tensors())
    assert store.load("a")[0] == CFG


def test_keys_do_not_depend_on_the_order_of_entries():
    assert key_of({"a": 1, "b": [1, 2]}) == key_of({"b": [1, 2], "a": 1}) != key_of({"a": 1, "b": [2, 1]})


@pytest.mark.parametrize("where", ["saebook.training.store.save_file", "saebook.training.store.json.dumps", "os.fsync"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), RuntimeError("odd")])
def test_failed_save_leaves_nothing_behind(tmp_path, monkeypatch, where, error):
    def fails(*_, **__):
        raise error

    store = Store(tmp_path / "runs")
    monkeypatch.setattr(where, fails)
    expected = UserError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected, match="full" if isinstance(error, OSError) else None):
        store.save("a", CFG, tensors())
    assert not store.has("a") and not list((tmp_path / "runs").glob("*"))


@pytest.mark.parametrize("name", ["cfg.json", "sae_weights.safetensors"])
def test_damaged_run_is_named(tmp_path, name):
    store = Store(tmp_path)
    store.save("a", CFG, tensors())
    file = tmp_path / "a" / name
    file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(UserError, match="delete that folder"):
        store.load("a")


def test_checkpoint_round_trips_and_survives_damage(tmp_path, capsys):
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


def test_interrupted_checkpoint_keeps_the_one_before(tmp_path, monkeypatch):
    checkpoint = Store(tmp_path).checkpoint("run")
    checkpoint.save({"step": 3})

    def half(state, file):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module.torch, "save", half)
        with pytest.raises(UserError, match="full"):
            checkpoint.save({"step": 4})
    assert checkpoint.load() == {"step": 3} and len(list((tmp_path / "checkpoints").glob("*"))) == 1


def test_second_process_waits_for_the_lock(tmp_path):
    script = f"import pathlib; from saebook.training.store import Store\nwith Store(pathlib.Path({str(tmp_path)!r})).lock('k'): print('in')"
    with Store(tmp_path).lock("k"):
        other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(timeout=6)
        released = time.monotonic()
    assert other.communicate(timeout=60)[0] == "in\n" and time.monotonic() - released < 60


def test_lock_file_is_removed_after_use_and_leftovers_are_cleaned(tmp_path):
    store = Store(tmp_path)
    for name in (".old.lock", ".dead.0a.aside"):
        (tmp_path / name).touch() if name.endswith("lock") else (tmp_path / name).mkdir()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "k.0a.aside").touch()
    fresh = tmp_path / ".fresh.0b.aside"
    fresh.mkdir()
    for file in (*tmp_path.glob(".*"), *(tmp_path / "checkpoints").iterdir()):
        if file != fresh:
            os.utime(file, (0, 0))
    store.save("a", CFG, tensors())
    os.utime(tmp_path / "a", (0, 0))
    with store.lock("k"):
        assert (tmp_path / ".k.lock").is_file()
    assert {file.name for file in tmp_path.iterdir()} == {"a", "checkpoints", fresh.name}
    assert not list((tmp_path / "checkpoints").iterdir())


def test_old_lock_that_is_held_is_left_alone(tmp_path):
    with Store(tmp_path).lock("held"):
        os.utime(tmp_path / ".held.lock", (0, 0))
        with Store(tmp_path).lock("other"):
            assert (tmp_path / ".held.lock").is_file()


@pytest.mark.parametrize("name", ["cfg.json", "sae_weights.safetensors"])
def test_half_made_run_folder_is_replaced(tmp_path, name):
    """A folder without one of its files is not a run: it is asked for again, and what is trained takes its place."""
    store = Store(tmp_path)
    store.save("a", CFG, tensors())
    (tmp_path / "a" / name).unlink()
    assert not store.has("a")
    with pytest.raises(UserError, match="no run a"):
        store.load("a")
    store.save("a", CFG, tensors())
    assert store.has("a") and store.load("a")[0] == CFG
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("architecture", names())
def test_load_sae_takes_the_architecture_from_the_run(tmp_path, architecture):
    stack = build(architecture, 12, 40, (Member(1, 3), Member(2, 5)))
    stack.b_dec.data += 0.5
    store = Store(tmp_path)
    store.save_sae("a", stack, 1, {"metrics": {"l0": 3.0}})
    sae = store.load_sae("a")
    assert type(sae) is type(stack) and sae.members == stack.members[1:]
    x = torch.randn(20, 12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(sae.encode(x)[0], stack.encode(x)[1])
    assert torch.equal(load_sae("a", tmp_path).W_enc, sae.W_enc)
    assert store.metadata("a")["metrics"] == {"l0": 3.0} and store.metadata("a")["architecture"] == architecture
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(UserError, match="train it first"):
        store.load_sae("a")
