"""Text sources: folders, caching by content, and refusals."""

import pytest

from saebook.common.errors import UserError
from saebook.text import sources

GOOD = "This is the text of a comment that a reader would like to see in the corpus of the model."


def test_folder_is_cached_by_content(folder, tmp_path, words):
    first = sources.corpus(f"folder:{folder}")
    assert first == sources.corpus(f"folder:{folder}")
    assert len(list((tmp_path / "cache" / "text").glob("*.jsonl"))) == 1
    (folder / "3.txt").write_text(words(1000))
    changed = sources.corpus(f"folder:{folder}")
    assert changed.hash != first.hash
    assert sources.differences(first.manifest, changed.manifest) == ["3.txt: 0 documents missing, 0 new, 1 changed"]
    assert sources.differences(first.manifest, first.manifest) == []


def test_hash_is_kept_beside_the_documents(folder, monkeypatch):
    source = f"folder:{folder}"
    expected = sources.corpus(source).hash
    assert sources.corpus_hash(source) == expected == sources.manifest_hash(sources.corpus(source).manifest)
    monkeypatch.setattr(sources, "_load", None)  # the documents are not read again
    assert sources.corpus_hash(source) == expected


def test_hash_is_made_again_when_the_documents_have_changed(folder, tmp_path):
    source = f"folder:{folder}"
    expected = sources.corpus_hash(source)
    (kept,) = (tmp_path / "cache" / "text").glob("*.hash")
    for content in ("", "1 2 wrong", kept.read_text().replace(" ", "0 ", 1).replace(expected, "wrong")):
        kept.write_text(content)
        assert sources.corpus_hash(source) == expected
    (folder / "3.txt").write_text("other words than before, and more of them")
    assert sources.corpus_hash(source) == sources.corpus(source).hash != expected


@pytest.mark.parametrize("source", ["nonsense", "folder:/does/not/exist", "hub"])
def test_unknown_source_is_refused(source):
    with pytest.raises(UserError):
        sources.corpus(source)


def test_too_little_text_is_refused(tmp_path):
    (tmp_path / "one.txt").write_text(GOOD)
    with pytest.raises(UserError, match="too small"):
        sources.corpus(f"folder:{tmp_path}")


def damaged(file, how):
    content = file.read_bytes()
    half = len(content) // 2
    file.write_bytes(
        {
            "halved": content[:half],
            "cut at the end of a line": content[: content.index(b"\n", half) + 1],
            "one byte changed": content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :],
            "empty": b"",
            "not text": b"\xff\xfe" + content,
        }[how]
    )


@pytest.mark.parametrize("how", ["halved", "cut at the end of a line", "one byte changed", "empty", "not text"])
def test_damaged_cache_is_reported_and_read_again(folder, tmp_path, capsys, how):
    first = sources.corpus(f"folder:{folder}")
    (file,) = (tmp_path / "cache" / "text").glob("*.jsonl")
    damaged(file, how)
    assert sources.corpus(f"folder:{folder}") == first
    assert "is damaged; making it again" in capsys.readouterr().out
    assert sources.corpus(f"folder:{folder}") == first and not capsys.readouterr().out


def test_environment_is_read_again_when_its_extraction_changes(monkeypatch):
    before = sources._environment_key()
    assert sources._environment_key() == before
    monkeypatch.setattr(sources.fingerprint, "of", lambda *modules: "another")
    assert sources._environment_key() != before
