"""The ledger's table, the counts and the headlines show what the standings hold, escaped."""

import re
from dataclasses import replace
from html.parser import HTMLParser

from saebook.book.site import claim_tables
from saebook.claims import bets, ledger
from saebook.claims.reruns.controls import Control, Word
from saebook.evaluation.intervals import Interval

CHAPTERS = {"gated/fig05_pareto"}


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


def ledger_of(standings, chapters=CHAPTERS):
    return Ledger(claim_tables.table(standings, set(chapters)))


def test_row_has_claim_interval_criterion_verdict_and_page(rows):
    table = ledger_of(rows())
    assert [row["data-verdict"] for row in table.rows] == ["replicates", "not comparable here", "not run yet"]
    first = table.rows[0]["text"]
    assert first["claim"].startswith("Half <as> many.") and "recalled" in first["claim"]
    rule = (
        "holds if the whole interval is within 0.35 to 0.65, partly if it is wholly outside but below the null value 1; "
        "interval over 3 values, some of the same seed"
    )
    assert first["here"] == f"0.52 (0.37 to 0.64)L0 ratio; {rule}" and first["paper"] == '0.5 ("half")'
    assert first["verdict"] == "replicatescorrected for 1 claims: replicates"
    assert (
        first["rests on"].startswith("real language modelcpu tier, 2030-01-02") and "a <processor>" in first["rests on"]
    )
    assert table.rows[1]["text"]["here"] == "GPT-4 is closed" and "cpu tier" in table.rows[2]["text"]["rests on"]
    assert table.links == ["../notebooks/gated/fig05_pareto.html"] and ledger_of(rows(), ()).links == []


def test_stale_result_and_own_run_say_so(rows, put):
    put("cpu", 0.9)
    rests = ledger_of(rows(stale=["library"])).rows[0]["text"]["rests on"]
    assert "stale (library changed)" in rests
    assert "this copy, cpu tier: 0.90 (0.80 to 1.00), does not replicate" in rests


def test_row_says_whether_its_verdict_is_converged(rows):
    def rests_on(verdict=None, stale=()):
        first = rows()[0]
        trained = replace(first.recorded, result=first.result | {"parameters": {"tokens": 1}})
        longer = replace(trained, verdict=verdict, stale=stale) if verdict else None
        standing = replace(first, recorded=trained, longer=longer)
        return ledger_of([standing]).rows[0]["text"]["rests on"]

    assert rests_on().endswith("converged: not measured")
    assert rests_on("replicates").endswith("converged: yes")
    assert rests_on("replicates", ("library",)).endswith("converged: yes, stale")
    assert rests_on("partly").endswith("converged: no (with twice the tokens: partly)")


def test_row_says_what_its_claim_is_on_random_weights(rows):
    def rests_on(control):
        return ledger_of([replace(rows()[0], control=control)]).rows[0]["text"]["rests on"]

    value = Interval(0.97, 0.94, 1.01, 3)
    assert rests_on(Control("does not replicate", value)).endswith(
        "on random weights: 0.97 (0.94 to 1.01), does not replicate"
    )
    assert rests_on(Control("partly", value, stale=("library",))).endswith("1.01), partly, stale")
    assert rests_on(Control(Word.NOT_MEASURED)).endswith("on random weights: not measured")
    assert rests_on(Control(Word.UNDEFINED, None, "<no> value")).endswith("undefined there (<no> value)")
    assert "random weights" not in rests_on(Control(Word.NOT_APPLICABLE)) + rests_on(None)


def test_smoke_run_of_this_copy_is_left_out(rows, put):
    put("smoke", 0.9)
    assert "this copy" not in ledger_of(rows("smoke")).rows[0]["text"]["rests on"]


def test_text_of_results_is_escaped(rows):
    assert "a &lt;processor&gt;" in claim_tables.table(rows(), CHAPTERS)
    assert "<as>" not in claim_tables.table(rows(), CHAPTERS)


def test_counts_are_by_paper_grade_and_verdict_and_lead_to_their_rows(rows):
    html = claim_tables.counts(rows())
    assert 'href="ledger.html?paper=gated&amp;verdict=replicates&amp;grade=real%20language%20model">1</a>' in html
    assert 'href="ledger.html?paper=topk&amp;verdict=not%20comparable%20here">1 not comparable here</a>' in html
    assert 'href="ledger.html?paper=e2e&amp;verdict=not%20run%20yet">1 not run yet</a>' in html and "Checks" not in html
    assert html.count("no verdict") == 2


def test_counts_have_a_column_for_each_verdict_that_occurs_and_for_nothing_else(rows):
    def columns(given):
        return re.findall(r'scope="col"><span class="verdict" data-verdict="([^"]+)"', claim_tables.counts(given))

    assert columns(rows()) == ["replicates"]
    assert columns(rows()[1:]) == ["replicates", "partly", "does not replicate", "underpowered"]


