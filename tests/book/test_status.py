"""The state of a chapter is fresh, stale, failed or never run, with a reason; one damaged file does not stop the others."""

import json

import nbformat
import pytest

from saebook.book import budgets, status
from saebook.book.running import runner
from saebook.book.running.runner import RunRecord
from saebook.claims import provenance, results

FIGURE, PLANTED = "gated/fig05_pareto", "checks/planted"


@pytest.fixture
def built(copy):
    """Write an executed notebook that ended in a given way, with the provenance of now."""

    def write(name=FIGURE, tier="smoke", ended="ok", error=None):
        file = runner.executed(name, tier) if ended == "ok" else runner.failed(name, tier)
        file.parent.mkdir(parents=True, exist_ok=True)
        book = nbformat.read(runner.source(name), 4)
        record = RunRecord(name, tier, ended, error, 12.0, 0, {}, status.page_hashes(name, tier))
        book.metadata["replication"] = vars(record)
        nbformat.write(book, file)
        return file

    return write


def word(name, tier="smoke"):
    return status.state(name, tier).word


def test_fresh_stale_failed_and_never_run(built, copy):
    assert word(FIGURE) == status.NEVER and not status.state(FIGURE, "smoke").page
    page = built()
    built(PLANTED)
    assert word(FIGURE) == word(PLANTED) == status.FRESH and status.state(FIGURE, "smoke").file == page
    assert word(FIGURE, "cpu") == status.NEVER
    plans = copy / "saebook" / "papers" / "gated" / "plans.py"
    plans.write_text(plans.read_text() + "\nprint()\n")
    stale = status.state(FIGURE, "smoke")
    assert (stale.word, stale.why) == (status.STALE, "changed since: library")
    assert word(PLANTED) == status.FRESH


def test_failed_run_is_reported_and_the_last_good_page_stays(built):
    broken = built(ended="killed", error="the kernel died")
    failed = status.state(FIGURE, "smoke")
    assert (failed.word, failed.why) == (status.FAILED, "killed: the kernel died")
    assert (failed.file, failed.earlier, failed.record.status) == (broken, False, "killed")
    page = built()
    failed = status.state(FIGURE, "smoke")
    assert (failed.word, failed.file, failed.earlier, failed.record.status) == (status.FAILED, page, True, "killed")


def test_changed_claims_make_the_page_stale(built, copy):
    built()
    file = copy / "notebooks" / f"{FIGURE}.yml"
    file.write_text(file.read_text().replace("band: [0.35, 0.65]", "band: [0.4, 0.6]"))
    assert status.state(FIGURE, "smoke").why == "changed since: claims"


def test_recorded_result_is_used_without_a_live_page(copy):
    budget = budgets.resolve(FIGURE, "cpu")
    kept = {
        "notebook": FIGURE, "tier": "cpu", "parameters": budget.plain(), "findings": {}, "live": {}, "date": "2030-01-02",
        "device": "a machine", "seconds": 5.0, "hashes": provenance.parts(FIGURE, budget),
    }  # fmt: skip
    file = results.file(FIGURE, "cpu")
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(kept))
    state = status.state(FIGURE, "cpu")
    assert (state.word, state.page) == (status.FRESH, False) and "2030-01-02 on a machine" in state.why
    lock = copy / "requirements.lock"
    lock.write_text(lock.read_text() + "\n")
    assert status.state(FIGURE, "cpu").why.startswith("changed since: lock; recorded")
    file.write_text("{")
    state = status.state(FIGURE, "cpu")
    assert state.word == status.NEVER and "is damaged" in state.why


def test_chapter_without_a_budget_at_a_tier_is_not_an_error():
    state = status.state("gated/fig04_jumprelu", "overnight")
    assert (state.word, state.why) == (status.NEVER, "tier overnight has no budget for it")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'{"metadata": {"replication": {"na', b"[]"])
def test_damaged_page_is_run_again(built, content):
    page = built()
    page.write_bytes(content)
    state = status.state(FIGURE, "smoke")
    assert state.word == status.NEVER and not state.page and "its executed notebook is damaged" in state.why


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b'{"cells": [{"cell_ty'])
def test_damaged_notebook_fails_and_the_others_run(built, copy, content):
    built()
    built(PLANTED)
    (copy / "notebooks" / f"{FIGURE}.ipynb").write_bytes(content)
    by_name = {state.name: state for state in status.states("smoke")}
    assert by_name[FIGURE].word == status.FAILED and "not a readable notebook" in by_name[FIGURE].why
    assert by_name[FIGURE].why.isprintable() and by_name[PLANTED].word == status.FRESH
