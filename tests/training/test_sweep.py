"""A sweep over several sites is the sweep of each, and no text goes through the subject twice at a site."""

from dataclasses import replace

from saebook.subject.model import Subject
from saebook.training.config import Data, Method, TrainConfig
from saebook.training.store import Store
from saebook.training.sweep import across, sweep


def test_sweep_over_sites_is_the_sweep_of_each(small_subject, text_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "cache"))
    places = [small_subject.site("resid_post", 0), small_subject.site("attn_z", 0)]
    methods = [Method("relu", 16, (0.5,), TrainConfig(lr=3e-3, tokens=512, batch=128))]
    data = Data(source=f"folder:{text_folder}", eval_rows=4, block=8)
    first, again = (across(small_subject, places, lambda _: methods, [0], data, Store(tmp_path / "runs")) for _ in "ab")
    assert first.table.site.tolist() == ["resid_post", "attn_z"] and first.table.layer.tolist() == [0, 0]
    assert (first.trained, again.trained) == (2, 0) and first.table.equals(again.table)


def test_sweep_runs_on_a_control_and_is_kept_apart(small_subject, small_subject_folder, text_folder, tmp_path):
    methods = [Method("relu", 16, (0.5,), TrainConfig(lr=3e-3, tokens=512, batch=128))]
    data, store = Data(source=f"folder:{text_folder}", eval_rows=4, block=8), Store(tmp_path / "runs")
    tables = []
    for subject in (small_subject, Subject.load(f"{small_subject_folder}:random", device="cpu")):
        done = sweep(subject, subject.site("resid_post", 1), methods, [0], data, store)
        assert done.trained == 1
        tables.append(done.table)
    assert tables[0].key[0] != tables[1].key[0] and tables[1].l0[0] > 0


def test_training_text_goes_through_the_subject_once_for_all_sweeps(small_subject, text_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SAEBOOK_ACTIVATIONS_GIB", "1")
    passes, plain = [], Subject.activations_at

    def counted(self, tokens, sites, *precision):
        passes.append((len(sites), len(tokens)))
        return plain(self, tokens, sites, *precision)

    places = [small_subject.site("resid_post", 0), small_subject.site("attn_z", 2)]
    training = TrainConfig(lr=3e-3, tokens=512, batch=128)
    methods = [Method("relu", 16, (0.5,), training)]
    data = Data(source=f"folder:{text_folder}", eval_rows=4, block=8)
    monkeypatch.setattr(Subject, "activations_at", counted)
    rows = min(512, len(small_subject.rows(data.source, "train")))  # a chunk is 512 rows of 32 tokens
    store = Store(tmp_path / "runs")
    kept = across(small_subject, places, lambda _: methods, [0], data, store)
    assert sum(count for sites, count in passes if sites == 2) == rows
    del passes[:]
    others = [replace(methods[0], d_sae=24)]
    assert across(small_subject, places, lambda _: others, [0], data, store).trained == 2
    assert not [count for _, count in passes if count > data.eval_rows]
    monkeypatch.setenv("SAEBOOK_ACTIVATIONS_GIB", "0")
    again = across(small_subject, places, lambda _: methods, [0], data, Store(tmp_path / "without"))
    assert again.trained == 2 and again.table.equals(kept.table)