def test_number_of_a_smaller_tier_is_shown_without_a_verdict(rows, monkeypatch):
    large = [claim.model_copy(update={"tier": "overnight"}) for claim in ledger.load()]
    monkeypatch.setattr(ledger, "load", lambda prefix="": large)
    (row,) = [row for row in ledger_of(rows()).rows if row["id"] == "gated.a"]
    assert row["data-verdict"] == row["text"]["verdict"] == "not judged at this tier" and row["data-grade"] == ""
    assert row["text"]["here"].startswith("0.52 (0.37 to 0.64)")
    assert row["text"]["rests on"].startswith("needs the overnight tierthe number here: cpu tier, 2030-01-02")
    assert "not%20judged%20at%20this%20tier" in claim_tables.counts(rows())


def test_time_waits_for_more_measurements(rows, monkeypatch):
    timed = [claim.model_copy(update={"timing": bool(claim.live)}) for claim in ledger.load()]
    monkeypatch.setattr(ledger, "load", lambda prefix="": timed)
    (row,) = [row for row in ledger_of(rows()).rows if row["id"] == "gated.a"]
    assert row["data-verdict"] == "reported, not judged"
    assert row["text"]["rests on"].startswith("needs 3 recorded measurements")


def test_both_readings_stand_in_the_ledger_and_changes_are_counted(rows):
    assert claim_tables.corrections(rows()) == "- Gated, cpu tier: 0 of 1 verdicts change.\n"
    moved = [replace(row, corrected="underpowered", family=35) if row.corrected else row for row in rows()]
    assert claim_tables.corrections(moved) == "- Gated, cpu tier: 1 of 1 verdicts change.\n"
    assert ledger_of(moved).rows[0]["text"]["verdict"] == "replicatescorrected for 35 claims: underpowered"
    assert claim_tables.corrections([]) == "No verdict is recorded yet.\n"


def test_smoke_tier_judges_nothing(home, rows):
    (home / "data" / "results" / "cpu").rename(home / "data" / "results" / "smoke")
    assert ledger_of(rows()).rows[0]["data-verdict"] == "not run yet"


def test_headlines_leave_out_what_is_not_judged(rows, monkeypatch):
    assert "No verdict is recorded yet" in claim_tables.headlines(rows(), CHAPTERS)
    monkeypatch.setattr(claim_tables, "HEADLINES", {"gated": ("gated.a", "gated.none"), "e2e": ("e2e.c",)})
    html = claim_tables.headlines(rows(), CHAPTERS)
    assert "Half &lt;as&gt; many." in html and "0.52 (0.37 to 0.64)" in html and "Later." not in html


def test_headline_says_what_is_needed_and_its_other_reading(rows, monkeypatch):
    monkeypatch.setattr(claim_tables, "HEADLINES", {"gated": ("gated.a",)})
    html = claim_tables.headlines(rows(), CHAPTERS)
    assert "must lie between 0.35 and 0.65; the paper: 0.5" in html and "Corrected" not in html
    assert 'href="how-it-works.html#what-a-verdict-means">replicates</a>' in html
    assert html.index('class="legend"') < html.index('class="interval"')
    moved = [replace(row, corrected="underpowered", family=35) if row.corrected else row for row in rows()]
    assert "Corrected</a> for 35 claims judged together: underpowered." in claim_tables.headlines(moved, CHAPTERS)


def test_headline_claims_are_in_the_ledger():
    known = {claim.id for claim in ledger.load()}
    assert {one for ids in claim_tables.HEADLINES.values() for one in ids} <= known


def test_page_lists_claims_with_what_they_rest_on_and_says_where_there_are_none(rows):
    text = claim_tables.bet_on(rows(), set())
    assert '">Half &lt;as&gt; many.</a>' in text and "L0 ratio: <strong>0.52 (0.37 to 0.64)</strong>" in text
    assert text.count("\n## ") == len(bets.groups(rows())) and "Nothing yet." in text


def test_line_of_the_page_says_only_what_is_not_so_everywhere(rows):
    def line(**fields):
        return claim_tables.bet_on([replace(rows()[0], **fields)], set()).partition("<li>")[2].partition("</li>")[0]

    assert "andom weights" not in line(control=Control(Word.NOT_MEASURED)) and "Corrected" not in line()
    assert " Undefined on random weights." in line(control=Control(Word.UNDEFINED, None, "<no> value"))
    value = Interval(0.97, 0.94, 1.01, 3)
    assert " On random weights: 0.97 (0.94 to 1.01), partly." in line(control=Control("partly", value))
    assert " Corrected: underpowered." in line(corrected="underpowered")
    assert '<span class="verdict"' not in line()
    both = [replace(rows()[0], verdict=verdict) for verdict in ("partly", "underpowered")]
    assert claim_tables.bet_on(both, set()).count('<span class="verdict"') == 2
