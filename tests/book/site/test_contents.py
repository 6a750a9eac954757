"""The table of contents follows the sidecars and the folder of prose pages."""

from types import SimpleNamespace

import yaml

from saebook.book.site import contents
from saebook.common import paths, sidecar


def test_chapters_are_in_the_part_of_their_paper_under_their_titles(monkeypatch):
    monkeypatch.setattr(contents.sidecar, "load", lambda name: SimpleNamespace(title=f"Title of {name}"))
    table = contents.contents({"index", "status", "mine", "glossary"}, ["checks/a", "gated/c", "gated/b"])
    assert table["root"] == "book/index"
    assert [part["caption"] for part in table["parts"]] == ["First steps", "Gated SAEs", "About this book"]
    assert table["parts"][1]["chapters"] == [
        {"file": "notebooks/gated/c", "title": "Title of gated/c"},
        {"file": "notebooks/gated/b", "title": "Title of gated/b"},
    ]
    assert [page["file"] for page in table["parts"][-1]["chapters"]] == ["book/glossary", "book/status", "book/mine"]


def test_contents_hold_every_page_of_the_book_once(tmp_path):
    (tmp_path / "book").mkdir()
    for page in (paths.root() / "book").glob("*.md"):
        (tmp_path / "book" / page.name).write_text("")
    table = yaml.safe_load(contents.write(tmp_path).read_text("utf-8"))
    files = [chapter["file"] for part in table["parts"] for chapter in part["chapters"]]
    prose = {f"book/{page.stem}" for page in (paths.root() / "book").glob("*.md")} - {"book/index"}
    assert sorted(files) == sorted(prose | {f"notebooks/{name}" for name in sidecar.names()})
    assert {page.stem for page in (paths.root() / "book").glob("*.md")} == {
        contents.ROOT,
        *contents.PROSE,
        *contents.BESIDE,
    }


def test_pages_beside_chapters_stand_in_their_part(monkeypatch):
    monkeypatch.setattr(contents.sidecar, "load", lambda name: SimpleNamespace(title="T"))
    table = contents.contents({"index", "features", "status"}, ["gated/a", "beyond/b"])
    parts = {part["caption"]: [page["file"] for page in part["chapters"]] for part in table["parts"]}
    assert parts["Beyond the papers"] == ["notebooks/beyond/b", "book/features"]
    assert parts["Gated SAEs"] == ["notebooks/gated/a"] and parts["About this book"] == ["book/status"]


def test_sidebar_titles_begin_with_the_topic_and_differ():
    titles = [sidecar.load(name).title for name in sidecar.names()]
    assert len(set(titles)) == len(titles)
    assert not any(title.startswith(("Gated, Figure", "Top-k, Figure", "e2e, Figure")) for title in titles)
