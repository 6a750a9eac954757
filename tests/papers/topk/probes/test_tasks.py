"""Every rule labels what it says: one row of text a task, its tokens parted by bars, the positive ones marked by a caret."""

import numpy as np
import pytest

from saebook.papers.topk.probes import tasks
from saebook.papers.topk.probes.aligned import Aligned
from saebook.papers.topk.probes.tasks import TASKS

CASES = {
    "capitalised": "The^| Cat^| saw| JSON| NaN| iPad",
    "capitals": "The| JS|ON^| in| A",
    "digit": "in| 1^|9^| or| ten",
    "punctuation": "a|,^| b|.^| (^|c| d",
    "word goes on": "Nu|mer^|ical^| Python|3| x",
    "long word": "reason| recon|struc^|tion^| of",
    "plural": "two| cat|s^| this| is| has| class| bus| rows^",
    "past": "it| need|ed^| seed| red| used^",
    "gerund": "when| us|ing^| a| ring",
    "adverb": "very| quick|ly^| fly",
    "abstract noun": "a| func|tion^| of| sparsity^| city",
    "article": "The^| end| of| an^| array| a^| b",
    "pronoun": "It^| is| what| we^| item",
    "demonstrative": "This^| and| those^| thistle",
    "preposition": "In^| a| row| of^| offer",
    "conjunction": "one| and^| two| order",
    "condition": "If^| so| or| else^| elsewhere",
    "question word": "rows| which^| are| whiches",
    "to be": "it| is^| been^| beneath",
    "modal": "you| can^| or| must^| cane",
    "negation": "do| not^| do|n't^| note| without^",
    "number word": "one^| or| the| third^| done",
    "quantifier": "all^| rows| of| each^| reach",
    "comparison": "more^| than^| the| same^| thank",
    "programming word": "a| function^| of| classes| class^",
    "mathematical word": "the| matrix^| is| mean^| meaning",
    "in code": "use| `^|x^|`^| or| ``^|y^|``^| now",
    "in brackets": "a| (^|b^|)^| c| (^|d^",
    "in quotation": 'a| "^|b^|"^| c| don"t| d',
    "identifier": "a| foo^|_^|bar^| and| np.^|dot^|. End",
    "address": "at| https://^|a.b^|/c^| now",
    "licence": "our| license^| is^| free^|\n\n|not",
    "list item": "a|\n\n|-^| one^| b^|\n\n|two",
    "marked note": "a|\n\n|Note^| that^|\n\n|two",
    "arguments": "a|\n\n|Args^|:^| x^|\n\n|two",
    "in a condition": "so| if^| it^| is^|, then",
    "negated sentence": "we| do| not^| use^| 1.5^|.| So",
    "sentence on defaults": "by| default^| on^|.| So",
    "first word": "and| x|.| The^| end|\n\n|A^| b",
    "new paragraph": "a| b|\n\n|c^| d^| e^| f^| g",
    "first sentence": "a|\n\n|One^| v1.2^| two^|.| Three",
    "after a comma": "a|,| b^| c",
    "after an article": "of| the| row^| end",
    "new document": "a| b|\1^|c^| d^",
    "early in the row": "^|".join("abcdefghijklmnop") + "^|q|r",
    "repeated": "a| b| a|a^| b^",
    "repeated pair": "a| b| c|a| b^| d",
    "sentence ends next": "a| b^|.| c^|!",
    "comma next": "a^|, b",
    "new word next": "in|ner^| loop^| of| (|x)",
    "capital next": "a^| B|c| d",
    "article next": "in^| the| end",
    "bracket next": "call^| (|x|)^|(",
    "paragraph ends next": "a| b^|\n\n|c",
    "pair repeats next": "a| b|c|a^| b| d",
}


def of_row(row):
    pieces = row.split("|")
    text = Aligned.of_pieces([[piece.removesuffix("^").encode() for piece in pieces]])
    return text, [piece.endswith("^") for piece in pieces]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_rule_labels_what_it_says(task):
    text, expected = of_row(CASES[task.name])
    assert task.label(text)[0].tolist() == expected and any(expected) and not all(expected)


def test_rows_keep_to_themselves():
    rows = [[b"a", b" (", b"b", b" if"], [b"c", b" d", b" e", b" f"]]
    labels = tasks.labels(Aligned.of_pieces(rows))
    assert labels.shape == (2, 4, len(TASKS))
    names = [task.name for task in TASKS]
    for name in ("in brackets", "in a condition", "new document", "repeated", "repeated pair", "list item"):
        assert not labels[1, :, names.index(name)].any(), name
    assert labels[0, 1:, names.index("in brackets")].all()


def test_tasks_are_many_and_told_apart():
    names = [task.name for task in TASKS]
    assert len(TASKS) >= 24 and len(set(names)) == len(names) == len({task.rule for task in TASKS}) == len(CASES)


def test_labels_on_what_a_token_is_do_not_see_what_comes_later():
    text = [
        "The",
        " row",
        " of",
        " (",
        "b",
        " if",
        " x",
        ", then",
        " we",
        " do",
        " not",
        " use",
        " `",
        "x",
        "`",
        " by",
        " default",
    ]
    cut = [piece.encode() for piece in text[:12]]
    whole = tasks.labels(Aligned.of_pieces([[piece.encode() for piece in text]]))[0, :11]
    part = tasks.labels(Aligned.of_pieces([cut]))[0, :11]
    later = [task.name.endswith("next") for task in TASKS]
    assert np.array_equal(whole[:, ~np.array(later)], part[:, ~np.array(later)])
