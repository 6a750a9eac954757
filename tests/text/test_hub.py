"""The model hub's text: counted, shuffled, resumed by position, bounded on disk, and held out by document."""

import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from subject.hub_mirror import serving

from saebook.common.errors import UserError
from saebook.text import hub, tokens

FILES, DOCUMENTS = 4, 150  # a data set of so many files of so many documents each


@pytest.fixture(scope="module")
def tokenizer(small_documents, tmp_path_factory):
    return tokens.train_tokenizer(small_documents, 300, tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def data_set(tmp_path):
    """A folder of parquet files, whose documents name their file and their number in it."""
    home = tmp_path / "set"
    (home / "data").mkdir(parents=True)
    for file in range(FILES):
        texts = [f"file {file} number {number} of the stream" for number in range(DOCUMENTS)]
        texts[7] = " "  # a document without text counts as a place and gives no token
        table = pyarrow.table({"text": texts, "other": [0] * DOCUMENTS})
        pyarrow.parquet.write_table(table, home / "data" / f"train-{file:05d}-of-{FILES:05d}.parquet")
    return home


@pytest.fixture
def streamed(data_set, monkeypatch):
    """The data set under any name; the places of the documents that were read, in order."""
    import datasets

    real, read = datasets.load_dataset, []
    files = sorted(map(str, (data_set / "data").iterdir()))
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *_, **__: real("parquet", data_files=files, split="train", streaming=True)
    )
    monkeypatch.setattr(hub, "_commit", lambda name: "0" * 40)
    monkeypatch.setattr(hub, "BLOCK", 32)
    documents = hub._documents

    def noted(*arguments):
        for one in documents(*arguments):
            read.append(one[2])
            yield one

    monkeypatch.setattr(hub, "_documents", noted)
    return read


def words(rows, tokenizer):
    """The documents of packed rows, in order."""
    text = tokenizer.decode(np.asarray(rows).flatten().tolist())
    return [one for one in text.split(tokens.END) if one]


def bytes_below(folder):
    return sum(file.stat().st_size for file in folder.rglob("*.bin"))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("hub:a/b", hub.HubSource("a/b")),
        ("hub:gpt", hub.HubSource("gpt")),
        ("hub:a/b/c@test#story:410M", hub.HubSource("a/b", "c", "test", "story", 410_000_000)),
        ("hub:a/b:6400M", hub.HubSource("a/b", tokens=6_400_000_000)),
        ("hub:a/b#story:2G", hub.HubSource("a/b", column="story", tokens=2 * 10**9)),
        ("hub:a/b:12", hub.HubSource("a/b", tokens=12)),
    ],
)
def test_source_is_read_part_by_part(source, expected):
    assert hub.parsed(source) == expected


@pytest.mark.parametrize("source", ["hub:", "hub:a/b:", "hub:a/b:many", "hub:a//b", "hub:a/b/c/d", "hub:a/b:0", "a/b"])
def test_source_that_is_not_understood_is_refused_in_a_line(source):
    with pytest.raises(UserError) as refused:
        hub.parsed(source)
    assert "\n" not in str(refused.value) and source in str(refused.value)


def test_training_tokens_are_counted_and_disk_is_bounded(streamed, tokenizer, tmp_path):
    rows = hub.tokens("hub:a/b:5K", tokenizer, "train", 20)
    assert rows.size == 5000 and rows.dtype == np.uint16
    assert bytes_below(tmp_path / "cache") <= hub.disk("hub:a/b:5K") == 20_000
    assert len(streamed) < FILES * DOCUMENTS  # what is not needed is not read
    before = len(streamed)
    assert np.array_equal(rows, hub.tokens("hub:a/b:5K", tokenizer, "train", 20))
    other = hub.tokens("hub:a/b:5K", tokenizer, "train", 50)
    assert np.array_equal(other.flatten(), rows.flatten()) and len(streamed) == before  # the same tokens in longer rows


def test_order_is_shuffled_across_files_and_documents(streamed, tokenizer):
    hub.tokens("hub:a/b:1M", tokenizer, "train", 20)
    files = [int(place.split("/")[-2]) for place in streamed]
    assert [file for file, _ in itertools.groupby(files)] != list(range(FILES)) and set(files) == set(range(FILES))
    got = words(hub.tokens("hub:a/b:1M", tokenizer, "train", 1), tokenizer)
    numbers = [tuple(int(part) for part in one.split() if part.isdigit()) for one in got]
    steps = [after - before for (a, before), (b, after) in itertools.pairwise(numbers) if a == b]
    assert np.mean(np.array(steps) == 1) < 0.2  # in the files, every step is one
    assert len(set(numbers)) == len(numbers)


