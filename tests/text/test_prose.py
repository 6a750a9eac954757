"""Prose is cut out of source files, filtered, deduplicated and split, the same way every time."""

import numpy as np
import pytest

from saebook.text import prose
from saebook.text.prose import Document

GOOD = "This is the text of a comment that a reader would like to see in the corpus of the model."
OTHER = "Another sentence that is long enough for the filter, and it has the words of a language in it."


@pytest.mark.parametrize(
    "code",
    [
        f'"""{GOOD}"""',
        f"'''{GOOD}'''",
        f"# {GOOD}",
        f"x = 'a # no comment'  # {GOOD}",
        f'# it\'s "odd\ny = 1\n"""{GOOD}"""',
        f"x = 'it\\'s \\\"'  # {GOOD}",
        f'x = "\\\\"\n"""{GOOD}"""',
        f"#: {GOOD}",
        f'r"""{GOOD}"""',
        f'def f():\n    """\n    {GOOD[:40]}\n    {GOOD[40:].strip()}\n    """',
        f"# {GOOD[:40]}\n# {GOOD[40:].strip()}",
    ],
)
def test_docstrings_and_comments_are_cut_out(code):
    cut_out = " ".join(" ".join(prose.paragraphs(code, ".py")).split())
    assert cut_out.replace(" ", "") == GOOD.replace(" ", "")


def test_code_and_short_strings_are_not_prose():
    assert prose.paragraphs(f"x = '{GOOD}'", ".py") == []
    assert prose.paragraphs(f'"""{GOOD}', ".py") == []  # never closed
    assert prose.paragraphs('"""\n>>> ' + GOOD + '\n"""', ".py") == []


def test_quote_in_a_comment_does_not_open_a_string():
    code = f"# don't worry\nx = 1\n# {GOOD}\n'''{OTHER}'''"
    assert prose.paragraphs(code, ".py") == [GOOD, OTHER]


@pytest.mark.parametrize(
    "text",
    [
        "too short to keep",
        "a_b c_d " * 20,
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
        "alpha beta gamma " * 8,
    ],
)
def test_text_that_is_not_english_is_dropped(text):
    assert not prose.english(text)


def test_repeats_are_kept_once_and_workers_do_not_matter(tmp_path):
    files = []
    for number, body in enumerate([GOOD, OTHER, GOOD.upper(), f"{OTHER}\n\n{GOOD} Again, and with more of it."]):
        file = tmp_path / f"{number}.md"
        file.write_text(body)
        files.append((f"p/{number}.md", str(file)))
    one, two = prose.read_documents(files, 1), prose.read_documents(files, 2)
    assert one == two
    assert [d.path for d in one] == ["p/0.md", "p/1.md", "p/3.md"]
    assert one[2].text == f"{GOOD} Again, and with more of it."


def test_near_duplicates_of_training_text_leave_the_validation_part(words):
    paths = [f"p/{i}.txt" for i in range(400)]
    out = [p for p in paths if prose.validation(p)]
    assert 1 <= len(out) <= 20
    kept_in = next(p for p in paths if not prose.validation(p))
    shared, own = words(1), words(2)
    nearly = " ".join([*shared.split()[:50], "but", "here", "it", "ends"])
    train, rest = prose.split([Document(kept_in, shared), Document(out[0], f"{nearly}\n\n{own}")])
    assert [d.text for d in train] == [shared]
    assert [d.text for d in rest] == [own]


def test_split_depends_on_the_path_alone():
    assert [prose.validation(f"p/{i}.txt") for i in range(300)] == [prose.validation(f"p/{i}.txt") for i in range(300)]
    share = np.mean([prose.validation(f"q/{i}") for i in range(5000)])
    assert share == pytest.approx(prose.HELD_OUT_PERCENT / 100, abs=0.006)
