"""Files that grow while they are watched: what is read equals what is there, and no more is read than needed."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import run_files
from models.run_files import GrowingLines, append_line, read_end, read_lines, read_start, write_bytes

OBJECTS = st.dictionaries(
    st.text(max_size=4), st.integers(-9, 9) | st.floats(-1, 1) | st.text(max_size=9), max_size=3
)


@settings(max_examples=40, deadline=None, derandomize=True)
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
