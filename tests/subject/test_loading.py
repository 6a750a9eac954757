"""Subjects by folder and hub name, and one clear line for all that can be wrong with them."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import torch
from subject.hub_mirror import serving

from saebook.common.errors import UserError
from saebook.subject import loading
from saebook.subject.model import Subject


@pytest.fixture
def copied(small_subject_folder, tmp_path):
    return shutil.copytree(small_subject_folder, tmp_path / "copied")


def test_damaged_weights_are_named(copied):
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"copied cannot be opened .*: copy the model there again"):
        Subject.load(str(copied))


def test_damaged_embedded_subject_is_restored_with_git(small_subject_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(loading.paths, "data", lambda: tmp_path)
    folder = shutil.copytree(small_subject_folder, tmp_path / "subjects" / "tiny")
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="git checkout -- data/subjects/tiny"):
        Subject.load("tiny")


def test_folder_without_a_tokenizer_is_refused(copied):
    for file in copied.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(UserError, match="has no tokenizer"):
        Subject.load(str(copied))


def test_tokenizer_of_another_model_is_refused(copied):
    config = json.loads((copied / "tokenizer.json").read_text())
    config["model"]["vocab"] |= {f"extra{i}": 300 + i for i in range(5)}
    (copied / "tokenizer.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="a tokenizer of 305 entries does not fit a vocabulary of 300"):
        Subject.load(str(copied))


def test_pickled_weights_are_refused_with_advice(copied):
    weights = copied / "model.safetensors"
    weights.unlink()

    class Planted:
        def __reduce__(self):
            return os.mkdir, (str(copied / "planted"),)

    torch.save({"planted": Planted()}, copied / "pytorch_model.bin")
    with pytest.raises(UserError) as raised:
        Subject.load(str(copied))
    assert "safetensors" in str(raised.value) and "weights_only=False" not in str(raised.value)
    assert not (copied / "planted").exists()


def test_model_with_code_of_its_own_is_refused(copied):
    config = json.loads((copied / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}}
    (copied / "config.json").write_text(json.dumps(config))
    (copied / "evil.py").write_text(f"open({str(copied / 'planted')!r}, 'w')")
    with pytest.raises(UserError) as raised:
        Subject.load(str(copied))
    assert "runs code of its own" in str(raised.value) and "trust_remote_code" not in str(raised.value)
    assert not (copied / "planted").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/does/not/exist", "no subject folder"),
        ("./neither", "no subject folder"),
        ("", "a subject needs a name"),
        ("~/nor/this", "no subject folder"),
        ("two words", "not a name of the model hub"),
        ("a/b/c", "not a name of the model hub"),
    ],
)
def test_names_of_nothing_are_refused(name, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words):
        Subject.load(name)


def test_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"has no config\.json"):
        Subject.load(str(tmp_path))


_LOAD = """
import sys, torch
from saebook.subject.model import Subject
from saebook.common.errors import UserError
try:
    subject = Subject.load(sys.argv[1], device="cpu")
except UserError as error:
    sys.exit(str(error))
print("loaded", subject.weights_hash, subject.loss(torch.arange(20)[None]).mean().item())
"""


def test_hub_names_work_through_the_same_call(small_subject_folder, small_subject, tmp_path):
    with serving({"someone/tiny": small_subject_folder}) as hub:
        environment = os.environ | hub.environment(tmp_path)
        run = [sys.executable, "-c", _LOAD]
        loaded = subprocess.run([*run, "someone/tiny"], env=environment, capture_output=True, text=True, timeout=240)
        absent = subprocess.run([*run, "someone/none"], env=environment, capture_output=True, text=True, timeout=240)
    assert loaded.stdout.split()[:2] == ["loaded", small_subject.weights_hash], loaded.stderr[-2000:]
    assert absent.returncode == 1 and absent.stderr.strip().startswith("subject 'someone/none'"), absent.stderr[-2000:]
    assert len(absent.stderr.strip().splitlines()) == 1, absent.stderr


def test_unreachable_hub_fails_at_once(tmp_path):
    with serving({"someone/tiny": tmp_path}) as hub:
        pass  # closed again: nothing answers there
    environment = os.environ | hub.environment(tmp_path)
    run = [sys.executable, "-c", _LOAD, "someone/tiny"]
    begun = time.monotonic()
    ended = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 1 and "the model hub cannot be reached" in ended.stderr, ended.stderr[-2000:]
    assert len(ended.stderr.strip().splitlines()) == 1 and time.monotonic() - begun < 30


def test_model_in_the_hubs_cache_opens_without_a_network(small_subject_folder, tmp_path):
    with serving({"someone/tiny": small_subject_folder}) as hub:
        environment = os.environ | hub.environment(tmp_path)
        run = [sys.executable, "-c", _LOAD, "someone/tiny"]
        online = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=240)
    offline = subprocess.run(
        run, env=environment | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, timeout=240
    )
    assert online.returncode == offline.returncode == 0 and online.stdout == offline.stdout, offline.stderr[-2000:]
