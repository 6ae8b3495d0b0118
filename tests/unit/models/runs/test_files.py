"""Files that grow while they are watched: what is read equals what is there, and no more is read than needed."""

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ordinary_files import read_end, read_start
from models.runs import files as run_files
from models.runs.files import GrowingLines, append_line, open_to_add, read_lines, write_bytes

OBJECTS = st.dictionaries(
    st.text(max_size=4), st.integers(-9, 9) | st.floats(-1, 1) | st.text(max_size=9), max_size=3
)


@settings(max_examples=40)
@given(st.lists(OBJECTS, max_size=8), st.lists(st.integers(0, 60), max_size=12))
def test_growing_lines_equal_the_whole_file_however_it_grows(tmp_path_factory, objects, cuts):
    data = b"".join(json.dumps(values).encode() + b"\n" for values in objects)
    path, lines, written = tmp_path_factory.mktemp("lines") / "a.jsonl", GrowingLines(10_000), 0
    for cut in [*cuts, len(data)]:
        with path.open("ab") as file:
            file.write(data[written : written + cut])
        written += cut
        assert lines.read(path) == read_lines(path)
    assert lines.read(path) == objects


def test_only_what_was_added_is_parsed(tmp_path, monkeypatch):
    path, lines, parsed = tmp_path / "a.jsonl", GrowingLines(10_000), []
    original = run_files._parse
    monkeypatch.setattr(run_files, "_parse", lambda data: parsed.append(len(data)) or original(data))
    for step in range(50):
        append_line(path, {"step": step})
        assert len(lines.read(path)) == step + 1
    assert sum(parsed) < path.stat().st_size
    lines.read(path).clear()
    assert len(lines.read(path)) == 50


def test_a_file_replaced_or_cut_is_read_anew(tmp_path):
    path, lines = tmp_path / "a.jsonl", GrowingLines(10_000)
    assert lines.read(path) == []
    for step in range(5):
        append_line(path, {"step": step})
    assert len(lines.read(path)) == 5
    write_bytes(path, b'{"step": 7}\n' * 20)
    assert lines.read(path) == [{"step": 7}] * 20
    os.truncate(path, 12)
    assert lines.read(path) == [{"step": 7}]
    path.unlink()
    assert lines.read(path) == []


def test_of_a_long_file_the_end_is_kept(tmp_path):
    path, lines = tmp_path / "a.jsonl", GrowingLines(1000)
    path.write_bytes(b"garbage " * 1000 + b'\n{"step": -1}\n')
    assert lines.read(path) == [{"step": -1}]
    for step in range(500):
        append_line(path, {"step": step})
        steps = [values["step"] for values in lines.read(path)]
        assert steps == list(range(steps[0], step + 1)) and len(steps) <= 1000 / 12 + 1
        assert step < 40 or len(steps) >= 500 / 15 - 2


def test_memory_is_bounded_over_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(run_files, "MAX_CACHED_FILES", 3)
    lines = GrowingLines(1000)
    for number in range(10):
        append_line(tmp_path / str(number), {"step": number})
        assert lines.read(tmp_path / str(number)) == [{"step": number}]
    assert len(lines._seen) == 3 and lines.read(tmp_path / "0") == [{"step": 0}]


@pytest.mark.parametrize(
    "line",
    ["NaN", "[1]", '{"a": NaN}', '{"a": -Infinity}', '{"a": 1e999}', '{"a": ' + "9" * 400 + "}", "[" * 100_000],
)
def test_what_no_plot_can_show_is_a_broken_line(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"a": 1}}\n{line}\n{{"a": 2.5}}\n')
    assert read_lines(path) == GrowingLines(10**6).read(path) == [{"a": 1}, {"a": 2.5}]


@pytest.mark.parametrize("read", [read_start, read_end, lambda path, count: bytes(GrowingLines(count).read(path))])
def test_nobody_waits_for_what_is_no_ordinary_file(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("pipe", "folder", "dangling", "nothing"):
        assert read(tmp_path / name, 10) == b""


def test_starts_and_ends(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    assert (read_start(path, 3), read_end(path, 3)) == (b"012", b"789")
    assert read_start(path, 99) == read_end(path, 99) == b"0123456789"


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


class Disk:
    """A disk that refuses so many times, for a reason."""

    def __init__(self, monkeypatch, code: int, times: int):
        self.code, self.left, self.pauses = code, times, []
        original = Path.replace

        def replace(path, target):
            if self.left:
                self.left -= 1
                raise OSError(self.code, os.strerror(self.code))
            return original(path, target)

        monkeypatch.setattr(Path, "replace", replace)
        monkeypatch.setattr(run_files.time, "sleep", self.pauses.append)


@pytest.mark.parametrize("code", sorted(run_files.PASSING))
def test_what_a_network_refuses_for_a_moment_is_tried_again(tmp_path, monkeypatch, code):
    disk = Disk(monkeypatch, code, len(run_files.PAUSES))
    write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new" and names_in(tmp_path) == ["a"]
    assert disk.pauses == list(run_files.PAUSES) and sum(disk.pauses) < 1


@pytest.mark.parametrize(
    ("code", "tries"), [(errno.ESTALE, len(run_files.PAUSES)), (errno.ENOSPC, 0), (errno.EROFS, 0)]
)
def test_what_stays_refused_is_told_and_the_old_file_kept(tmp_path, monkeypatch, code, tries):
    write_bytes(tmp_path / "a", b"old")
    disk = Disk(monkeypatch, code, 99)
    with pytest.raises(OSError, match=os.strerror(code)):
        write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old" and names_in(tmp_path) == ["a"]
    assert len(disk.pauses) == tries


def test_a_line_is_added_once_also_where_the_file_opens_late(tmp_path, monkeypatch):
    original, left = run_files.open_ordinary, [3]

    def late(*arguments):
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ESTALE, "Stale file handle")
        return original(*arguments)

    monkeypatch.setattr(run_files, "open_ordinary", late)
    monkeypatch.setattr(run_files.time, "sleep", lambda seconds: None)
    append_line(tmp_path / "a.jsonl", {"step": 1})
    assert (tmp_path / "a.jsonl").read_bytes() == b'{"step": 1}\n'


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_nothing_is_added_to_what_is_no_ordinary_file(tmp_path, kind):
    (tmp_path / "theirs").write_bytes(b"")
    path = tmp_path / "log.txt"
    make = {"pipe": os.mkfifo, "link": lambda path: path.symlink_to("theirs"), "folder": Path.mkdir}
    make[kind](path)
    with pytest.raises(OSError):
        append_line(path, {"step": 1})
    with pytest.raises(OSError):
        open_to_add(path)
    assert (tmp_path / "theirs").read_bytes() == b""


def test_lines_hold_no_halves_of_characters(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"layer": "\\ud800"}\n')
    for lines in (read_lines(tmp_path / "a.jsonl"), GrowingLines(99).read(tmp_path / "a.jsonl")):
        assert lines == [{"layer": "\N{REPLACEMENT CHARACTER}"}]


def test_two_threads_may_replace_one_file(tmp_path):
    """Two visitors save a note about the same run."""
    with ThreadPoolExecutor(4) as pool:
        for written in [pool.submit(write_bytes, tmp_path / "notes.txt", bytes([n % 9])) for n in range(200)]:
            written.result()
    assert names_in(tmp_path) == ["notes.txt"]
