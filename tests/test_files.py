import hashlib
import json
import math
import os
import resource
import signal
import stat
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from lgg.files import (
    atomic_path,
    canonical_json,
    not_writing,
    read_json,
    seconds_writing,
    sha256_of_file,
    write_json,
    write_rows,
    write_text,
)

NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
SETTINGS = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
few = settings(max_examples=40, deadline=None)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# --- atomic_path --------------------------------------------------------------------------------------------------


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "table.csv"
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(tmp_path) == ["table.csv"]


def test_an_older_file_is_replaced_only_at_the_end(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_after_an_error_the_old_file_is_untouched_and_nothing_is_left_behind(tmp_path, error):
    path = tmp_path / "table.csv"
    path.write_text("old")
    before = path.stat()
    with pytest.raises(error), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert names(tmp_path) == ["table.csv"]


def test_after_an_error_no_new_file_exists(tmp_path):
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "table.csv"):
        raise RuntimeError
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["figure.pdf", "model.safetensors", "figure.v2.png"])
def test_the_temporary_file_has_the_same_suffix_and_folder(tmp_path, name):
    with atomic_path(tmp_path / name) as temporary:
        assert temporary.suffix == (tmp_path / name).suffix
        assert temporary.parent == tmp_path
        assert temporary.name != name


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_permissions_follow_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "a.txt", "a")
        now = os.umask(umask)
    finally:
        os.umask(before)
    assert now == umask
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~umask


def test_missing_folders_are_created(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "text")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "text"


def test_a_path_can_be_a_string(tmp_path):
    with atomic_path(str(tmp_path / "a.txt")) as temporary:
        temporary.write_text("text")
    assert names(tmp_path) == ["a.txt"]


def test_two_writers_do_not_share_a_temporary_file(tmp_path):
    with atomic_path(tmp_path / "a.txt") as one, atomic_path(tmp_path / "a.txt") as other:
        assert one != other


# --- seconds ------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """Return the clock of `lgg.files`, which advances only when a test adds to `now`."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("lgg.files.time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def test_the_times_of_blocks_are_added_up(tmp_path, clock):
    before = seconds_writing()
    for seconds in (3, 2):
        with atomic_path(tmp_path / "a.txt"):
            clock.now += seconds
        clock.now += 50
    assert seconds_writing() - before == pytest.approx(5)


def test_syncing_the_file_counts(tmp_path, clock, monkeypatch):
    def slow(descriptor):
        clock.now += 7

    monkeypatch.setattr("lgg.files.os.fsync", slow)
    before = seconds_writing()
    write_text(tmp_path / "a.txt", "a")
    assert seconds_writing() - before == pytest.approx(7)


def test_content_computed_meanwhile_does_not_count(tmp_path, clock):
    before = seconds_writing()
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a.txt"):
        clock.now += 1
        with not_writing():
            clock.now += 30
        clock.now += 1
        with not_writing():
            clock.now += 30
            raise RuntimeError
    assert seconds_writing() - before == pytest.approx(2)


# --- CSV ----------------------------------------------------------------------------------------------------------


def test_rows_are_written_as_pandas_would(tmp_path):
    rows = [
        {"seed": 0, "name": 'a "b", c', "error": 1 / 3, "level": math.inf, "agreement": None},
        {"seed": 1, "name": "λ", "error": 1e-17, "level": math.nan, "agreement": None},
    ]
    write_rows(tmp_path / "a.csv", rows)
    assert (tmp_path / "a.csv").read_bytes() == pd.DataFrame(rows).to_csv(index=False).encode()


def test_rows_can_lack_columns(tmp_path):
    write_rows(tmp_path / "a.csv", [{"test": "clean"}, {"level": 33.0, "test": "fgsm"}, {"test": "pgd", "steps": 7}])
    assert (tmp_path / "a.csv").read_text() == "test,level,steps\nclean,,\nfgsm,33.0,\npgd,,7\n"


# --- JSON ---------------------------------------------------------------------------------------------------------


@few
@given(SETTINGS)
def test_canonical_json_can_be_parsed_back(content):
    assert json.loads(canonical_json(content)) == content


@few
@given(SETTINGS)
def test_canonical_json_is_one_line_of_ascii(content):
    text = canonical_json(content)
    assert text.isascii()
    assert text.isprintable()


@few
@given(st.dictionaries(st.text(), SETTINGS), st.randoms(use_true_random=False))
def test_canonical_json_does_not_depend_on_the_order_of_keys(content, random):
    keys = list(content)
    random.shuffle(keys)
    assert canonical_json({key: content[key] for key in keys}) == canonical_json(content)


@few
@given(st.lists(st.integers(), unique=True, min_size=2))
def test_canonical_json_depends_on_the_order_of_lists(content):
    assert canonical_json(content) != canonical_json(content[::-1])


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_canonical_json_refuses_non_finite_numbers(number):
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"weight": [number]})


def test_canonical_json_is_fixed():
    # recipes of earlier runs were written this way: another format would run everything again
    content = {"b": [1, 0.0005, 25.0, None, True], "a": {"µ": "x y"}}
    assert canonical_json(content) == '{"a":{"\\u00b5":"x y"},"b":[1,0.0005,25.0,null,true]}'


@few
@given(SETTINGS)
def test_json_files_are_read_as_they_were_written(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "content.json"
    write_json(path, content)
    assert read_json(path) == content


def test_text_is_written_as_utf8_and_ends_json_with_a_line_break(tmp_path):
    write_text(tmp_path / "a.txt", "λ\n")
    write_json(tmp_path / "a.json", {})
    assert (tmp_path / "a.txt").read_bytes() == b"\xce\xbb\n"
    assert (tmp_path / "a.json").read_bytes() == b"{}\n"


# --- hashes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1])
def test_the_hash_of_a_file_is_that_of_all_its_bytes(tmp_path, size):
    content = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "file").write_bytes(content[:size])
    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(content[:size]).hexdigest()


# --- a disk that is full or read-only -------------------------------------------------------------------------------


@pytest.fixture
def full_disk():
    """Limit files of this process to 4,096 bytes, which fails like a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("older", [None, b"older"])
@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_text(path, "x" * 10_000),
        lambda path: write_rows(path, [{"a": "x" * 10_000}]),
        lambda path: write_safetensors(path, {"a": np.zeros(10_000)}),
    ],
    ids=["text", "rows", "safetensors"],
)
def test_a_full_disk_is_told_with_the_file_and_leaves_what_was_there(tmp_path, full_disk, write, older):
    path = tmp_path / "file.safetensors"
    if older:
        path.write_bytes(older)
    with pytest.raises(OSError, match=r"file\.safetensors") as error:
        write(path)
    assert "File too large" in str(error.value)  # the reason too: with a full disk, "No space left on device"
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == ([older] if older else [])


def write_safetensors(path, arrays):
    with atomic_path(path) as temporary:
        save_file(arrays, temporary)


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "results").write_text("a file where a folder should be")
    with pytest.raises(OSError, match="results"):
        write_text(tmp_path / "results" / "table.csv", "")


def test_files_left_by_a_killed_process_are_removed_by_the_next_write(tmp_path):
    path = tmp_path / "a [1].csv"
    code = (
        "import os, signal, sys\n"
        "from lgg.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, path]).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1 and not path.exists()
    with atomic_path(tmp_path / "b.csv") as temporary:
        temporary.write_text("another file's writer leaves it")
    assert len(list(tmp_path.iterdir())) == 2
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a [1].csv", "b.csv"]
