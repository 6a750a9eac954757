"""A sweep over several sites is the sweep of each."""

from saebook.training.config import Data, Method, TrainConfig
from saebook.training.store import Store
from saebook.training.sweep import across


def test_sweep_over_sites_is_the_sweep_of_each(small_subject, text_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "cache"))
    places = [small_subject.site("resid_post", 0), small_subject.site("attn_z", 0)]
    methods = [Method("relu", 16, (0.5,), TrainConfig(lr=3e-3, tokens=512, batch=128))]
    data = Data(source=f"folder:{text_folder}", eval_rows=4, block=8)
    first, again = (across(small_subject, places, lambda _: methods, [0], data, Store(tmp_path / "runs")) for _ in "ab")
    assert first.table.site.tolist() == ["resid_post", "attn_z"] and first.table.layer.tolist() == [0, 0]
    assert (first.trained, again.trained) == (2, 0) and first.table.equals(again.table)
