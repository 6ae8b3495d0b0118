"""Reading what may come from anyone: nothing is waited for, followed or loaded that need not be."""

import errno
import json
import os

import pytest
import torch
from safetensors.torch import save

from models import ordinary_files
from models.ordinary_files import (
    is_ordinary,
    mend,
    open_ordinary,
    open_tensors,
    parse_json,
    read_bounded,
    read_json,
    short_name,
)
from tests.sentences import refused

CAT = "고양이 🐱"


@pytest.fixture
def odd(tmp_path):
    """Name -> what is no ordinary file."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "secret").write_bytes(b'{"secret": 1}')
    (tmp_path / "link").symlink_to("secret")
    (tmp_path / "loop").symlink_to("loop")
    return {name: tmp_path / name for name in ("pipe", "folder", "link", "loop", "nothing")}


def read_tensors(path) -> None:
    with open_tensors(path, 2**20):
        pass


@pytest.mark.parametrize("read", [read_json, read_tensors, lambda path: read_bounded(path, 99)])
@pytest.mark.parametrize("name", ["pipe", "folder", "link", "loop", "nothing"])
def test_what_is_no_ordinary_file_is_refused_at_once_and_named_without_its_place(odd, name, read):
    assert not is_ordinary(odd[name])
    with pytest.raises(OSError):
        open_ordinary(odd[name])
    with refused(short_name(odd[name])) as caught:
        read(odd[name])
    assert str(odd[name].parent.parent) not in str(caught.value)


def test_a_huge_file_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk, and would not fit into memory
    for read in (read_json, read_tensors, lambda path: read_bounded(path, 2**20)):
        with refused("1 MB"):
            read(path)


def test_a_table_of_contents_as_large_as_the_file_is_not_read(tmp_path):
    path = tmp_path / "a.safetensors"
    data = save({"x": torch.zeros(3)}, {"note": "x" * 5000})
    path.write_bytes(data)
    elsewhere = tmp_path / os.fsdecode("사진".encode("cp949"))  # a name that the library does not take
    elsewhere.write_bytes(data)
    for each in (path, elsewhere):
        with open_tensors(each, 10**6) as file:
            assert file.keys() == ["x"] and file.get_tensor("x").tolist() == [0, 0, 0]
    with refused(), open_tensors(path, 10**6, 4000):
        pass


@pytest.mark.parametrize("cut", [0, 5, 60])
def test_half_a_file_of_tensors(tmp_path, cut):
    path = tmp_path / "a.safetensors"
    path.write_bytes(save({"x": torch.zeros(30)})[:cut])
    with refused():
        read_tensors(path)


@pytest.mark.parametrize(
    "text",
    [
        r'"a\ud800b"',
        r'"a\udc80b"',
        r'"a\uDFFFb"',
        '"a\\ud800\\ud800b"',
        r'["a\ud800b"]',
        r'{"a\ud800b": {"x": ["a\udc00"]}}',
    ],
)
def test_halves_of_characters_are_replaced_wherever_they_are(text):
    found = parse_json(text.encode())
    json.dumps(found, ensure_ascii=False).encode()  # as whoever sends it does
    assert "\N{REPLACEMENT CHARACTER}" in json.dumps(found, ensure_ascii=False)


def test_whole_text_stays_as_it_is():
    value = {CAT: [CAT, r"\ud800 in a backslash", {"": None}], "n": [1, 2.5, -3, True]}
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert parse_json(text.encode()) == value
    assert mend(value) == value


def test_halves_of_characters_that_are_no_json_are_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes('{"a": "\ud800"}'.encode("utf-8", "surrogatepass"))
    with refused():
        read_json(path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400])
def test_what_is_no_finite_number_is_none(tmp_path, number):
    (tmp_path / "a.json").write_text(f'{{"a": [{number}, 1]}}')
    assert read_json(tmp_path / "a.json") == {"a": [None, 1]}


def test_settings_keep_the_names_of_files_whose_bytes_are_no_text(tmp_path):
    """A folder unpacked from a Korean zip: its name is no text, and a training must find it all the same."""
    name = os.fsdecode("사진".encode("cp949"))
    (tmp_path / "config.json").write_text(json.dumps({"dataset": name}))
    assert read_json(tmp_path / "config.json")["dataset"] == name
    shown = read_json(tmp_path / "config.json", is_mended=True)["dataset"]
    assert shown.encode() and set(shown) == {"\N{REPLACEMENT CHARACTER}"}


def test_a_file_replaced_in_this_moment_is_opened_again(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"1")
    original, left = os.open, [2]

    def stale(*arguments, **options):
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ESTALE, "Stale file handle")
        return original(*arguments, **options)

    monkeypatch.setattr(ordinary_files.os, "open", stale)
    assert read_bounded(tmp_path / "a", 9) == b"1"
    left[0] = 99
    with refused("Stale file handle"):
        read_bounded(tmp_path / "a", 9)
