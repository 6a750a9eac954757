"""The browser's data: the sample of the largest tier, safe inside a page, and small."""

import json
import random

import pytest
from book.site.latents.conftest import BRIEF, LINE, LINES, RESULT, SAES, TOKENS

from saebook.book.site.latents import browser, payload
from saebook.common.errors import UserError

MOST_BYTES = 3_000_000


def test_largest_tier_is_shown_and_this_copy_s_own_where_it_is_as_large(put):
    assert payload.sample("smoke") is None
    put("smoke", "live")
    assert payload.sample("smoke").where == "live" and payload.sample("cpu") is None
    put("cpu")
    assert (payload.sample("smoke").result["tier"], payload.sample("smoke").where) == ("cpu", "recorded")
    put("cpu", "live")
    assert payload.sample("cpu").where == "live"
    put("overnight")
    assert payload.sample("cpu").result["tier"] == "overnight"


def test_script_gets_the_lines_as_they_are(put):
    put()
    text = payload.as_script(payload.sample("smoke"))
    assert "<" not in text and "\n" not in text
    data = json.loads(text)
    assert data["tokens"] == TOKENS and data["saes"] == SAES and data["window"] == 4
    assert [len(data[name]) for name in ("shown", "neighbours")] == [2, 3]
    assert data["shown"][0] == [LINE[name] for name in payload.COLUMNS]


def test_script_reads_the_columns_in_the_same_order():
    from saebook.common import paths

    script = (paths.root() / "book" / "assets" / "features.js").read_text("utf-8")
    listed = script.partition("const columns = [")[2].partition("]")[0]
    assert tuple(json.loads(f"[{listed}]")) == payload.COLUMNS


@pytest.mark.parametrize("damage", [{"density": "x"}, {"top": None}])
def test_damaged_lines_are_one_line(put, damage):
    file = put()
    lines = file.with_suffix(".csv").read_text()
    column = next(iter(damage))
    broken = lines.replace("0.012345", "x") if damage[column] else lines.replace(",top,", ",other,")
    file.with_suffix(".csv").write_text(broken)
    with pytest.raises(UserError, match="are damaged"):
        payload.sample("smoke")


def test_a_page_of_four_hundred_latents_is_below_three_megabytes(put):
    """As many lines as the chapter asks for, from SAEs denser than any in the book, on as much text."""
    rng = random.Random(0)

    def context():
        on = " ".join(f"{offset} {rng.randint(1, 99)}" for offset in sorted(rng.sample(range(64), 16)))
        return f"{rng.randint(0, 515)} {rng.randint(0, 64)} 42 {on}"

    def band():
        return "|".join(context() for _ in range(5))

    effects = " ".join(f"{rng.randint(0, 9999)}:-0.123" for _ in range(8))
    near = " ".join(f"2:{rng.randint(0, 9999)}:-123" for _ in range(3))
    full = {
        "histogram": " ".join("12345" for _ in range(24)), "raised": effects, "lowered": effects, "other_seed": near,
        "other_kind": near, "own": near,
    }  # fmt: skip
    lines = [
        LINE | full | {"sae": i, "latent": k, "top": band(), "middle": band(), "random": band()}
        for i in range(2)
        for k in range(200)
    ]
    briefs = [BRIEF | {"top": context()} for _ in range(3600)]
    text = [" ".join(str(rng.randint(0, 9999)) for _ in range(128)) for _ in range(516)]
    long = RESULT["findings"] | {"text": text, "tokens": [" token"] * 10_000}
    put(result=RESULT | {"findings": long}, lines=lines + briefs)
    size = len(browser.page("smoke").encode())
    assert 500_000 < size < MOST_BYTES, size


def test_lines_are_those_of_the_made_up_sample():
    assert {line["sae"] for line in LINES} == set(range(len(SAES)))
