"""Records on disk: whole or made again, under one limit, and never taken from a process that reads them."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from saebook.subject import records
from saebook.subject.records import Records

ROWS, WIDTH, TOTAL = 5, 3, 17  # four records; the last has two rows
SIZE = (ROWS + 1) * WIDTH * 4  # bytes of a whole record with its checksum


def made(number: int) -> np.ndarray:
    rows = min(ROWS, TOTAL - number * ROWS)
    return np.random.default_rng(number).standard_normal((rows, WIDTH)).astype(np.float32)


def opened(root, key="a", limit=10**6) -> Records:
    return Records(root / key, ROWS, WIDTH, TOTAL, limit, {"what": key})


def test_records_are_read_back_through_one_array(tmp_path):
    kept = opened(tmp_path)
    assert not kept.has(0)
    assert all(kept.put(number, made(number)) for number in range(4))
    again = opened(tmp_path)
    assert all(again.has(number) for number in range(4)) and not again.has(4)
    rows = [again.first_row(2) + 1, again.first_row(0), again.first_row(3) + 1]
    assert np.array_equal(again.array()[rows], [made(2)[1], made(0)[0], made(3)[1]])
    assert (tmp_path / "a" / "about.json").read_text().startswith("{")


def test_record_after_a_missing_one_is_refused(tmp_path):
    kept = opened(tmp_path)
    assert not kept.put(1, made(1)) and kept.put(0, made(0)) and kept.put(1, made(1))


@pytest.mark.parametrize("damage", ["data", "checksum", "cut", "swapped", "zeros"])
def test_damaged_record_is_noticed_and_made_again(tmp_path, capsys, damage):
    kept = opened(tmp_path)
    assert all(kept.put(number, made(number)) for number in range(3))
    file = tmp_path / "a" / "records.f32"
    content = bytearray(file.read_bytes())
    if damage == "data":
        content[SIZE + 7] ^= 1
    elif damage == "checksum":
        content[2 * SIZE - 3 * 4] ^= 1
    elif damage == "cut":
        del content[2 * SIZE - 2 :]
    elif damage == "swapped":
        content[SIZE : 2 * SIZE] = content[:SIZE]
    else:
        content[SIZE : 2 * SIZE] = bytes(SIZE)
    file.write_bytes(content)
    again = opened(tmp_path)
    assert again.has(0) and not again.has(1) and again.has(2) == (damage != "cut")
    assert again.put(1, made(1)) and ("damaged" in capsys.readouterr().err) == (damage != "cut")
    last = opened(tmp_path)
    assert last.has(1) and np.array_equal(last.array()[last.first_row(1) :][:ROWS], made(1))


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device")])
def test_interrupted_or_full_write_leaves_whole_records(tmp_path, monkeypatch, capsys, stop):
    kept, plain = opened(tmp_path), os.pwrite
    assert kept.put(0, made(0))

    def breaks(file, content, offset):
        plain(file, content[:10], offset)
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", breaks)
        if stop is KeyboardInterrupt:
            with pytest.raises(KeyboardInterrupt):
                kept.put(1, made(1))
        else:
            assert not kept.put(1, made(1)) and "No space left" in capsys.readouterr().err
    assert (tmp_path / "a" / "records.f32").stat().st_size == SIZE
    assert kept.has(0) and not kept.has(1) and kept.put(1, made(1)) and kept.has(1)


def test_folder_used_longest_ago_makes_room(tmp_path):
    limit = 4 * SIZE
    for number, key in enumerate("bca"):
        kept = opened(tmp_path, key, limit)
        assert kept.put(0, made(0))
        del kept
        os.utime(tmp_path / key / ".in_use", (number, number))
    now = opened(tmp_path, "now", limit)
    assert now.put(0, made(0))
    assert sorted(folder.name for folder in tmp_path.glob("[a-z]*")) == ["a", "b", "c", "now"]
    assert now.put(1, made(1))
    assert sorted(folder.name for folder in tmp_path.glob("[a-z]*")) == ["a", "c", "now"]
    del now
    again = opened(tmp_path, "c", limit)  # used now: no longer the oldest
    assert again.put(1, made(1))
    assert sorted(folder.name for folder in tmp_path.glob("[a-z]*")) == ["c", "now"]


def test_folder_in_use_is_not_removed(tmp_path):
    used, limit = opened(tmp_path, "used", 3 * SIZE), 3 * SIZE
    assert used.put(0, made(0))
    program = (
        "import sys; from pathlib import Path; from saebook.subject.records import Records;"
        f"kept = Records(Path({str(tmp_path)!r}) / 'other', {ROWS}, {WIDTH}, {TOTAL}, {limit});"
        "import numpy as np; x = np.ones((5, 3), np.float32); print([kept.put(i, x) for i in range(3)])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[True, True, False]" and used.has(0)
    del used
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[True, True, True]" and not (tmp_path / "used").exists()


def test_nothing_is_removed_where_it_would_not_help(tmp_path):
    assert opened(tmp_path, "other", SIZE).put(0, made(0))
    kept = opened(tmp_path, "a", SIZE // 2)
    assert not kept.put(0, made(0)) and (tmp_path / "other").exists()


def test_last_of_the_disk_is_left_to_others(tmp_path, monkeypatch):
    kept = opened(tmp_path)
    usage = type("Usage", (), {"free": records._SPARE + SIZE - 1})
    with monkeypatch.context() as patch:
        patch.setattr(records.shutil, "disk_usage", lambda _: usage)
        assert not kept.put(0, made(0))
        usage.free += 1
        assert kept.put(0, made(0))
