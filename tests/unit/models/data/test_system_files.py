"""What systems leave beside pictures is known by its name."""

from pathlib import PurePosixPath

import pytest

from models.data.system_files import is_system_file


@pytest.mark.parametrize(
    "name",
    ["__MACOSX/cats/1.png", "cats/._1.png", "cats/Thumbs.db", "cats/Desktop.ini", "cats/Icon\r", ".DS_Store"],
)
def test_system_files(name):
    assert is_system_file(PurePosixPath(name))


@pytest.mark.parametrize("name", ["cats/1.png", "Icon/1.png", "cats/.1.png", "thumbs/1.png", "cats/__1.png"])
def test_others(name):
    assert not is_system_file(PurePosixPath(name))
