"""Terms are read from the glossary's page and linked at their first use in prose, and only there."""

import re

from docutils import nodes
from docutils.frontend import get_default_settings
from docutils.utils import new_document
from sphinx import addnodes

from saebook.book.site import glossary
from saebook.common import paths

PAGE = """# Glossary

:::{glossary}
L0
  The mean number of {term}`latents <latent>` that are *active*.

latent
unit
  One hidden unit, see [there](x.md).
  It goes on.

dead latent
  Never fires.
:::
"""
TERMS = {"L0": "a", "latent": "b", "dead latent": "c", "SAE": "d"}


def document(*children):
    made = new_document("page", get_default_settings())
    made += children
    return made


def links(made):
    return [(node.astext(), node["reftarget"]) for node in made.findall(addnodes.pending_xref)]


def test_terms_and_definitions_are_read_without_markup():
    known = glossary.terms(PAGE)
    assert known == {
        "L0": "The mean number of latents that are active.", "latent": "One hidden unit, see there. It goes on.",
        "unit": "One hidden unit, see there. It goes on.", "dead latent": "Never fires.",
    }  # fmt: skip
    assert glossary.terms("# no glossary") == {}


def test_first_use_is_linked_and_the_text_stays():
    first, second = (
        nodes.paragraph("", "At equal L0 and width, an SAE has many latents. L0 again."),
        nodes.paragraph("", "SAEs"),
    )
    made = document(first, second)
    before = made.astext()
    glossary.link_first_uses(made, TERMS)
    assert links(made) == [("L0", "L0"), ("SAE", "SAE"), ("latents", "latent")] and made.astext() == before


def test_longer_terms_win_and_a_capital_may_begin_a_sentence():
    made = document(nodes.paragraph("", "Dead latents cost. A latent is a unit."))
    glossary.link_first_uses(made, TERMS)
    assert links(made) == [("Dead latents", "dead latent"), ("latent", "latent")]


def test_parts_of_other_words_are_not_linked():
    made = document(nodes.paragraph("", "SAEBench, L0-like, latent-wise, data/SAE, latency, sae.l0, SAE.py"))
    glossary.link_first_uses(made, TERMS)
    assert links(made) == []


def test_code_maths_headings_and_links_are_left_alone():
    for wrapper in (
        nodes.title,
        nodes.rubric,
        nodes.literal,
        nodes.literal_block,
        nodes.math,
        nodes.reference,
        nodes.raw,
    ):
        inner = wrapper("", "", nodes.Text("L0"))
        made = document(inner if wrapper in (nodes.literal_block, nodes.rubric) else nodes.paragraph("", "", inner))
        glossary.link_first_uses(made, TERMS)
        assert links(made) == [], wrapper
    made = document(nodes.paragraph("", "", nodes.emphasis("", "L0")))
    glossary.link_first_uses(made, TERMS)
    assert links(made) == [("L0", "L0")]


def test_references_to_terms_get_the_definition_as_title():
    there, other = (
        nodes.reference("", "L0", refuri="../book/glossary.html#term-dead-latent"),
        nodes.reference("", "x", refuri="a.html#b"),
    )
    made = document(nodes.paragraph("", "", there, other))
    glossary.title_references(made, TERMS)
    assert there["reftitle"] == "c" and "glossary-term" in there["classes"] and "reftitle" not in other


def test_glossary_of_the_book_defines_every_term_once_and_types_no_number():
    text = (paths.root() / "book" / "glossary.md").read_text("utf-8")
    known = glossary.terms(text)
    assert {
        "L0",
        "loss recovered",
        "lambda",
        "subject",
        "site",
        "tier",
        "seed",
        "SAE",
        "dead latent",
        "interval",
    } <= set(known)
    assert all(definition.endswith(".") for definition in known.values())
    lines = [line for line in text.splitlines() if line and not line[0].isspace() and line[0] not in "#:"]
    assert len(lines) == len(set(lines))
    assert not re.search(r"\b\d+\.\d+", text)
