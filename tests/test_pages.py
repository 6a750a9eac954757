"""Generated fragments: every number comes from a record, and what is missing is said to be missing."""

import json
from html.parser import HTMLParser

import pandas as pd
import pytest

from saebook.book import pages
from saebook.book.status import State
from saebook.claims.ledger import Claim

RECIPE = {
    "recipe": {"layers": 2, "d_model": 32, "context": 16, "vocabulary": 300, "tokens": 3000},
    "parameters": 12345, "train_tokens_unique": 2000, "seconds": 120, "hardware": "a processor, 2 threads",
    "corpus_hash": "c0ffee", "curve": [[100 * i, 7.0 - i / 10, 7.25 - i / 10] for i in range(1, 12)],
}  # fmt: skip
EVIDENCE = {
    "held_out_loss": 3.6084, "hf_loss": 3.60841, "bits_per_byte": 1.4498, "unigram": 6.7743, "bigram": 4.6826,
    "fivegram": 3.9403, "held_out_tokens": 112768, "samples": [{"prompt": "Returns a <b>", "text": " list | of `names`"}],
}  # fmt: skip
HALF = Claim(
    "gated.a", where="abstract", claim="Half <as> many.", kind="value", source="s", quantity="L0 ratio",
    live="gated.fig05_pareto:ratio", paper_value=0.5, band=(0.35, 0.65), precision='"half"', confirmed=False,
)  # fmt: skip
CLOSED = Claim("topk.b", where="Figure 1", claim="Closed.", kind="value", source="s", not_comparable="GPT-4 is closed")
LATER = Claim("e2e.c", where="Figure 2", claim="Later.", kind="direction", source="s", quantity="q", live="e2e.n:k")


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
        "notebook": "gated.fig05_pareto", "tier": "cpu", "date": "2030-01-02", "device": "a processor", "parameters": {},
        "findings": {}, "live": {"ratio": {"mean": 0.523, "low": 0.371, "high": 0.639, "n": 3}}, "trained_runs": 24,
        "seconds": 61.4, "peak_memory_mb": 812,
    }  # fmt: skip
    (results / "fig05_pareto.json").write_text(json.dumps(result))
    monkeypatch.setattr(pages.ledger, "load", lambda prefix="": [HALF, CLOSED, LATER])
    monkeypatch.setattr(pages.results, "stale", lambda result: [])
    (tmp_path / "data" / "choices.yml").write_text("[]")
    grid = [
        {
            "method": method, "lr": lr, "seed": seed, "sparsity": 1 / l0, "l0": l0 * factor, "loss_recovered": quality,
        }
        for method in ("gated", "relu")
        for lr, factor in ((1e-3, 2.0), (1e-2, 1.0), (4e-2, 0.5))
        for seed in (101, 102)
        for l0, quality in ((10, 0.8), (40, 0.9), (90, 0.95))
    ]  # fmt: skip
    pd.DataFrame(grid).to_csv(results / "tuning_fig05_pareto.csv", index=False)
    tuned = {"parameters": {}, "date": "d", "findings": {"chosen": {"gated": 4e-2, "relu": 4e-2}}}
    (results / "tuning_fig05_pareto.json").write_text(json.dumps(tuned))
    return tmp_path


def rows(markdown: str) -> list[list[str]]:
    """The cells of every table row, headers and rules included."""
    return [[c.strip() for c in line.strip("|\n").split(" | ")] for line in markdown.splitlines() if line[:1] == "|"]


STATES = [
    State("gated/fig05_pareto", "cpu", "fresh", "", 61.4, True),
    State("gated/b", "cpu", "failed", "failed: ValueError: a | b", 2.4, True),
    State("gated/c", "cpu", "never run", "", None, False),
]


def test_every_fragment_is_written(home, tmp_path):
    staging = tmp_path / "staging"
    pages.generate(staging, "cpu", STATES)
    made = {f.name: f.read_text("utf-8") for f in (staging / "book" / "_generated").iterdir()}
    assert set(made) == {"counts.md", "ledger.html", "subject.md", "tuning.md", "choices.md", "status.md"}
    assert all(text.endswith("\n") and "nan" not in text.lower().split() for text in made.values())


