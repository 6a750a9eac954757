"""Activations on disk: equal to a plain pass of the subject, computed once, shared, extended, and never trusted blindly."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from saebook.common.errors import UserError
from saebook.training import activation_store
from saebook.training.activation_store import SiteActivations, collect, limit, make


@pytest.fixture(autouse=True)
def small_store(own_cache, monkeypatch):
    monkeypatch.setattr(activation_store, "_CHUNK", 8 * 32)
    monkeypatch.setattr(activation_store, "_PASS", {"cpu": 3 * 32})


@pytest.fixture
def site(small_subject):
    return small_subject.site("resid_post", 1)


@pytest.fixture
def passes(small_subject, monkeypatch):
    """The sites [..] and rows of text of each pass of the subject."""
    seen, plain = [], type(small_subject).activations_at

    def counted(self, tokens, sites, *rest):
        seen.append(([site.hook_name for site in sites], len(tokens)))
        return plain(self, tokens, sites, *rest)

    monkeypatch.setattr(type(small_subject), "activations_at", counted)
    return seen


def test_chunks_equal_a_plain_pass_of_the_subject(small_subject, site, rows):
    place = SiteActivations(small_subject, site, rows)
    assert (place.rows_each, place.count) == (8, 6) and place.rows_in(5) == 2
    collect([place], range(6))
    tokens = torch.cat([place.tokens(chunk) for chunk in range(6)])
    assert sorted(map(tuple, tokens.tolist())) == sorted(map(tuple, rows.tolist()))  # every row once
    assert not torch.equal(tokens, torch.from_numpy(rows.astype(np.int64)))
    kept = torch.cat([place.read(chunk) for chunk in range(6)])
    assert kept.dtype == torch.float32
    assert torch.allclose(kept, small_subject.activations(tokens, site), atol=1e-5)


def test_nothing_is_computed_twice_and_a_longer_run_extends_what_is_there(small_subject, site, rows, passes):
    collect([SiteActivations(small_subject, site, rows)], range(2))
    first = sum(n for _, n in passes)
    collect([SiteActivations(small_subject, site, rows)], range(2))
    assert first == 16 == sum(n for _, n in passes)
    collect([SiteActivations(small_subject, site, rows)], range(6))
    assert sum(n for _, n in passes) == 42


def test_several_sites_share_one_pass_and_equal_a_pass_of_each(small_subject, rows, passes, monkeypatch, tmp_path):
    sites = [small_subject.site("resid_post", 1), small_subject.site("mlp_post", 0), small_subject.site("attn_z", 2)]
    places = [SiteActivations(small_subject, site, rows) for site in sites]
    collect([places[0]], range(1))
    del passes[:]
    collect(places, range(6))
    assert passes[0][0] == [site.hook_name for site in sites[1:]]  # of the first chunk only those two are missing
    assert sum(n for _, n in passes) == 42 and {len(names) for names, _ in passes[3:]} == {3}
    together = [place.read(3) for place in places]
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "apart"))
    for site, x in zip(sites, together, strict=True):
        alone = SiteActivations(small_subject, site, rows)
        collect([alone], range(6))
        assert torch.equal(alone.read(3), x)


def test_key_covers_subject_text_site_precision_and_machine(small_subject, site, rows, monkeypatch):
    def key(at=site, text=rows, **options):
        return SiteActivations(small_subject, at, text, **options).key

    keys = {key(), key(small_subject.site("resid_pre", 1)), key(text=rows[:-1]), key(precision="bf16")}
    changed = rows.copy()
    changed[7, 3] += 1
    keys |= {key(text=changed), key(text=rows.reshape(-1, 16)), key(text=rows.astype(np.int32))}
    with monkeypatch.context() as patch:
        patch.setattr(small_subject, "weights_hash", "other")
        keys.add(key())
    with monkeypatch.context() as patch:
        patch.setattr(activation_store.hardware, "device", lambda _: "another processor, 7 threads")
        keys.add(key())
    with monkeypatch.context() as patch:
        patch.setattr(activation_store.fingerprint, "of", lambda *_: "other source")
        keys.add(key())
    assert len(keys) == 10 and key() in keys


def test_damaged_chunk_is_computed_again(small_subject, site, rows, passes, tmp_path, capsys):
    place = SiteActivations(small_subject, site, rows)
    collect([place], range(6))
    before = place.read(2)
    file = tmp_path / "activations" / place.key / "records.f32"
    content = bytearray(file.read_bytes())
    content[place.first_row(2) * 32 * 4 + 1000] ^= 64
    file.write_bytes(content)
    del passes[:]
    again = SiteActivations(small_subject, site, rows)
    collect([again], range(6))
    assert sum(n for _, n in passes) == 8 and torch.equal(again.read(2), before)
    assert "damaged" in capsys.readouterr().err


@pytest.mark.parametrize("gib", ["0", "0.00005"])  # nothing, and room for one chunk of 33 kB
def test_what_the_store_does_not_take_is_handed_back(small_subject, site, rows, monkeypatch, tmp_path, gib):
    whole = SiteActivations(small_subject, site, rows)
    collect([whole], range(6))
    expected = [whole.read(chunk) for chunk in range(6)]
    monkeypatch.setenv("SAEBOOK_ACTIVATIONS_GIB", gib)
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "limited"))
    place = SiteActivations(small_subject, site, rows)
    handed = [make([place], chunk)[0] for chunk in range(6)]
    kept = [place.has(chunk) for chunk in range(6)]
    assert kept == [gib != "0", False, False, False, False, False]
    for chunk, x in enumerate(handed):
        assert (x is None) == kept[chunk]
        assert torch.equal(place.read(chunk) if x is None else x, expected[chunk])


def test_collecting_ends_where_there_is_no_room(small_subject, site, rows, monkeypatch, passes):
    monkeypatch.setenv("SAEBOOK_ACTIVATIONS_GIB", "0.00005")  # room for one chunk of 33 kB
    collect([SiteActivations(small_subject, site, rows)], range(6))
    assert sum(n for _, n in passes) == 16  # the one that is kept, and the one that showed that there is no room
    collect([], range(6))


def test_interrupt_leaves_whole_chunks_and_the_next_call_goes_on(small_subject, site, rows, passes, monkeypatch):
    plain = type(small_subject).activations_at

    def stops(self, tokens, sites, *rest):
        if len(passes) == 7:  # three passes a chunk: in the middle of the third
            raise KeyboardInterrupt
        return plain(self, tokens, sites, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(small_subject), "activations_at", stops)
        collect([SiteActivations(small_subject, site, rows)], range(6))
    place = SiteActivations(small_subject, site, rows)
    assert [place.has(chunk) for chunk in range(6)] == [True, True, False, False, False, False]
    del passes[:]
    collect([place], range(6))
    assert sum(n for _, n in passes) == 42 - 16


_COLLECT = """
import sys, numpy as np, torch
from saebook.subject.model import Subject
from saebook.training import activation_store
activation_store._CHUNK, activation_store._PASS = 8 * 32, {"cpu": 3 * 32}
torch.set_num_threads(1)
subject = Subject.load(sys.argv[1], device="cpu")
plain, count = Subject.activations_at, 0
def counted(self, tokens, *rest):
    global count
    count += len(tokens)
    return plain(self, tokens, *rest)
