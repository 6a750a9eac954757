"""Tokens lie where they spell the text, and patterns find the tokens they should."""

import re

import numpy as np
import pytest

from saebook.common.errors import UserError
from saebook.papers.topk.probes.aligned import Aligned
from saebook.text import tokens

ROW = [b"ab", b" c", b"d", b" ab"]


def test_text_and_places_are_those_of_the_pieces():
    text = Aligned.of_pieces([ROW, [b"x", b"", b" y", b"\1"]])
    assert text.text == b"ab cd ab\0x y\1\0"
    assert text.start.tolist() == [[0, 2, 4, 5], [9, 10, 10, 12]] and text.end.tolist() == [
        [2, 4, 5, 8],
        [10, 10, 12, 13],
    ]
    assert text.ids.shape == (2, 4) and text.mark((0, 2)) == ("ab c", "d", " ab")
    assert text.mark((1, 2)) == ("x", " y", "")  # neither the row before nor the document behind


def test_patterns_label_tokens_inside_ending_after_and_before():
    text, cd = Aligned.of_pieces([ROW]), re.compile(b"cd")
    assert text.inside(cd)[0].tolist() == [False, True, True, False]
    assert text.ending(cd)[0].tolist() == [False, False, True, False]
    assert text.after(cd)[0].tolist() == [False, False, False, True]
    assert text.before(re.compile(b" cd"))[0].tolist() == [True, False, False, False]
    assert not text.inside(re.compile(b"zz")).any()


def test_repetitions_are_of_the_same_row():
    text = Aligned.of_pieces([[b"a", b"b", b"a", b"b"], [b"b", b"a", b"c", b"c"]])
    assert text.repeated.tolist() == [[False, False, True, True], [False, False, False, True]]
    assert text.repeated_pair.tolist() == [[False, False, False, True], [False] * 4]


def test_read_spells_what_the_tokenizer_decodes(small_subject):
    tokenizer = small_subject.tokenizer
    sentence = tokenizer("Über die naïve “quotation”, 3 x.", add_special_tokens=False)["input_ids"]
    row = np.array([[*sentence, tokenizer.eos_token_id]])
    text = Aligned.read(row, tokenizer)
    assert text.text.decode().rstrip("\0") == tokenizer.decode(sentence) + "\1"
    assert text.end[0, -1] == len(text.text) - 1 and (text.end >= text.start).all()
    assert tokens.END in tokenizer.all_special_tokens


def test_other_tokenizers_are_refused_in_one_line():
    class Pieces:
        all_special_tokens = ()

        def convert_ids_to_tokens(self, ids):
            return ["\u2581word" for _ in ids]

        def __len__(self):
            return 3

    with pytest.raises(UserError, match="byte-level BPE") as refused:
        Aligned.read(np.array([[0, 1]]), Pieces())
    assert "\n" not in str(refused.value)
