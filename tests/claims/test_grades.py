"""What a verdict rests on is read from the run that judged, or said by the chapter where no subject decides."""

import pytest

from saebook.claims import grades, ledger, results
from saebook.claims.grades import Grade
from saebook.common import sidecar
from saebook.common.limits import SubjectBudget
from saebook.common.names import TIERS


@pytest.fixture
def claim():
    return next(one for one in ledger.load() if one.notebook == "gated/fig05_pareto")


def test_subject_decides(claim):
    def grade(tier, subject):
        return grades.grade(claim, {"tier": tier, "parameters": {"subject": subject}})

    assert grade("cpu", "prose-4l128") is grade("gpu", "prose-4l128") is Grade.EMBEDDED
    assert grade("overnight", "smollm2-135m") is grade("gpu", "smollm2-135m") is Grade.REAL
    assert grade("paper", "gpt2") is Grade.PAPERS
    for tier, subject in (("cpu", "prose-4l128"), ("overnight", "smollm2-135m"), ("paper", "gpt2")):
        assert grade(tier, f"{subject}:random") is Grade.CONTROL
    assert Grade.CONTROL == "random weights (control)"


def test_chapter_says_so_where_no_subject_decides():
    rows = {claim.id: claim for claim in ledger.load()}
    result = {"tier": "cpu", "parameters": {}}
    assert grades.grade(rows["gated.fig16.routes"], result) is Grade.IDENTITY
    assert grades.grade(rows["gated.fig12.published_sites"], result) is Grade.PUBLISHED


def test_every_recorded_verdict_has_a_subject_or_a_chapter_that_says_what_it_rests_on():
    from saebook.book import budgets

    for name in sidecar.names():
        if not ledger.judged_by(name):
            continue
        for tier in TIERS:
            if results.read(name, tier):
                reads_a_model = issubclass(budgets.budget_class(name), SubjectBudget)
                assert reads_a_model or sidecar.load(name).rests_on, name