Subject.activations_at = counted
rows = np.random.default_rng(0).integers(0, 300, (42, 32)).astype(np.uint16)
names = [["resid_post", 0], ["resid_post", 1]][:: int(sys.argv[2])]
places = [activation_store.SiteActivations(subject, subject.site(*name), rows) for name in names]
print("ready", flush=True)
sys.stdin.readline()
activation_store.collect(places, range(6))
print(count, all(place.has(chunk) for place in places for chunk in range(6)))
"""


def test_processes_share_the_work(small_subject_folder):
    """Two processes that name their sites in opposite orders compute every chunk once between them."""
    commands = [[sys.executable, "-c", _COLLECT, str(small_subject_folder), order] for order in ("1", "-1")]
    processes = [subprocess.Popen(c, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for c in commands]
    assert all(process.stdout.readline() == "ready\n" for process in processes)
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    counts = [process.communicate(timeout=120)[0].split() for process in processes]
    assert sum(int(count) for count, _ in counts) == 42 and {whole for _, whole in counts} == {"True"}


def test_limit_is_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("SAEBOOK_ACTIVATIONS_GIB", "0.5")
    assert limit() == 2**29
    monkeypatch.delenv("SAEBOOK_ACTIVATIONS_GIB")
    assert limit() == 8 * 2**30
    for nonsense in ("-1", "much", "nan", "inf"):
        monkeypatch.setenv("SAEBOOK_ACTIVATIONS_GIB", nonsense)
        with pytest.raises(UserError, match="must be a number of GiB"):
            limit()
