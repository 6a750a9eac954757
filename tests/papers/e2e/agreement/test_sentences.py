"""Items come in pairs that differ in the number of the subject alone."""

import pytest
import torch

from saebook.common.errors import UserError
from saebook.papers.e2e.agreement import sentences


class Words:
    """A tokenizer of whole words, in which the words of `split` are two tokens."""

    eos_token_id = 0

    def __init__(self, split=()):
        self.known, self.split = {}, set(split)

    def __call__(self, texts, add_special_tokens=False):
        def ids(text):
            for word in text.split():
                for part in (word[:1], word[1:]) if word in self.split else (word,):
                    yield self.known.setdefault(part, len(self.known) + 1)

        return {"input_ids": [list(ids(text)) for text in texts]}


@pytest.mark.parametrize("template", sentences.TEMPLATES)
def test_items_are_balanced_pairs(template):
    tokenizer = Words()
    items = sentences.drawn(template, tokenizer, 60)
    assert len(items) == 60 and items.plural.sum() == 30 and (items.tokens[:, 0] == 0).all()
    assert torch.equal(items.right[0::2], items.wrong[1::2]) and torch.equal(items.wrong[0::2], items.right[1::2])
    assert ((items.tokens[0::2] != items.tokens[1::2]).sum(1) == 1).all()  # the subject alone
    assert (items.last == items.counted.sum(1) - 1).all()
    word = {i: w for w, i in tokenizer.known.items()}
    verb = {word[int(i)] for i in items.right[items.plural]}
    assert verb <= ({"is", "are", "has", "have", "was", "were", "does", "do"} if template != sentences.WITHIN_RC else
                    {"like", "need", "use", "want", "know", "see", "take", "make"})  # fmt: skip
    assert not {"is", "has", "likes", "needs"} & verb
    again = sentences.drawn(template, Words(), 60)
    assert torch.equal(items.tokens, again.tokens) and len(torch.unique(items.tokens, dim=0)) > 20


def test_verbs_of_more_tokens_are_left_out_and_none_is_refused():
    (pair,) = sentences.usable(Words(split=("likes",)), ((" likes", " like"), (" needs", " need")))
    assert pair[0] != pair[1]
    everything = {word.strip() for verb in sentences._AUXILIARIES for word in verb}
    with pytest.raises(UserError, match="choose another subject"):
        sentences.drawn(sentences.SIMPLE, Words(split=everything), 10)
    plurals = {many for _, many in sentences._NOUNS}
    with pytest.raises(UserError, match="as many tokens in both numbers"):
        sentences.drawn(sentences.SIMPLE, Words(split=plurals), 10)
    items = sentences.drawn(sentences.SIMPLE, Words(split=plurals - {"users"}), 10)
    assert len(torch.unique(items.tokens, dim=0)) == 2  # the one pair that is left
    with pytest.raises(UserError, match="is not known: use one of"):
        sentences.drawn("other", Words(), 10)
