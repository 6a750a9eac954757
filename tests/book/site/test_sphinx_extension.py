"""The extension in a small Sphinx project: links to the glossary lead there, and pages carry no script of Thebe's."""

import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from saebook.book.site import sphinx_extension

GLOSSARY = """# Glossary

:::{glossary}
L0
  The mean number of active latents.

dead latent
  A latent that never fires.
:::
"""
CHAPTER = """# L0 of a page

At equal L0, `L0` in code, $L0$ in maths and [L0 in a link](https://example.org) are left alone.

Dead latents have an L0 of nothing.
"""


@pytest.fixture(scope="module")
def chapter(tmp_path_factory):
    """The HTML of a chapter two folders deep, built with Thebe loaded as Jupyter Book loads it."""
    home = tmp_path_factory.mktemp("sphinx")
    source, out = home / "source", home / "out"
    pages = {"book/glossary": GLOSSARY, "notebooks/gated/a": CHAPTER}
    pages["index"] = "# Index\n\n```{toctree}\nbook/glossary\nnotebooks/gated/a\n```\n"
    for name, text in pages.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / f"{name}.md").write_text(text)
    extensions = ["myst_parser", "sphinx_thebe", sphinx_extension.__name__]
    settings = {"extensions": extensions, "myst_enable_extensions": ["colon_fence", "dollarmath"]}
    with docutils_namespace():
        app = Sphinx(source, None, out, home / "trees", "html", settings, status=None, warningiserror=True)
        app.build()
    assert app.statuscode == 0
    return (out / "notebooks" / "gated" / "a.html").read_text("utf-8")


def test_terms_lead_to_the_glossary_and_show_their_definition(chapter):
    assert chapter.count('href="../../book/glossary.html#term-L0"') == 1
    assert chapter.count('href="../../book/glossary.html#term-dead-latent"') == 1
    assert 'title="The mean number of active latents."' in chapter and "glossary-term" in chapter


def test_pages_carry_no_script_of_thebe(chapter):
    assert "thebe" not in chapter.lower()
