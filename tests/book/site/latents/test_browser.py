"""The feature browser reads without a script: one line a latent, escaped, with its tokens and nearest neighbours."""

import re

from book.site.latents.conftest import LINES

from saebook.book.site.latents import browser, payload


def test_table_has_a_line_for_each_shown_latent_and_escapes(put):
    put()
    html = browser.page("smoke")
    body = html.partition("<tbody>")[2].partition("</tbody>")[0]
    assert re.findall(r'<tr id="([\w-]+)"', body) == ["gated-3", "relu-6"]
    first, second = (line for line in body.splitlines() if line.startswith("<tr "))
    assert "<code>cat</code> <code>&lt;!--</code>" in first and "<code>é</code>" in first
    assert "<td>1.2 %</td>" in first and "<td>0.88</td>" in first and ">-0.02</td>" in first and ">2.5</td>" in first
    assert "<td></td>" in second and "Baseline 6" in second
    assert html.count("<script") == html.count("</script>") == 1 and "\n\n" not in html
    assert "Recorded, cpu tier, 2030-01-02. tiny, resid_post, layer 1." in html


def test_without_a_sample_the_page_says_how_to_make_one(put):
    assert "beyond/features" in browser.page("smoke")


def test_tokens_at_peaks_are_named_once_from_the_strongest_on(put):
    put(lines=[LINES[0] | {"top": "0 0 3 3 99|1 0 0 0 50|0 1 0 1 20"}])
    of = payload.sample("smoke")
    assert browser.peaks(of, of.shown[0]) == [" cat", "\n"]


def test_tokens_are_made_visible():
    assert browser.visible(" cat") == "cat" and browser.visible("\n\n") == "↵↵" and browser.visible("  ") == "␣␣"
    assert (
        browser.percent(0.00012345) == "0.012 %"
        and browser.nearest("") == ""
        and browser.nearest("2:5:875 2:6:1") == "0.88"
    )
