"""The page on speed: everything on it comes from recorded benchmarks, and what is missing is said to be missing."""

import json

import pandas as pd
import pytest

from saebook.book.site import speed, targets
from saebook.common import paths
from saebook.common.errors import UserError

ABOUT = {
    "machine": "a processor", "threads": 2, "load_before": 0.1, "seconds": 61.0, "date": "2026-01-01",
    "versions": {"saelens": {"sae-lens": "6.0"}}, "did_not_run": {"sparsify bf16: step topk": "ValueError: a | b"},
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "data", lambda: tmp_path)
    (tmp_path / "benchmarks").mkdir()
    return tmp_path / "benchmarks"


def write(folder, section, rows):
    (folder / f"{section}.json").write_text(json.dumps(ABOUT))
    pd.DataFrame(rows).to_csv(folder / f"{section}.csv", index=False)


def step(kind, d_sae, setting, library, seconds, ratio, failed=""):
    return {
        "kind": kind, "d_in": 64, "d_sae": d_sae, "k": 8, "batch": 100, "threads": 2, "setting": setting, "library": library,
        "seconds": seconds, "tokens_per_second": 100 / seconds if seconds else None, "ratio": ratio, "ratio_low": ratio,
        "ratio_high": ratio, "l0": 8.1, "memory": 5e6, "failed": failed,
    }  # fmt: skip


STEPS = [
    step("relu", 512, "saebook", "ours", 1.0, 1.0),
    step("relu", 512, "saebook fp32", "ours", 0.5, 0.5),
    step("relu", 512, "SAELens", "saelens", 4.0, 4.0),
    step("relu", 512, "sparsify", "eai_sparsify", None, None, "ValueError: no"),
    step("relu", 4096, "saebook", "ours", 10.0, 1.0),
    step("relu", 4096, "saebook fp32", "ours", 11.0, 1.1),
    step("relu", 4096, "SAELens", "saelens", 15.0, 1.5),
    step("relu", 4096, "dictionary_learning", "dictlearn", 30.0, 3.0),
]
E2E = [
    {
        "batch": 256,
        "setting": "saebook",
        "seconds": 1.0,
        "ratio": 1.0,
        "ratio_low": 1.0,
        "ratio_high": 1.0,
        "memory": 4e6,
    },
    {
        "batch": 256,
        "setting": "reference path",
        "seconds": 3.5,
        "ratio": 3.5,
        "ratio_low": 3.0,
        "ratio_high": 4.0,
        "memory": 6e6,
    },
]


def test_clean_clone_has_a_page_that_says_what_is_missing(folder, tmp_path):
    made = speed.parts(tmp_path)
    assert all(text.endswith("\n") for text in made.values())
    assert "no answer yet" in made["speed_answer.md"] and "make bench" in made["speed_steps.md"]


def test_targets_hold_ours_to_the_fastest_setting_of_any_other_library(folder):
    write(folder, "steps", STEPS)
    write(folder, "e2e", E2E)
    kept = {section: targets.read(section) for section in ("steps", "e2e")}
    values = {target.what: (target.value, target.met) for target in targets.targets(kept)}
    assert values == {
        "ReLU step, least of 1 shapes": (4.0, True), "ReLU step at 64/4096": (1.5, False),
        "end-to-end step, 256 tokens": (3.5, True),
        "its memory, as a share of the reference's, 256 tokens": (pytest.approx(4 / 6), False),
    }  # fmt: skip


def test_page_shows_ratios_failures_and_the_answer(folder, tmp_path, cells):
    write(folder, "steps", STEPS)
    made = speed.parts(tmp_path)
    narrow, wide = [row for row in cells(made["speed_steps.md"]) if "/" in row[0] and row[0][0].isdigit()][:2]
    assert narrow[0] == "64/512/8/100" and narrow[2] == "100" and narrow[4] == "**4.00 (4.00 to 4.00)**"
    assert wide[4].startswith("**1.50") and wide[5].startswith("3.00")
    assert "1.5 to 4.0 times" in made["speed_answer.md"] and "1 are met" in made["speed_answer.md"]
    (met, missed) = [row for row in cells(made["speed_targets.md"]) if row[0].startswith("ReLU")]
    assert met[3] == "met" and missed[3].startswith("**missed**: the encoder's dense product")
    assert "ValueError: a \\| b" in made["speed_machine.md"] and "sae-lens 6.0" in made["speed_machine.md"]


def test_figures_have_words_for_who_cannot_see_them(folder, tmp_path):
    curve = [
        {"kind": kind, "setting": setting, "step": n, "seconds": n / 10, "normalised_mse": 1.0 - n / 10, "l0": 8.0, "dead": 0.0}
        for kind in ("relu", "gated", "topk") for setting in ("saebook", "SAELens", "SAELens bf16") for n in range(3)
    ]  # fmt: skip
    growth = [
        {"kind": kind, "varied": varied, "value": 2**n, "seconds": 1.0, "tokens_per_second": 100.0 + n}
        for kind in ("relu", "gated", "topk") for varied in ("batch", "members", "d_sae") for n in range(3)
    ]  # fmt: skip
    write(folder, "learning", curve)
    write(folder, "scaling", growth)
    made = speed.parts(tmp_path)
    assert ":alt: Held-out error" in made["speed_learning.md"] and "ReLU 0.8000 to 0.8000" in made["speed_learning.md"]
    assert "from 100 to 102" in made["speed_growth.md"]
    assert {file.name for file in tmp_path.glob("*.png")} == {"speed_learning.png", "speed_growth.png"}


def test_damaged_record_is_one_line(folder):
    (folder / "steps.json").write_text("{")
    (folder / "steps.csv").write_text("a\n1\n")
    with pytest.raises(UserError, match="restore it"):
        targets.read("steps")
