"""A short fine-tune of stored SAEs: from where they stopped, on the text that follows, balanced, stored and resumed."""

import pytest
import torch

from saebook.common.errors import UserError
from saebook.papers.e2e.variants import finetune
from saebook.training.config import Data, Method, Objective, TrainConfig
from saebook.training.loop import TrainState
from saebook.training.objectives import Reference, RowBuffer, pull
from saebook.training.store import Store
from saebook.training.sweep import sweep

HOW = finetune.Finetune(tokens=256, lr=3e-3, batch=64, begun=512)


@pytest.fixture
def trained(small_subject, text_folder, tmp_path, monkeypatch):
    """Local SAEs of two sparsities and two seeds in a store, their table, and what they were trained on."""
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "cache"))
    data, store = Data(source=f"folder:{text_folder}", eval_rows=8, skip=0), Store(tmp_path / "runs")
    training = TrainConfig(lr=3e-3, tokens=512, batch=64, beta1=0.9, resample_at=())
    method = Method("normalised_relu", 48, (0.5, 2.0), training, name="local", objective=finetune.LOCAL)
    site = small_subject.site("resid_pre", 1)
    return sweep(small_subject, site, [method], [0, 1], data, store).table, small_subject, site, data, store


def test_runs_are_trained_on_once_measured_and_kept(trained):
    table, subject, site, data, store = trained
    first = finetune.finetuned(table, subject, site, data, HOW, store)
    again = finetune.finetuned(table, subject, site, data, HOW, store)
    assert (first.trained, again.trained) == (8, 0) and first.table.equals(again.table)
    assert set(first.table.columns) == set(table.columns) and not set(first.table.key) & set(table.key)
    assert first.table.groupby("method").size().to_dict() == {finetune.FINETUNED: 4, finetune.CONTINUED: 4}
    assert first.table.groupby("method").sparsity.unique().map(sorted).tolist() == [[0.5, 2.0]] * 2
    other = finetune.Finetune(tokens=128, lr=3e-3, batch=64, begun=512)
    assert finetune.finetuned(table[:1], subject, site, data, other, store).trained == 2


def test_it_goes_on_where_the_sae_stopped_on_the_text_that_follows(trained):
    table, subject, site, data, store = trained
    run = table[table.seed == 1][:1]
    done = finetune.finetuned(run, subject, site, data, HOW, store).table.set_index("method")
    rows = RowBuffer(subject, site, subject.rows(data.source, "train", data.context), 64, seed=1)
    texts = list(rows.batches(8, 12))  # the sweep took the eight before
    objective = finetune.balanced(store.load_sae(run.key.iloc[0]), texts[0])
    for kind, wanted in ((finetune.CONTINUED, finetune.LOCAL), (finetune.FINETUNED, objective)):
        twin = TrainState(store.load_sae(run.key.iloc[0]), HOW.training(), wanted)
        for step, text in enumerate(texts):
            twin.step(text, step)
        kept = store.load_sae(done.key[kind])
        for name in ("W_enc", "b_enc", "b_dec"):
            assert torch.equal(kept.get_parameter(name), twin.stack.get_parameter(name)), (kind, name)
        assert not torch.equal(kept.b_dec, store.load_sae(run.key.iloc[0]).b_dec)


def test_divergence_and_error_weigh_the_same_on_the_first_batch(trained):
    table, subject, site, data, store = trained
    text = Reference(subject, torch.arange(64).view(2, 32), site)
    sae = store.load_sae(table.key[0])
    balanced = finetune.balanced(sae, text)
    terms, _ = pull(sae.reconstruct(text.x).detach(), text, balanced)
    mse, _ = pull(sae.reconstruct(text.x).detach(), text, Objective(reconstruction=1.0))
    assert float(terms["kl"][0]) == pytest.approx(float(terms["reconstruction"][0]), rel=1e-5)
    assert float(terms["reconstruction"][0]) == pytest.approx(float(mse["reconstruction"][0]) / 2, rel=1e-6)
    done = finetune.finetuned(table[:1], subject, site, data, HOW, store).table
    (weight,) = finetune.weights(done[done.method == finetune.FINETUNED], store)
    assert weight > 0


def test_killed_fine_tune_ends_at_the_same_numbers(trained, tmp_path, monkeypatch):
    table, subject, site, data, store = trained
    plain, killed = finetune.LaterText.batches, []

    def stops(self, start, steps):
        for number, text in enumerate(plain(self, start, steps)):
            if number == 2 and not killed:
                killed.append(True)
                raise KeyboardInterrupt
            yield text

    monkeypatch.setattr(finetune.LaterText, "batches", stops)
    with pytest.raises(KeyboardInterrupt):
        finetune.finetuned(table[:1], subject, site, data, HOW, store)
    resumed = finetune.finetuned(table[:1], subject, site, data, HOW, store)
    monkeypatch.setattr(finetune.LaterText, "batches", plain)
    for key in resumed.table.key:
        for file in (store.root / key).iterdir():
            file.unlink()
    undisturbed = finetune.finetuned(table[:1], subject, site, data, HOW, store)
    assert killed and undisturbed.trained == 2 and undisturbed.table.equals(resumed.table)


def test_rate_falls_linearly_to_zero():
    training = HOW.training()
    assert [training.rate(step) / HOW.lr for step in range(training.steps)] == pytest.approx([1.0, 0.75, 0.5, 0.25])


def test_runs_that_are_not_in_the_store_are_refused(trained, tmp_path):
    table, subject, site, data, _ = trained
    with pytest.raises(UserError, match="train it first"):
        finetune.finetuned(table, subject, site, data, HOW, Store(tmp_path / "empty"))
