"""Budgets refuse what no run can use, in one line that names the parameter and its bound."""

import pytest

from saebook.common.errors import UserError
from saebook.common.limits import SweepBudget

GOOD = {
    "tier": "cpu", "subject": "s", "site": "mlp_out", "layer": 1, "seeds": [0, 1], "tokens": 1024, "batch": 256,
    "eval_rows": 8,
}  # fmt: skip


def test_good_budget_is_frozen_and_plain_again():
    budget = SweepBudget.checked("gated/x", GOOD)
    assert budget.seeds == (0, 1) and budget.source == "environment" and budget.context is None
    assert budget.plain() == GOOD | {"source": "environment", "context": None, "skip": 1, "block": 4096}
    with pytest.raises(Exception, match="frozen"):
        budget.layer = 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seeds": []}, "seeds must name at least one value"),
        ({"seeds": [0, 0]}, "seeds must not name a value twice"),
        ({"seeds": [0.5]}, "seeds must be a valid integer"),
        ({"seeds": "abc"}, "seeds must be a list, such as 0,1,2, not .abc."),
        ({"seeds": [10**23]}, "seeds"),
        ({"layer": -1}, "layer must be greater than or equal to 0"),
        ({"layer": "two"}, "layer must be a valid integer"),
        ({"site": "nowhere"}, "site must be 'resid_pre'"),
        ({"tokens": 0}, "tokens must be greater than 0"),
        ({"tokens": 10**21}, "tokens must be less than"),
        ({"tokens": 255}, "tokens must fill at least one batch of 256"),
        ({"tokens": True}, "tokens must be a valid integer"),
        ({"batch": 0}, "batch must be greater than 0"),
        ({"context": 1}, "context must be greater than or equal to 2"),
        ({"eval_rows": 0}, "eval_rows must be greater than 0"),
        ({"layr": 3}, "unknown parameter 'layr'"),
    ],
)
def test_bad_value_is_refused_in_one_line(change, words):
    with pytest.raises(UserError, match=words) as refused:
        SweepBudget.checked("gated/x", GOOD | change)
    assert (
        "\n" not in str(refused.value) and str(refused.value).startswith("gated/x: ") and len(str(refused.value)) < 300
    )
