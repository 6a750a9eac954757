"""Generated fragments: every number comes from a record, and what is missing is said to be missing."""

import json

import pandas as pd
import pytest

from saebook import pages

RECIPE = {
    "recipe": {"layers": 2, "d_model": 32, "context": 16, "vocabulary": 300, "tokens": 3000},
    "parameters": 12345, "train_tokens_unique": 2000, "seconds": 120, "hardware": "a processor, 2 threads",
    "corpus_hash": "c0ffee", "curve": [[100 * i, 7.0 - i / 10, 7.25 - i / 10] for i in range(1, 12)],
}  # fmt: skip
EVIDENCE = {
    "held_out_loss": 3.6084, "hf_loss": 3.60841, "bits_per_byte": 1.4498, "unigram": 6.7743, "bigram": 4.6826,
    "fivegram": 3.9403, "held_out_tokens": 112768, "samples": [{"prompt": "Returns a <b>", "text": " list | of `names`"}],
}  # fmt: skip
VERDICT = {
    "id": "gated.fig05.x", "claim": "Gated needs fewer.", "quantity": "L0 ratio", "paper": "below 1", "ours": 0.523,
    "low": 0.371, "high": 0.739, "verdict": "replicates",
}  # fmt: skip


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A repository with a trained subject, one result and one tuning grid, all of invented numbers."""
    (tmp_path / "_config.yml").write_text("")
    monkeypatch.setenv("SAEBOOK_HOME", str(tmp_path))
    subject = tmp_path / "data" / "subjects" / pages.SUBJECT
    subject.mkdir(parents=True)
    (subject / "RECIPE.json").write_text(json.dumps(RECIPE))
    (subject / "EVIDENCE.json").write_text(json.dumps(EVIDENCE))
    results = tmp_path / "data" / "results" / "cpu" / "gated"
    results.mkdir(parents=True)
    result = {
        "notebook": "gated.fig05_pareto", "tier": "cpu", "date": "2030-01-02", "findings": {"verdicts": [VERDICT]}
    }  # fmt: skip
    (results / "fig05_pareto.json").write_text(json.dumps(result))
    grid = [
        {
            "method": method, "lr": lr, "seed": seed, "l0": l0 * factor, "loss_recovered": quality,
        }
        for method in ("gated", "relu")
        for lr, factor in ((1e-3, 2.0), (1e-2, 1.0), (4e-2, 0.5))
        for seed in (101, 102)
        for l0, quality in ((10, 0.8), (40, 0.9), (90, 0.95))
    ]  # fmt: skip
    pd.DataFrame(grid).to_csv(results / "tuning_fig05_pareto.csv", index=False)
    tuned = {"notebook": "gated.tuning_fig05_pareto", "findings": {"chosen": {"gated": 4e-2, "relu": 4e-2}}}
    (results / "tuning_fig05_pareto.json").write_text(json.dumps(tuned))
    return tmp_path


def rows(markdown: str) -> list[list[str]]:
    """The cells of every table row, headers and rules included."""
    return [[c.strip() for c in line.strip("|\n").split(" | ")] for line in markdown.splitlines() if line[:1] == "|"]


def test_every_fragment_is_written(home, tmp_path):
    records = [{"name": "gated/fig05_pareto", "status": "ok", "seconds": 61.4, "error": None}]
    staging = tmp_path / "staging"
    pages.generate(staging, "cpu", records)
    made = {f.name: f.read_text("utf-8") for f in (staging / "book" / "_generated").iterdir()}
    assert set(made) == {"verdicts.md", "subject.md", "tuning.md", "status.md"}
    assert all(text.endswith("\n") and "nan" not in text.lower().split() for text in made.values())


def test_a_verdict_row_has_the_claim_the_interval_and_the_page(home):
    (row,) = rows(pages.verdicts())[2:]
    assert row[:5] == ["Gated needs fewer.", "**replicates**", "0.52 (0.37 to 0.74)", "below 1", "L0 ratio"]
    assert "../notebooks/gated/fig05_pareto.ipynb" in row[5] and "cpu" in row[5] and "2030-01-02" in row[5]


def test_a_value_that_does_not_exist_is_not_a_number(home):
    file = home / "data" / "results" / "cpu" / "gated" / "fig05_pareto.json"
    result = json.loads(file.read_text())
    result["findings"]["verdicts"] = [VERDICT | {"low": None, "high": None}]
    file.write_text(json.dumps(result))
    assert "0.52 (none to none)" in pages.verdicts()


def test_the_smoke_tier_judges_nothing(home):
    (home / "data" / "results" / "cpu").rename(home / "data" / "results" / "smoke")
    assert "No claim has been judged" in pages.verdicts()


def test_the_subjects_page_has_its_losses_and_its_last_point(home):
    text = pages.subject(home / "data" / "subjects" / pages.SUBJECT)
    losses = {row[0]: row[1] for row in rows(text)}
    assert losses["unigram"] == "6.7743" and losses["**the subject**"] == "3.6084"
    assert "12,345 parameters" in text and "1.450 bits per byte" in text and "112,768 tokens" in text
    assert losses["1,100"] == "6.150" and "100" in losses
    assert "Returns a" in text and "names" in text


def test_a_subject_without_evidence_says_so(home):
    folder = home / "data" / "subjects" / pages.SUBJECT
    (folder / "EVIDENCE.json").unlink()
    assert "have not been measured yet" in pages.subject(folder)


def test_the_tuning_table_marks_one_winner_per_kind(home):
    table = rows(pages.tuning_table())[2:]
    assert [row[0] for row in table] == ["gated"] * 3 + ["relu"] * 3
    assert [row[1] for row in table if "chosen" in row[1]] == ["0.04 **(chosen)**"] * 2
    assert [row[2] for row in table[:3]] == ["2.00", "1.00", "0.50"]


def test_the_status_table_shows_what_failed_and_what_never_ran():
    records = [
        {"name": "gated/a", "status": "failed", "seconds": 2.4, "error": "ValueError: a\nb"},
        {"name": "gated/b", "status": "never run", "seconds": None, "error": None},
    ]
    first, second = rows(pages.status(records, "gpu"))[2:]
    assert first[1:] == ["gpu", "failed", "2", "ValueError: a b"]
    assert second[2] == "never run" and second[3] == ""
