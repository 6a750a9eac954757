"""The corpus: what is cut out of source files, what is kept, that it is the same again."""

import subprocess
import sys

import numpy as np
import pytest

from saebook.common.errors import UserError
from saebook.common.files import made_once
from saebook.text import prose, sources, tokens
from saebook.text.prose import Document

GOOD = "This is the text of a comment that a reader would like to see in the corpus of the model."
OTHER = "Another sentence that is long enough for the filter, and it has the words of a language in it."


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "cache"))


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
    found = " ".join(" ".join(prose.paragraphs(code, ".py")).split())
    assert found.replace(" ", "") == GOOD.replace(" ", "")


def test_code_and_short_strings_are_not_prose():
    assert prose.paragraphs(f"x = '{GOOD}'", ".py") == []
    assert prose.paragraphs(f'"""{GOOD}', ".py") == []  # never closed
    assert prose.paragraphs('"""\n>>> ' + GOOD + '\n"""', ".py") == []


def test_a_quote_in_a_comment_does_not_swallow_the_rest():
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
def test_what_is_not_english_is_dropped(text):
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


def words(seed, count=60):
    rng = np.random.default_rng(seed)
    return " ".join("".join(rng.choice(list("aeioustrn"), 5)) for _ in range(count))


def test_near_duplicates_of_training_text_leave_the_held_out_part():
    paths = [f"p/{i}.txt" for i in range(400)]
    out = [p for p in paths if prose.validation(p)]
    assert 1 <= len(out) <= 20
    kept_in = next(p for p in paths if not prose.validation(p))
    shared, own = words(1), words(2)
    nearly = " ".join([*shared.split()[:50], "but", "here", "it", "ends"])
    train, rest = prose.split([Document(kept_in, shared), Document(out[0], f"{nearly}\n\n{own}")])
    assert [d.text for d in train] == [shared]
    assert [d.text for d in rest] == [own]


def test_the_split_does_not_depend_on_what_else_is_there():
    assert [prose.validation(f"p/{i}.txt") for i in range(300)] == [prose.validation(f"p/{i}.txt") for i in range(300)]
    share = np.mean([prose.validation(f"q/{i}") for i in range(5000)])
    assert share == pytest.approx(prose.HELD_OUT_PERCENT / 100, abs=0.006)


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "texts"
    home.mkdir()
    for number in range(160):
        (home / f"{number}.txt").write_text(words(number))
    return home


def test_a_folder_is_a_source_and_is_cached_by_content(folder, tmp_path):
    first = sources.corpus(f"folder:{folder}")
    assert first == sources.corpus(f"folder:{folder}")
    assert len(list((tmp_path / "cache" / "text").glob("*.jsonl"))) == 1
    (folder / "3.txt").write_text(words(1000))
    changed = sources.corpus(f"folder:{folder}")
    assert changed.hash != first.hash
    assert sources.differences(first.manifest, changed.manifest) == ["3.txt: 0 documents missing, 0 new, 1 changed"]
    assert sources.differences(first.manifest, first.manifest) == []


@pytest.mark.parametrize("source", ["nonsense", "folder:/does/not/exist", "hub"])
def test_a_source_that_is_none_is_refused(source):
    with pytest.raises(UserError):
        sources.corpus(source)


def test_too_little_text_is_refused(tmp_path):
    (tmp_path / "one.txt").write_text(GOOD)
    with pytest.raises(UserError, match="too small"):
        sources.corpus(f"folder:{tmp_path}")


def test_rows_hold_every_token_in_order_and_decode_back(folder, tmp_path):
    text = sources.corpus(f"folder:{folder}")
    tokenizer = tokens.train_tokenizer(text.train, 400, tmp_path / "tokenizer")
    rows = tokens.tokens(f"folder:{folder}", tokenizer, "train", 16)
    assert rows.dtype == np.uint16 and rows.shape[1] == 16 and isinstance(rows, np.memmap)
    whole = tokens.END.join(d.text for d in text.train) + tokens.END
    assert whole.startswith(tokenizer.decode(rows.reshape(-1).tolist()))
    assert np.array_equal(rows, tokens.tokens(f"folder:{folder}", tokenizer, "train", 16))
    held = tokens.tokens(f"folder:{folder}", tokenizer, "validation", 16)
    assert tokenizer.decode(held[0].tolist()) in tokens.END.join(d.text for d in text.validation) + tokens.END


def test_of_two_that_want_a_file_one_makes_it(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from saebook.text.cached import made_once\n"
        "with made_once(Path(sys.argv[1]) / 'sub' / 'made.txt') as aside:\n"
        "    if aside:\n"
        "        time.sleep(0.5); aside.write_text(sys.argv[2]); print('made it')"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), word], stdout=subprocess.PIPE, text=True)
        for word in ("one", "two")
    ]
    said = [process.communicate()[0] for process in both]
    assert sorted(said) == ["", "made it\n"] and [process.returncode for process in both] == [0, 0]
    (made,) = (file for file in (tmp_path / "sub").iterdir() if not file.name.endswith(".lock"))
    assert made.read_text() == ["one", "two"][said.index("made it\n")]


def test_a_file_whose_making_failed_is_not_there(tmp_path):
    with pytest.raises(OSError, match="full"), made_once(tmp_path / "made.txt") as aside:
        aside.write_text("half")
        raise OSError("disk full")
    assert not [file for file in tmp_path.iterdir() if "made.txt" in file.name and not file.name.endswith(".lock")]
    with made_once(tmp_path / "made.txt") as aside:
        aside.write_text("whole")
    with made_once(tmp_path / "made.txt") as aside:
        assert aside is None
