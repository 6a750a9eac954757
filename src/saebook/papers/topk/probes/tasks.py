"""Binary tasks for probes, made from the text alone: each labels every token by a rule on the text around it.

The Top-k paper has tasks of its own (its Table 1), most of them data sets that are no part of any package. A rule here sees
what a token is (`inside`, `ending`), what stands before it (`after`) or what comes next (`before`). Marks of quotation,
brackets and code count until they close. So later text matters only to tasks on what comes next, and to where a word ends.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from saebook.papers.topk.probes.aligned import Aligned

Label = Callable[[Aligned], np.ndarray]


@dataclass(frozen=True)
class Task:
    """A binary task: its name, its rule in words, and the function that gives labels [N, T] (bool)."""

    name: str
    rule: str
    label: Label


def _rule(where: Callable[[Aligned, re.Pattern[bytes]], np.ndarray], pattern: bytes) -> Label:
    compiled = re.compile(pattern)
    return lambda text: where(text, compiled)


def inside(pattern: bytes) -> Label:
    return _rule(Aligned.inside, pattern)


def ending(pattern: bytes) -> Label:
    return _rule(Aligned.ending, pattern)


def after(pattern: bytes) -> Label:
    return _rule(Aligned.after, pattern)


def before(pattern: bytes) -> Label:
    return _rule(Aligned.before, pattern)


def one_of(words: str) -> Label:
    """Tokens that end one of these words, in capitals or not."""
    return ending(rb"(?i)\b(?:" + words.replace(" ", "|").encode() + rb")\b")


def paragraph(pattern: bytes) -> Label:
    """Tokens in a paragraph, from where `pattern` first matches in it to its end."""
    return inside(pattern + rb"[^\n\x00\x01]*")


def sentence(pattern: bytes) -> Label:
    """Tokens in a sentence, from where `pattern` first matches in it to its end."""
    return inside(pattern + rb"(?:[^.!?\n\x00\x01]|[.](?=\w))*")


_START = rb"(?:(?<=[.!?] )|(?<=\n\n)|(?<=\x01))"  # of a sentence

TASKS = (
    # What a token is.
    Task("capitalised", "ends a word that begins with a capital and goes on in small letters", ending(rb"\b[A-Z][a-z]+\b")),
    Task("capitals", "ends a word of two capitals or more", ending(rb"\b[A-Z]{2,}\b")),
    Task("digit", "ends with a digit", ending(rb"\d")),
    Task("punctuation", "ends with a mark of punctuation", ending(rb"[^\w\s\x00\x01]")),
    Task("word goes on", "begins with a letter and follows one", after(rb"[A-Za-z](?=[a-z])")),
    Task("long word", "the word has eight letters by now, or more", inside(rb"(?<=[A-Za-z]{7})[A-Za-z]+")),
    Task("plural", "ends a word in s, but for ss, is, us and short verbs",
         ending(rb"(?i)\b(?!(?:was|has|does|goes|always|perhaps|less)\b)[a-z]{2,}(?<![siu])s\b")),
    Task("past", "ends a word in ed of four letters or more, but for eed", ending(rb"\b[A-Za-z]{2,}(?<!e)ed\b")),
    Task("gerund", "ends a word in ing of five letters or more", ending(rb"\b[A-Za-z]{2,}ing\b")),
    Task("adverb", "ends a word in ly of five letters or more", ending(rb"\b[A-Za-z]{3,}ly\b")),
    Task("abstract noun", "ends a word in tion, sion, ment, ness or ity", ending(rb"\b[A-Za-z]{2,}(?:[ts]ion|ment|ness|ity)\b")),
    Task("article", "is a, an or the", one_of("a an the")),
    Task("pronoun", "is a pronoun of a person or thing", one_of("i you he she it we they me him us them its our your their itself")),
    Task("demonstrative", "is this, that, these or those", one_of("this that these those")),
    Task("preposition", "is a common preposition",
         one_of("of in to for with on at by from into over under between through during before after within across")),
    Task("conjunction", "joins words or clauses", one_of("and or but nor so yet because although while unless whereas")),
    Task("condition", "is if, when, unless, whether, otherwise or else", one_of("if when unless whether otherwise else")),
    Task("question word", "is a question word or a relative", one_of("which what who whose where how why")),
    Task("to be", "is a form of to be", one_of("be is are was were been being am")),
    Task("modal", "is a modal verb", one_of("can could will would shall should may might must cannot")),
    Task("negation", "is a negation",
         ending(rb"(?i)\b(?:not|no|none|never|neither|nor|nothing|without|cannot|(?:is|are|do|does|ca|wo|did|should|was)n't)\b")),
    Task("number word", "is a number or a rank in words",
         one_of("zero one two three four five six seven eight nine ten first second third fourth last hundred thousand twice")),
    Task("quantifier", "says how many or which of them",
         one_of("all any some each every both many most few several more less only another other no none either")),
    Task("comparison", "compares", one_of("than same equal larger smaller greater less more higher lower better faster different similar")),
    Task("programming word", "is a common word of programming",
         one_of("function class method object argument arguments parameter parameters value values array string list type"
                " dict tuple module index return returns default error attribute")),
    Task("mathematical word", "is a common word of mathematics",
         one_of("matrix vector integral polynomial equation sum product derivative distribution probability linear sample"
                " samples mean variance dimension algorithm points graph node nodes edge edges dimensions shape")),
    # Where it stands.
    Task("in code", "in text between backticks", inside(rb"`+[^`\n\x00\x01]*`*")),
    Task("in brackets", "in round brackets", inside(rb"\([^()\n\x00\x01]*\)?")),
    Task("in quotation", "in double quotation marks", inside(rb"(?:(?<=[\s(\[])|(?<=\x00))\"[^\"\n\x00\x01]*\"?")),
    Task("identifier", "in a name made of parts, with underscores or dots",
         inside(rb"\b[A-Za-z]\w*(?:(?:_|\.)(?=[A-Za-z])\w+)+|\b\w+_\w+")),
    Task("address", "in the address of a web page", inside(rb"https?://[^\s\x00\x01<>`]*")),
    Task("licence", "in a paragraph on rights, from its first word on them",
         paragraph(rb"(?i)\b(?:licen[cs]e[ds]?|copyright|warrant(?:y|ies)|trademark)\b")),
    Task("list item", "in a paragraph that begins as an item of a list", inside(rb"(?<=\n\n)(?:[*+-] |\d+[.)] )[^\n\x00\x01]*")),
    Task("marked note", "in a paragraph that is marked as a note, a warning or the like",
         inside(rb"(?<=\n\n)(?:\.\. \w+::|(?:Note|NOTE|Warning|TODO|XXX|FIXME|See also)\b)[^\n\x00\x01]*")),
    Task("arguments", "in a paragraph that describes arguments, from that word on", paragraph(rb"\b(?:Args?|Parameters|Returns|Raises):? ")),
    Task("in a condition", "in a clause that begins with if", inside(rb"\b[Ii]f\b[^,.;:\n\x00\x01]*")),
    Task("negated sentence", "in a sentence, from a negation on", sentence(rb"\b(?:not|no|never|cannot|[a-z]+n't)\b")),
    Task("sentence on defaults", "in a sentence, from the word default on", sentence(rb"(?i)\bdefaults?\b")),
    Task("first word", "ends the first word of a sentence", ending(_START + rb"\w+\b")),
    Task("new paragraph", "in the first four words of a paragraph", inside(rb"(?<=\n\n)[^\s\x00\x01]+(?: [^\s\x00\x01]+){0,3}")),
    Task("first sentence", "in the first sentence of a paragraph", inside(rb"(?:(?<=\n\n)|(?<=\x01))(?:[^.!?\n\x00\x01]|[.](?=\w))+")),
    Task("after a comma", "follows a comma", after(rb",")),
    Task("after an article", "begins behind a, an or the", after(rb"(?i)\b(?:an?|the)\b")),
    Task("new document", "a document ended earlier in the row", inside(rb"\x01[^\x00]*")),
    Task("early in the row", "among the first sixteen tokens of its row", lambda text: np.broadcast_to(
        np.arange(text.ids.shape[1]) < 16, text.ids.shape)),
    Task("repeated", "the same token occurred earlier in the row", lambda text: text.repeated),
    Task("repeated pair", "the same two tokens occurred earlier in the row", lambda text: text.repeated_pair),
    # What comes next.
    Task("sentence ends next", "next comes the end of a sentence", before(rb"[.!?](?=[\s\x00\x01])")),
    Task("comma next", "next comes a comma", before(rb",")),
    Task("new word next", "the next token begins a word", before(rb" (?=[A-Za-z])")),
    Task("capital next", "the next word begins with a capital", before(rb" ?(?<![A-Za-z])[A-Z]")),
    Task("article next", "the next word is a, an or the", before(rb" (?:an?|the)\b")),
    Task("bracket next", "next opens a bracket", before(rb" ?\(")),
    Task("paragraph ends next", "next ends the paragraph", before(rb"\n\n")),
    Task("pair repeats next", "this token and the next occurred together earlier in the row", lambda text: np.concatenate(
        [text.repeated_pair[:, 1:], np.zeros((len(text.ids), 1), bool)], 1)),
)  # fmt: skip


def labels(text: Aligned, tasks: tuple[Task, ...] = TASKS) -> np.ndarray:
    """Labels [N, T, K] (bool) of every token of `text` for every one of `tasks`."""
    return np.stack([task.label(text) for task in tasks], -1)
