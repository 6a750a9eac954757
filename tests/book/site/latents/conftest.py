"""A made-up sample of latents, as a run leaves it: a result and one line a latent."""

import csv
import json

import pytest

from saebook.book import budgets
from saebook.book.site.latents import payload
from saebook.claims import results

TOKENS = [" the", "\n", "</script>", " cat", "é", "<!--", " "]
SAES = [
    {"method": method, "seed": seed, "sparsity": 0.5, "d_sae": 8, "l0": 2.25, "loss_recovered": 0.9, "alive": 1.0, "key": "c0ffee"}
    for seed in (0, 1)
    for method in ("gated", "relu")
]  # fmt: skip
LINE = {
    "sae": 0, "method": "gated", "seed": 0, "latent": 3, "shown": 1, "density": 0.012345, "largest": 2.5, "histogram": "5 0 1",
    "raised": "3:1.5 4:0.5", "lowered": "2:-1 0:-0.25", "top": "0 0 3 3 99 1 20|1 1 1 1 60", "middle": "", "random": "1 1 1 1 60",
    "other_seed": "2:5:875", "other_kind": "3:1:-20", "own": "0:4:100",
}  # fmt: skip
BRIEF = LINE | {
    "shown": 0,
    "top": "1 0 2 2 99",
    "middle": "",
    "random": "",
    "other_seed": "",
    "other_kind": "",
    "own": "",
}
LINES = [
    LINE, LINE | {"sae": 1, "method": "relu", "latent": 6, "top": "", "other_seed": ""}, BRIEF | {"latent": 4},
    BRIEF | {"sae": 2, "seed": 1, "latent": 5}, BRIEF | {"sae": 3, "method": "relu", "seed": 1, "latent": 1},
]  # fmt: skip
RESULT = {
    "parameters": {"subject": "tiny", "site": "resid_post", "layer": 1}, "date": "2030-01-02", "live": {},
    "findings": {"saes": SAES, "window": 4, "text": ["0 1 2 3", "3 4 5 6"], "tokens": TOKENS},
}  # fmt: skip


@pytest.fixture
def put(tmp_path, monkeypatch):
    """A function that writes a result with its lines, recorded at a tier or live, into a folder of its own."""
    (tmp_path / "_config.yml").write_text("")
    monkeypatch.setenv("SAEBOOK_HOME", str(tmp_path))
    monkeypatch.delenv("SAEBOOK_BUILD", raising=False)
    monkeypatch.setattr(results, "stale", lambda result, budget: [])
    monkeypatch.setattr(budgets, "resolve", lambda name, tier: None)

    def write(tier="cpu", where="recorded", result=RESULT, lines=LINES, name=payload.NAME):
        file = results.file(name, tier, where)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(result))
        with file.with_suffix(".csv").open("w", newline="") as out:
            table = csv.DictWriter(out, list(lines[0]))
            table.writeheader()
            table.writerows(lines)
        return file

    return write