def test_every_document_is_for_training_or_held_out(streamed, tokenizer, capsys):
    parts = {
        split: words(hub.tokens("hub:a/b:1M", tokenizer, split, 1), tokenizer) for split in ("train", "validation")
    }
    assert "all of a/b is" in capsys.readouterr().out
    expected = [f"file {file} number {n} of the stream" for file in range(FILES) for n in range(DOCUMENTS) if n != 7]
    assert sorted(parts["train"] + parts["validation"]) == sorted(expected)
    assert 0 < len(parts["validation"]) < 0.1 * len(parts["train"])


def test_killed_run_goes_on_at_its_position(streamed, tokenizer, tmp_path, monkeypatch):
    whole = {split: np.array(hub.tokens("hub:a/b:9K", tokenizer, split, 1)) for split in ("train", "validation")}
    every, append, calls = list(streamed), hub._Stream._append, itertools.count(1)
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "other"))

    def killed(self, block, here):
        if next(calls) == 6:
            with open(self.file("train"), "ab") as out:  # half a block, of which no position tells
                out.write(b"\1\2\3")
            raise KeyboardInterrupt
        return append(self, block, here)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(hub._Stream, "_append", killed)
        hub.tokens("hub:a/b:9K", tokenizer, "train", 1)
    streamed.clear()
    for split, expected in whole.items():
        assert np.array_equal(hub.tokens("hub:a/b:9K", tokenizer, split, 1), expected)
    assert len(streamed) < len(every) - 5 * 32 + 5 and streamed == every[-len(streamed) :]


@pytest.mark.parametrize("how", ["other bytes", "cut off", "no position"])
def test_damaged_tokens_are_read_again(streamed, tokenizer, tmp_path, capsys, how):
    first = np.array(hub.tokens("hub:a/b:5K", tokenizer, "train", 20))
    (file,) = (tmp_path / "cache").rglob("train.bin")
    if how == "other bytes":
        file.write_bytes(bytes(10_000))
    elif how == "cut off":
        file.write_bytes(file.read_bytes()[:100])
    else:
        file.with_name("position.json").write_text("{")
    assert np.array_equal(hub.tokens("hub:a/b:5K", tokenizer, "train", 20), first)
    assert "is damaged; reading a/b again" in capsys.readouterr().out


def test_full_disk_is_refused_before_anything_is_read(streamed, tokenizer):
    with pytest.raises(UserError, match=r"need 1.* GB of disk"):
        hub.tokens("hub:a/b:999999G", tokenizer, "train", 20)
    assert streamed == []


def test_hash_names_data_set_commit_and_amount(monkeypatch):
    monkeypatch.setattr(hub, "_commit", lambda name: "0" * 40)
    one = hub.corpus_hash("hub:a/b:5M")
    assert one == hub.corpus_hash("hub:a/b@train#text:5M")
    assert len({one, hub.corpus_hash("hub:a/c:5M"), hub.corpus_hash("hub:a/b:6M")}) == 3
    monkeypatch.setattr(hub, "_commit", lambda name: "1" * 40)
    assert hub.corpus_hash("hub:a/b:5M") != one


_READ = """
import json, sys
from transformers import AutoTokenizer
from saebook.common.errors import UserError
from saebook.text.sources import corpus_hash
from saebook.text.tokens import tokens
try:
    rows = tokens(sys.argv[1], AutoTokenizer.from_pretrained(sys.argv[2]), "train", 20)
    print(json.dumps([rows.shape, rows[0].tolist(), corpus_hash(sys.argv[1])]))
except UserError as error:
    sys.exit(str(error))
"""


def test_hub_is_asked_once_and_by_name(data_set, tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path / "tokenizer")

    def read(source, **environment):
        command = [sys.executable, "-c", _READ, source, str(tmp_path / "tokenizer")]
        given = os.environ | hub_at.environment(tmp_path / "hf") | environment
        return subprocess.run(command, env=given, capture_output=True, text=True, timeout=240)

    with serving({}, {"someone/texts": data_set}) as hub_at:
        first = read("hub:someone/texts:5K")
        wrong = [read(f"hub:someone/{rest}") for rest in ("none:5K", "texts@test:5K", "texts#story:5K")]
    assert json.loads(first.stdout)[0] == [250, 20], first.stderr[-2000:]
    for answer, words_ in zip(wrong, ("404", "Bad split: test", "'story'"), strict=True):
        assert answer.returncode == 1 and words_ in answer.stderr, answer.stderr[-2000:]
        assert len(answer.stderr.strip().splitlines()) == 1, answer.stderr
    assert read("hub:someone/texts:5K", HF_HUB_OFFLINE="1").stdout == first.stdout  # nobody answers any more
