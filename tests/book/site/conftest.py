"""A book of invented numbers: one claim that is judged, one that cannot be, one that is not run yet."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest

from saebook.book import budgets
from saebook.book.brought import course
from saebook.book.site import fragments
from saebook.claims import ledger, results, standings
from saebook.claims.ledger import Claim
from saebook.common import sidecar
from saebook.common.names import TIERS

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
    notebook="gated/fig05_pareto", id="gated.a", where="abstract", claim="Half <as> many.", kind="value", source="s",
    quantity="L0 ratio", live="ratio", paper_value=0.5, band=(0.35, 0.65), precision='"half"', confirmed=False,
)  # fmt: skip
CLOSED = Claim(
    notebook="",
    id="topk.b",
    where="Figure 1",
    claim="Closed.",
    kind="value",
    source="s",
    not_comparable="GPT-4 is closed",
)
LATER = Claim(
    notebook="e2e/n", id="e2e.c", where="Figure 2", claim="Later.", kind="direction", source="s", quantity="q", live="k"
)
RESULT = {
    "notebook": "gated/fig05_pareto", "tier": "cpu", "date": "2030-01-02", "device": "a <processor>", "parameters": {},
    "findings": {}, "live": {"ratio": {"mean": 0.523, "low": 0.371, "high": 0.639, "n": 3}}, "trained_runs": 24,
    "seconds": 61.4, "peak_memory_mb": 812, "commit": "c0ffee", "python": "3", "versions": {}, "subject": None,
    "corpus": None,
}  # fmt: skip


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A repository with a trained subject, one recorded result and one tuning grid, all of invented numbers."""
    (tmp_path / "_config.yml").write_text("")
    monkeypatch.setenv("SAEBOOK_HOME", str(tmp_path))
    monkeypatch.delenv("SAEBOOK_BUILD", raising=False)
    subject = tmp_path / "data" / "subjects" / fragments.SUBJECT
    subject.mkdir(parents=True)
    (subject / "RECIPE.json").write_text(json.dumps(RECIPE))
    (subject / "EVIDENCE.json").write_text(json.dumps(EVIDENCE))
    folder = tmp_path / "data" / "results" / "cpu" / "gated"
    folder.mkdir(parents=True)
    (folder / "fig05_pareto.json").write_text(json.dumps(RESULT))
    monkeypatch.setattr(course, "parts", lambda: {"course.md": "Time.\n", "course_text.md": "Text.\n"})
    monkeypatch.setattr(ledger, "load", lambda prefix="": [HALF, CLOSED, LATER])
    monkeypatch.setattr(results, "stale", lambda result, budget: [])
    monkeypatch.setattr(budgets, "plan", lambda name: SimpleNamespace(tuner=None))
    monkeypatch.setattr(
        budgets, "resolve", lambda name, tier: SimpleNamespace(plain=lambda: {"layer": 1, "seeds": [0, 1]})
    )
    monkeypatch.setattr(budgets, "budget_class", lambda name: SimpleNamespace(model_fields={"layer": 0, "seeds": 0}))
    card = sidecar.Sidecar(
        name="gated/fig05_pareto", title="T", plan="p", figure="Figure 5", differs="Size.", caveat="Luck & <all>."
    )
    monkeypatch.setattr(sidecar, "load", lambda name: card.model_copy(update={"name": name}))
    (tmp_path / "data" / "choices.yml").write_text("[]")
    grid = [
        {
            "method": method, "lr": lr, "seed": seed, "sparsity": 1 / l0, "l0": l0 * factor, "loss_recovered": quality, "alive": 1.0,
        }
        for method in ("gated", "relu")
        for lr, factor in ((1e-3, 2.0), (1e-2, 1.0), (4e-2, 0.5))
        for seed in (101, 102)
        for l0, quality in ((10, 0.8), (40, 0.9), (90, 0.95))
    ]  # fmt: skip
    pd.DataFrame(grid).to_csv(folder / "tuning_fig05_pareto.csv", index=False)
    tuned = {
        "parameters": {"eval_rows": 8},
        "date": "2030-01-01",
        "findings": {"chosen": {"gated": 4e-2, "relu": 4e-2}},
    }
    (folder / "tuning_fig05_pareto.json").write_text(json.dumps(tuned))
    return tmp_path


@pytest.fixture
def put(home):
    """Write a result: `put(tier, ratio, where)`, `where` being recorded or live."""

    def write(tier, mean, where="live", **fields):
        assert tier in TIERS
        file = results.file("gated/fig05_pareto", tier, where)
        file.parent.mkdir(parents=True, exist_ok=True)
        live = {"ratio": {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "n": 3}}
        file.write_text(json.dumps(RESULT | {"tier": tier, "live": live} | fields))

    return write


@pytest.fixture
def rows(home):
    """The standings of a book built at a tier, with what is `stale`."""
    return lambda tier="cpu", stale=(): standings.standings(budgets.resolve, tier, lambda result: tuple(stale))


@pytest.fixture
def cells():
    """The cells of every row of a Markdown table, headers and rules included."""
    return lambda markdown: [
        [cell.strip() for cell in line.strip("|\n").split(" | ")] for line in markdown.splitlines() if line[:1] == "|"
    ]
