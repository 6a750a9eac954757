"""Beginnings of sentences whose verb must agree with a subject, singular or plural (e2e paper, appendix; Marks et al. 2024).

The word lists are this book's own. Letters: n items, T positions.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saebook.common.errors import UserError

SIMPLE, ACROSS_PP, ACROSS_RC, WITHIN_RC = "simple", "across a phrase", "across a clause", "within a clause"
TEMPLATES = (SIMPLE, ACROSS_PP, ACROSS_RC, WITHIN_RC)

_NOUNS = (  # singular, plural
    ("user", "users"), ("author", "authors"), ("teacher", "teachers"), ("student", "students"), ("parent", "parents"),
    ("doctor", "doctors"), ("worker", "workers"), ("leader", "leaders"), ("member", "members"), ("officer", "officers"),
    ("server", "servers"), ("client", "clients"), ("driver", "drivers"), ("player", "players"), ("writer", "writers"),
    ("owner", "owners"),
)  # fmt: skip
_THINGS = (
    ("window", "windows"), ("table", "tables"), ("car", "cars"), ("road", "roads"), ("tree", "trees"),
    ("building", "buildings"), ("machine", "machines"), ("house", "houses"),
)  # fmt: skip
_AUXILIARIES = ((" is", " are"), (" has", " have"), (" was", " were"), (" does", " do"))
_VERBS = (
    (" likes", " like"), (" needs", " need"), (" uses", " use"), (" wants", " want"), (" knows", " know"),
    (" sees", " see"), (" takes", " take"), (" makes", " make"),
)  # fmt: skip


@dataclass(frozen=True)
class Items:
    """`tokens` [n, T] of beginnings, padded behind them, the place `last` [n] of each one's last token, and the two verbs.

    `right` and `wrong` [n] are the tokens of the verb that agrees and of the one that does not; `plural` [n] says which
    number the subject has.
    """

    tokens: Tensor
    last: Tensor
    right: Tensor
    wrong: Tensor
    plural: Tensor

    def __len__(self) -> int:
        return len(self.last)

    @property
    def counted(self) -> Tensor:
        """Which positions [n, T] are text and not padding."""
        return torch.arange(self.tokens.shape[1], device=self.last.device) <= self.last[:, None]


def drawn(template: str, tokenizer, count: int, seed: int = 0) -> Items:
    """Up to `count` different items of a template, half of them plural, each beginning with the token between documents.

    Two items that follow each other differ in the number of the subject alone, and have as many tokens. Raises `UserError`
    for an unknown template, and where the tokenizer has no verb of which both forms are one token, or no such two items.
    """
    if template not in TEMPLATES:
        raise UserError(f"template '{template}' is not known: use one of {', '.join(TEMPLATES)}")
    verbs = usable(tokenizer, _VERBS if template == WITHIN_RC else _AUXILIARIES)
    if not verbs:
        raise UserError("no verb of these sentences is one token in both forms: choose another subject")
    generator = np.random.default_rng([seed, TEMPLATES.index(template)])
    pairs = _even(_beginnings(template), tokenizer)
    order = generator.permutation(len(pairs) * len(verbs))[: max(1, count // 2)]
    texts, right, wrong, plural = [], [], [], []
    for number in order:
        pair, verb = pairs[number // len(verbs)], verbs[number % len(verbs)]
        for form in (0, 1):
            texts.append(pair[form])
            right.append(verb[form])
            wrong.append(verb[1 - form])
            plural.append(bool(form))
    end = tokenizer.eos_token_id
    rows = [[end, *ids] for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    length = max(map(len, rows))
    return Items(
        torch.tensor([row + [end] * (length - len(row)) for row in rows]), torch.tensor([len(row) - 1 for row in rows]),
        torch.tensor(right), torch.tensor(wrong), torch.tensor(plural),
    )  # fmt: skip


def usable(tokenizer, verbs: tuple[tuple[str, str], ...] = _AUXILIARIES + _VERBS) -> list[tuple[int, int]]:
    """The tokens (singular, plural) of those verbs of which both forms are one token."""
    forms = [tokenizer(list(verb), add_special_tokens=False)["input_ids"] for verb in verbs]
    return [(one[0], other[0]) for one, other in forms if len(one) == len(other) == 1]


def _even(pairs: list[tuple[str, str]], tokenizer) -> list[tuple[str, str]]:
    """The pairs of which both have as many tokens: if not, the length alone would give the number away."""
    lengths = [[len(ids) for ids in tokenizer(list(pair), add_special_tokens=False)["input_ids"]] for pair in pairs]
    even = [pair for pair, (one, other) in zip(pairs, lengths, strict=True) if one == other]
    if not even:
        raise UserError("no subject of these sentences has as many tokens in both numbers: choose another subject")
    return even


def _beginnings(template: str) -> list[tuple[str, str]]:
    """Every beginning of a template, with a singular and with a plural subject; a distractor has the number that it has."""
    if template == SIMPLE:
        return [(f"The {one}", f"The {many}") for one, many in _NOUNS]
    if template == ACROSS_PP:
        return [
            (f"The {one} near the {thing}", f"The {many} near the {thing}")
            for (one, many), thing in itertools.product(_NOUNS, itertools.chain(*_THINGS))
        ]
    others = [(a, b) for a, b in itertools.permutations(_NOUNS, 2)]
    if template == ACROSS_RC:
        return [
            (f"The {one} that the {other} like", f"The {many} that the {other} like")
            for (one, many), (_, other) in others
        ]
    return [(f"The {first} that the {one}", f"The {first} that the {many}") for (first, _), (one, many) in others]
