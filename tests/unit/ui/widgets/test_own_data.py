"""Own pictures are found in folders of the data root."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab.own_pictures import list_folders
from lab.session import Lab
from models.data.datasets import load_dataset
from models.names import find_path
from models.training.config import TrainingConfig
from tests.own_pictures import make_folder
from tests.own_pictures import pictures as pictures_of
from tests.sentences import refused
from ui.widgets.own_data import find_own_data


@pytest.fixture
def services(tmp_path):
    return SimpleNamespace(lab=SimpleNamespace(data_root=tmp_path / "data"))


def test_folders_in_the_data_root(services, tmp_path, monkeypatch):
    """Several folders, perhaps in one around them, or behind a link; readable, whatever their bytes are."""
    assert list_folders(services.lab.data_root) == []
    root, korean = services.lab.data_root, os.fsdecode("사진".encode("cp949"))
    for path in ("pets/cats", "pets/dogs", "around/pets/cats", "around/pets/dogs", "one/cats", ".git/a", ".git/b"):
        (root / path).mkdir(parents=True)
    for path in (f"{korean}/cats", f"{korean}/dogs", "mac/__MACOSX", "mac/cats", "locked/a", "empty"):
        (root / path).mkdir(parents=True)
    (tmp_path / "elsewhere" / "a").mkdir(parents=True)
    (tmp_path / "elsewhere" / "b").mkdir()
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "lost").symlink_to(tmp_path / "none")
    (root / "file.txt").write_text("hello")
    read = Path.iterdir

    def refuse(path):
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert list_folders(services.lab.data_root) == ["around", "link", "pets", "사진"]
    assert find_path(find_own_data(services, None, "사진")) == root / korean
    assert find_own_data(services, None, "link") == str(root / "link")
    for missing in (None, "none", "../elsewhere", korean):
        with refused():
            find_own_data(services, None, missing)


def test_a_data_root_whose_own_name_is_not_utf8(tmp_path):
    """Its path goes into the files of runs, and must lead back to it."""
    root = tmp_path / os.fsdecode("사진".encode("cp949"))
    for name in ("cats", "dogs"):
        make_folder(root / "pets", pictures_of(name))
    services = SimpleNamespace(lab=Lab("cpu", data_root=root / "data" / "..", runs_root=tmp_path / "runs"))
    assert str(services.lab.data_root) == str(tmp_path / "사진") and list_folders(services.lab.data_root) == ["pets"]
    path = find_own_data(services, None, "pets")
    assert TrainingConfig(path, data_root=str(services.lab.data_root)).to_dict()["dataset"].encode()
    loaded = load_dataset(path, data_root=services.lab.data_root, seed=0, image_size=16)
    assert loaded.categories == ("cats", "dogs")
    assert find_path(tmp_path / "사진" / "new") == root / "new"
