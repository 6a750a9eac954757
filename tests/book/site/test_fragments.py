"""Generated parts of prose pages: every number comes from a record, and what is missing is said to be missing."""

import json

import pytest

from saebook.book.site import fragments
from saebook.book.status import State
from saebook.common.errors import UserError

STATES = [
    State("gated/fig05_pareto", "cpu", "fresh", "", 61.4),
    State("gated/b", "cpu", "failed", "failed: ValueError: a | <b>", 2.4),
    State("gated/c", "cpu", "never run", "", None),
]


def test_every_part_is_written(home, tmp_path, rows):
    staging = tmp_path / "staging"
    fragments.generate(staging, STATES, rows())
    made = {f.name: f.read_text("utf-8") for f in (staging / "book" / "_generated").iterdir()}
    assert set(made) == {
        "counts.html", "headlines.html", "ledger.html", "subject.md", "tuning.md", "choices.md", "settings.md", "status.html",
            "packaged_subject.md", "verdicts.md", "corrections.md", "bets.md", "forest.html", "course.md", "features.html",
            "rating_key.md", "course_text.md", "subject_family.md", "deeper_subject.md",
        *(f"speed_{part}.md" for part in (
            "answer", "targets", "steps", "sweep", "e2e", "evaluation", "learning", "growth", "floor", "machine",
        )),
    }  # fmt: skip
    assert all(text.endswith("\n") and "nan" not in text.lower().split() for text in made.values())
    assert not any("\n\n" in made[name] for name in made if name.endswith(".html"))


def test_subject_page_has_its_losses_and_its_last_point(home, cells):
    text = fragments.subject(home / "data" / "subjects" / fragments.SUBJECT)
    losses = {row[0]: row[1] for row in cells(text)}
    assert losses["unigram"] == "6.7743" and losses["**the subject**"] == "3.6084"
    assert "12,345 parameters" in text and "1.450 bits per byte" in text and "112,768 tokens" in text
    assert losses["1,100"] == "6.150" and "100" in losses
    assert "Returns a" in text and "names" in text


def test_subject_of_a_mixture_is_shown_on_each_text_beside_another(home, cells):
    folder = home / "data" / "subjects" / fragments.SUBJECT
    seen = json.loads((folder / "EVIDENCE.json").read_text())
    assert "bits per byte of validation text" not in fragments.subject(folder)
    seen |= {"own": "other", "texts": {"sotu": {"bits_per_byte": 1.25, "own_bits_per_byte": 2.5}}}
    (folder / "EVIDENCE.json").write_text(json.dumps(seen))
    text = fragments.subject(folder)
    assert ["bits per byte of validation text", "presidents' messages"] in cells(text)
    assert ["the subject", "1.250"] in cells(text) and ["`other`", "2.500"] in cells(text)


def test_subject_without_evidence_says_so_and_a_damaged_record_is_one_line(home):
    folder = home / "data" / "subjects" / fragments.SUBJECT
    (folder / "EVIDENCE.json").unlink()
    assert "have not been compared" in fragments.subject(folder)
    (folder / "RECIPE.json").write_text("{")
    with pytest.raises(UserError, match="restore RECIPE"):
        fragments.subject(folder)
    (folder / "RECIPE.json").write_text(json.dumps({"recipe": {}}))
    with pytest.raises(UserError, match="restore RECIPE"):
        fragments.subject(folder)
    assert "has not been trained" in fragments.subject(home / "none")


def test_family_has_a_line_for_each_size_and_says_what_is_missing(home, cells):
    folder = home / "data" / "subjects" / fragments.SUBJECT
    trained, missing = (row for row in cells(fragments.family([folder, home / "none"])) if row[0].startswith("`"))
    assert trained == [f"`{fragments.SUBJECT}`", "32", "12,345", "3.608", "1.450"]
    assert missing[:2] == ["`none`", "not trained in this copy"]
    (folder / "EVIDENCE.json").write_text("{}")
    with pytest.raises(UserError, match="restore RECIPE"):
        fragments.family([folder])


def test_packaged_subject_stands_beside_other_models_or_says_that_it_was_not_measured(home):
    folder = home / "data" / "subjects" / "tiny"
    assert "`saebook subject evidence tiny`" in fragments.packaged_subject(folder)
    folder.mkdir()
    bits = {f"{name}bits_per_byte": 1.25 for name in ("", "unigram_", "bigram_", "fivegram_", "own_")}
    text = bits | {
        "bits_per_byte": 1.0625,
        "tokens": 65536,
        "loss": 3.5,
        "loss_by_position": [8.5, 5.25],
        "loss_after_left_out": 3.25,
    }
    seen = {
        "package": "tiny-model 1.0", "layers": 3, "d_model": 16, "vocabulary": 49152, "parameters": 134_515_008,
        "leave_out": 8, "own": "prose-4l128", "texts": {"sotu": text, "environment": text | {"bits_per_byte": 1.125}},
    }  # fmt: skip
    (folder / "EVIDENCE.json").write_text(json.dumps(seen))
    shown = fragments.packaged_subject(folder)
    assert "tiny-model 1.0: 3 layers of width 16, a vocabulary of 49,152 and 135 million parameters" in shown
    assert "| **`tiny`** | 1.062 | 1.125 |" in shown and "| 5-gram, Kneser-Ney | 1.250 | 1.250 |" in shown
    assert "8.50 for what follows position 0 of a row, 5.25 after position 1, and 3.25 from position 8 on" in shown
    (folder / "EVIDENCE.json").write_text(json.dumps({"texts": 3}))
    with pytest.raises(UserError, match="is damaged: restore it from git"):
        fragments.packaged_subject(folder)


def test_status_table_shows_every_state_and_escapes():
    html = fragments.status_table(STATES)
    assert "<td>fresh</td><td>61</td>" in html and "<td>never run</td><td></td>" in html
    assert "<td>failed: ValueError: a | &lt;b&gt;</td>" in html and html.count("<tr>") == 4
    again = {"twice the tokens": "fresh", "random weights": "fresh, undefined: <no> value"}
    html = fragments.status_table([State("gated/d", "cpu", "fresh", "", 1.0, reruns=again)])
    assert html.index("twice the tokens</th>") < html.index("random weights</th>")
    assert "<td>fresh</td><td>fresh, undefined: &lt;no&gt; value</td></tr>" in html
