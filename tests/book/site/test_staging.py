"""One build at a time, and a configuration that names the repository only where there is one."""

import os
import subprocess
import sys

import pytest
import yaml

from saebook.book.site import staging
from saebook.common.errors import UserError

_HOLDS = "import time; from saebook.book.site import staging\nwith staging.only_build(): print('held', flush=True); time.sleep(60)"


def test_second_build_is_refused_while_one_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("SAEBOOK_BUILD", str(tmp_path))
    first = subprocess.Popen([sys.executable, "-c", _HOLDS], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"another build is running \(pid {first.pid}\)"), staging.only_build():
            pass
    finally:
        first.kill()
        first.wait()
    with staging.only_build():  # a killed build holds nothing
        assert (tmp_path / ".book.pid").read_text().strip() == str(os.getpid())
    assert not (tmp_path / ".book.pid").exists()


def test_build_folder_that_cannot_be_made_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SAEBOOK_BUILD", str(tmp_path / "file" / "build"))
    with pytest.raises(UserError, match="SAEBOOK_BUILD"), staging.only_build():
        pass


@pytest.mark.parametrize("address", [None, "https://example.org/a/b"])
def test_repository_button_needs_an_address(tmp_path, monkeypatch, address):
    monkeypatch.setattr(staging, "repository_url", lambda: address)
    staging._configuration(tmp_path)
    configuration = yaml.safe_load((tmp_path / "_config.yml").read_text())
    assert configuration["html"]["use_repository_button"] is (address is not None)
    assert configuration.get("repository", {}).get("url") == address
    assert configuration["execute"]["execute_notebooks"] == "off"