class Ledger(HTMLParser):
    """The rows of the ledger's table: attributes, and text by column."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.links, self.column = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "tr" and "data-paper" in given:
            self.rows.append(given | {"text": {}})
        elif tag == "td":
            self.column = given["data-label"]
        elif tag == "a":
            self.links.append(given["href"])

    def handle_endtag(self, tag):
        self.column = None if tag == "td" else self.column

    def handle_data(self, data):
        if self.column:
            text = self.rows[-1]["text"]
            text[self.column] = text.get(self.column, "") + data


def ledger_of(pages_there=("gated/fig05_pareto",)):
    return Ledger(pages.ledger_table(pages.ledger.standings(), set(pages_there)))


def test_a_row_has_the_claim_the_interval_the_verdict_and_the_page(home):
    found = ledger_of()
    assert [r["data-verdict"] for r in found.rows] == ["replicates", "not comparable here", "not run yet"]
    first = found.rows[0]["text"]
    assert first["claim"].startswith("Half <as> many.") and "recalled" in first["claim"]
    assert first["here"] == "0.523 (0.371 to 0.639)L0 ratio" and first["paper"] == '0.5 (judged: 0.35 to 0.65)"half"'
    assert "cpu tier, 2030-01-02" in first["rests on"] and "a processor" in first["rests on"]
    assert found.rows[1]["text"]["here"] == "GPT-4 is closed" and "cpu tier" in found.rows[2]["text"]["rests on"]
    assert found.links == ["../notebooks/gated/fig05_pareto.html"] and ledger_of(()).links == []


def test_a_stale_result_says_so_wherever_it_stands(home, monkeypatch):
    monkeypatch.setattr(pages.results, "stale", lambda result: ["library"])
    assert "stale (library changed)" in ledger_of().rows[0]["text"]["rests on"]
    assert "**stale** (library changed)" in pages.recorded("gated/fig05_pareto")


def test_counts_are_per_paper_and_verdict(home):
    found = {row[0]: row[1:] for row in rows(pages.counts(pages.ledger.standings()))[2:]}
    assert found["replicates"] == ["1", "", ""] and found["not comparable here"] == ["", "1", ""]
    assert found["not run yet"] == ["", "", "1"] and len(found) == 6


def test_a_chapter_ends_with_what_each_tier_found_and_cost(home):
    text = pages.recorded("gated/fig05_pareto")
    assert "| L0 ratio | 0.523 (0.371 to 0.639): replicates |" in text
    assert "`saebook run gated/fig05_pareto --tier cpu` | 61 s | 812 MB | 24 | a processor | 2030-01-02 | fresh" in text
    assert "{download}`JSON <../../results/cpu/gated/fig05_pareto.json>`" in text
    assert "No result" in pages.recorded("gated/other")


def test_the_smoke_tier_judges_nothing(home):
    (home / "data" / "results" / "cpu").rename(home / "data" / "results" / "smoke")
    assert ledger_of().rows[0]["data-verdict"] == "not run yet"
    assert "No result" in pages.recorded("gated/fig05_pareto")


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
    table = rows(pages.tuning_tables())[2:]
    assert [row[0] for row in table] == ["gated"] * 3 + ["relu"] * 3
    assert [row[1] for row in table if "chosen" in row[1]] == ["0.04 **(chosen, at the end of the grid)**"] * 2
    assert [row[2] for row in table[:3]] == ["2.00", "1.00", "0.50"]
    grid = pd.read_csv(home / "data" / "results" / "cpu" / "gated" / "tuning_fig05_pareto.csv")
    grid.loc[(grid.method == "relu") & (grid.lr == 1e-3), "loss_recovered"] -= 0.5  # meets no other rate's curve
    grid.to_csv(home / "data" / "results" / "cpu" / "gated" / "tuning_fig05_pareto.csv", index=False)
    assert [row[2] for row in rows(pages.tuning_tables())[5:6]] == ["the curves do not meet"]
    bent = grid.copy()
    loosest = (bent.method == "gated") & (bent.lr == 0.01) & (bent.sparsity == bent.sparsity.min())
    bent.loc[loosest, "loss_recovered"] = 0.0  # it may use the most features, and recovers nothing
    bent.to_csv(home / "data" / "results" / "cpu" / "gated" / "tuning_fig05_pareto.csv", index=False)
    assert [row[2] for row in rows(pages.tuning_tables())[3:5]] == [
        "out: 2 SAEs broke",
        "out: a smaller rate broke some",
    ]
    grid.to_csv(home / "data" / "results" / "cpu" / "gated" / "tuning_fig05_pareto.csv", index=False)
    file = home / "data" / "results" / "cpu" / "gated" / "tuning_fig05_pareto.json"
    file.write_text(file.read_text().replace("0.04", "0.01", 1))
    marked = [row[1] for row in rows(pages.tuning_tables())[2:] if "chosen" in row[1]]
    assert marked == ["0.01 **(chosen)**", "0.04 **(chosen, at the end of the grid)**"]


def test_the_status_table_shows_how_everything_stands():
    lines = rows(pages.status(STATES))[2:]
    assert lines[0][1:4] == ["cpu", "fresh", "61"]
    assert lines[1][2:] == ["failed", "2", "failed: ValueError: a \\\\| b"]
    assert lines[2][2] == "never run" and lines[2][3] == ""


def test_what_is_missing_is_said_to_be(tmp_path, monkeypatch):
    assert "has not been trained" in pages.subject(tmp_path / "none")
    monkeypatch.setattr(pages.results, "folder", lambda tier: tmp_path / tier)
    assert "No grid has been run" in pages.tuning_tables()


def test_text_of_a_model_cannot_break_a_page():
    assert pages._safe("a `b`\n| c <script> $x$ [l](u)") == "a \\`b\\` \\| c \\<script\\> \\$x\\$ \\[l\\](u)"
