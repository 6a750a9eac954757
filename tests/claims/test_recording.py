"""Recording copies whole live results, refuses what is not the tier's own, and says what changed."""

import json

import pytest

from saebook.claims import ledger, recording, results
from saebook.claims.ledger import Claim
from saebook.common.errors import UserError
from saebook.common.limits import Budget

NAME = "gated/note"
COMMON = {"notebook": NAME, "where": "w", "claim": "c.", "source": "s", "quantity": "q"}
CLAIMS = [
    Claim(id="gated.a", kind="value", band=(0.35, 0.65), live="ratio", **COMMON),
    Claim(id="gated.t", kind="value", band=(0.05, 0.15), live="overhead", timing=True, **COMMON),
]


class Seeds(Budget):
    seeds: tuple[int, ...] = (0, 1)


def budget_of(name, tier):
    return Seeds(tier=tier)


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "_config.yml").write_text("")
    monkeypatch.setenv("SAEBOOK_HOME", str(tmp_path))
    monkeypatch.setattr(ledger, "load", lambda prefix="": CLAIMS)
    monkeypatch.setattr(results.provenance, "parts", lambda *_: {"library": "1"})
    return tmp_path


@pytest.fixture
def run(home):
    """Write a live result as a run would."""

    def run(ratio=0.5, overhead=0.1, points="l0\n1\n", name=NAME, **others):
        live = {
            "ratio": {"mean": ratio, "low": ratio - 0.1, "high": ratio + 0.1, "n": 3},
            "overhead": {"mean": overhead, "low": overhead, "high": overhead, "n": 3},
        }
        kept = {
            "notebook": name, "tier": "cpu", "parameters": budget_of(name, "cpu").plain(), "live": live, "findings": {},
            "date": "2030-01-02", "commit": "a", "device": "a machine", "seconds": 5.0, "peak_memory_mb": 1,
            "trained_runs": 0, "hashes": {"library": "1"},
        } | others  # fmt: skip
        file = results.file(name, "cpu", "live")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(kept))
        file.with_suffix(".csv").write_text(points)
        file.with_suffix(".png").write_bytes(b"png")

    return run


def record(*names):
    return [change.lines for change in recording.record("cpu", names or (NAME,), budget_of)]


def recorded():
    return results.read(NAME, "cpu")


def test_first_recording_copies_all_three_files(run, home):
    run()
    assert record() == [("recorded for the first time",)]
    assert sorted(f.name for f in results.folder("cpu").glob("gated/*")) == ["note.csv", "note.json", "note.png"]
    assert recorded()["timings"] == {"overhead": [0.1]} and recorded()["live"]["ratio"]["mean"] == 0.5


def test_equal_values_keep_the_old_file_whatever_the_date(run):
    run()
    record()
    before = results.file(NAME, "cpu").read_bytes()
    run(date="2031-01-01", commit="b", seconds=9.0)
    assert record() == [("unchanged",)] and results.file(NAME, "cpu").read_bytes() == before
    run(date="2031-01-01", hashes={"library": "0"})
    (lines,) = record()
    assert lines == (
        "CSV equal", "overhead: 1 measurements recorded, a verdict needs 3", "hashes changed: library",
        "already stale: library changed since it was made",
    )  # fmt: skip
    assert recorded()["date"] == "2031-01-01"


def test_changed_verdicts_and_numbers_are_listed(run):
    run()
    record()
    run(ratio=1.2, points="l0\n2\n")
    (lines,) = record()
    assert lines[:3] == ("CSV differs", "gated.a: replicates -> does not replicate", "live quantities changed: ratio")


def test_every_measurement_of_a_time_is_kept_and_three_judge(run):
    for number, overhead in enumerate((0.1, 0.101, 0.099), 1):
        run(overhead=overhead)
        (lines,) = record()
        assert len(recorded()["timings"]["overhead"]) == number
    assert recorded()["timings"]["overhead"] == [0.1, 0.101, 0.099]
    assert "gated.t: reported, not judged -> replicates" in lines
    assert record() == [("unchanged",)]  # the same run again is not another measurement
    for number, other in enumerate(({"device": "another machine"}, {"hashes": {"library": "2"}}), 2):
        run(overhead=number / 10, **other)
        record()
        assert recorded()["timings"]["overhead"] == [number / 10]


def test_time_recorded_before_measurements_were_kept_counts_as_one(run):
    run(overhead=0.1)
    record()
    file = results.file(NAME, "cpu")
    old = json.loads(file.read_text())
    del old["timings"]
    file.write_text(json.dumps(old))
    run(overhead=0.11)
    record()
    assert recorded()["timings"]["overhead"] == [0.1, 0.11]


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"parameters": {"tier": "cpu", "seeds": [0]}}, "other parameters than tier cpu has now"),
        ({"live": {"ratio": {"mean": 1, "low": 0, "high": 2, "n": 3}}}, "lacks overhead"),
        ({"date": 3}, "is damaged"),
    ],
)
def test_result_that_is_not_whole_is_refused_and_nothing_is_written(run, home, monkeypatch, others, words):
    run()
    run(name="gated/other", **others)
    both = [*CLAIMS, *(c.model_copy(update={"notebook": "gated/other"}) for c in CLAIMS)]
    monkeypatch.setattr(ledger, "load", lambda prefix="": both)
    with pytest.raises(UserError, match=words):
        record(NAME, "gated/other")
    assert not (home / "data").exists()


def test_smoke_and_what_was_never_run_are_refused(run, home):
    with pytest.raises(UserError, match="smoke results check the plumbing"):
        recording.record("smoke", [NAME], budget_of)
    with pytest.raises(UserError, match="no live result at tier cpu: run `saebook run gated/note --tier cpu` first"):
        record()
    run()
    results.file(NAME, "cpu", "live").with_suffix(".csv").unlink()
    with pytest.raises(UserError, match="has no CSV beside it"):
        record()
    assert not (home / "data").exists()
