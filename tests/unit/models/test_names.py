"""Every name can be shown, and a shown name leads back to its file."""

import os
import unicodedata
from pathlib import Path, PurePosixPath

from models.names import (
    compose,
    describe_skipped,
    find_path,
    list_readable,
    make_readable,
    number_twins,
    readable_path,
    refuse_lookalikes,
    simplify,
)
from tests.sentences import refused

KOREAN = os.fsdecode("사진".encode("cp949"))
"""As Python gives it on Linux: lone surrogates."""


def test_lone_surrogates_become_letters():
    assert any("\udc80" <= letter <= "\udcff" for letter in KOREAN)
    assert make_readable(f"/data/{KOREAN}/cats") == "/data/사진/cats"
    assert make_readable("사진") == "사진" and make_readable("") == ""
    for name in ("\ud800", "\udc98\udcff\udcfd", "\udfff", "x\x1b[31m", "a\u202eb"):
        shown = make_readable(name)
        shown.encode()
        assert "\ufffd" in shown and "\x1b" not in shown and "\u202e" not in shown


def test_letters_are_composed():
    apart = unicodedata.normalize("NFD", "고양이 é")
    assert apart != "고양이 é" and compose(apart) == make_readable(apart) == "고양이 é"


def test_what_two_spellings_have_in_common():
    assert simplify("Tiger_Cat") == simplify(" tiger  cat ") == simplify("tiger-cat") == simplify("ＴＩＧＥＲ cat")
    assert simplify("cat") != simplify("cats")
    assert simplify("고양이") == simplify(unicodedata.normalize("NFD", "고양이"))


def test_names_that_are_there_twice_get_numbers():
    names = [PurePosixPath(name) for name in ("a/b.png", "a/b.png", "a/b (2).png", "a/b.png", "c")]
    numbered = number_twins(names)
    assert numbered[:2] == [PurePosixPath("a/b.png"), PurePosixPath("a/b (2).png")]
    assert len(set(numbered)) == 5 and numbered[4] == PurePosixPath("c")
    assert len(set(number_twins([PurePosixPath("x")] * 20_000))) == 20_000  # and that at once


def test_a_readable_path_leads_to_the_file(tmp_path):
    real = tmp_path / KOREAN / KOREAN
    real.mkdir(parents=True)
    (real / "cats").mkdir()
    shown = readable_path(real / "cats")
    assert shown == str(tmp_path / "사진" / "사진" / "cats")
    assert find_path(shown) == real / "cats" and find_path(real) == real
    assert readable_path(tmp_path) == str(tmp_path) and find_path(tmp_path) == tmp_path
    assert find_path(tmp_path / "none" / "cats") == tmp_path / "none" / "cats"
    assert find_path("/") == Path("/") and find_path("x" * 5000) == Path("x" * 5000)


def test_names_that_would_be_shown_alike_are_told_apart(tmp_path):
    for name in (b"\xff\xff", b"\xfe\xfe", "사진".encode(), "사진".encode("cp949")):
        (tmp_path / os.fsdecode(name)).mkdir()
    shown = list_readable(tmp_path)
    assert len(set(shown.values())) == 4
    for name, readable in shown.items():
        readable.encode()
        assert find_path(readable_path(tmp_path / name)) == tmp_path / name
        assert readable_path(tmp_path / name) == str(tmp_path / readable)


def test_folders_of_several_archives_are_each_read_in_their_own_encoding(tmp_path):
    """One that is Japanese, or no text at all, does not make letters of another language of the Korean ones."""
    names = {"사진": "cp949", "写真": "cp932", "의자": "cp949"}
    for name, encoding in names.items():
        (tmp_path / os.fsdecode(name.encode(encoding))).mkdir()
    (tmp_path / os.fsdecode(b"\xff\xfe\x80")).mkdir()
    assert names.keys() < set(list_readable(tmp_path).values())


def test_a_folder_keeps_its_name_beside_one_that_reads_the_same(tmp_path):
    """Else a path would lead to the other one."""
    for name in (KOREAN, "사진", unicodedata.normalize("NFD", "사진")):
        (tmp_path / name).mkdir()
    shown = list_readable(tmp_path)
    assert shown["사진"] == "사진" and len(set(shown.values())) == 3
    assert all(find_path(tmp_path / other) == tmp_path / name for name, other in shown.items())


def test_two_folders_that_cannot_be_read_apart_are_refused():
    lost = PurePosixPath("\ufffd\ufffd")
    with refused("pets"):
        refuse_lookalikes("pets", [(lost, b"\xff\xff"), (lost, b"\xfe\xfe")])
    refuse_lookalikes(
        "pets", [(lost, b"\xff\xff"), (lost, b"\xff\xff"), (PurePosixPath("a"), 1), (PurePosixPath("a"), 2)]
    )


def test_left_out_files_are_one_sentence():
    assert describe_skipped([]) == ""
    line = "pets/cover.jpg: lies outside the class folders."
    assert describe_skipped([line]) == "1 file was left out; it lies outside the class folders: pets/cover.jpg."
    lines = ["cats/a.png: a.png is damaged.", line]
    assert describe_skipped(lines) == "2 files were left out; the first, cats/a.png, is damaged."
