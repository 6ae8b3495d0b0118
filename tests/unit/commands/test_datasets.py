"""`data`: what a look at a data set says before anything is trained."""

import os
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from models.data.datasets import load_dataset
from tests.own_pictures import make_folder, make_zip, noise, pictures, two_classes


def test_data_counts_what_training_would_use(run_json, run, tmp_path):
    document = run_json("data", "digits", "--seed", 3)
    expected = load_dataset("digits", data_root=tmp_path, seed=3)
    assert document["sizes"] == {
        "train": len(expected.train),
        "validation": len(expected.validation),
        "test": len(expected.test),
    }
    code, out, _ = run("data", "digits")
    assert code == 0 and len(out.splitlines()) == 11


def test_data_warns_of_near_duplicates_and_unreadable_files(run, run_json, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        picture = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((64, 64))
        for index in range(9):  # one picture, again and again: it is in every split
            picture.save(tmp_path / "pets" / name / f"{index}.png")
    (tmp_path / "pets" / "cats" / "broken.png").write_bytes(b"no picture")
    document = run_json("data", "pets")
    assert document["num_skipped"] == 1 and "broken.png" in document["skipped"][0]
    assert document["near_duplicates"] and any("copies says little" in warning for warning in document["warnings"])
    code, out, _ = run("data", "pets")
    assert code == 0 and document["warnings"][-1] in out


def test_mistakes_are_one_line(run):
    for arguments in (("data", "none.zip"), ("data", "digits", "--seed", -1), ("data", "digits", "--image-size", 2)):
        code, out, err = run(*arguments)
        assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1


QUICK = ("--no-checks", "--shifts", 2, "--max-shift", 1)
KOREAN = {name: os.fsdecode(name.encode("cp949")) for name in ("사진", "강아지", "고양이")}


@pytest.fixture
def korean(tmp_path):
    """A folder as an archive from Korean Windows leaves it: none of its names is UTF-8."""
    classes = pictures("강아지", "고양이", count=10)
    files = {f"{KOREAN[name.split('/')[0]]}/{name.split('/')[1]}": data for name, data in classes.items()}
    return make_folder(tmp_path / KOREAN["사진"], files)


@pytest.mark.parametrize("name", ["사진", KOREAN["사진"]])
def test_names_that_are_not_utf8_are_readable_everywhere(run, run_json, root, korean, name, caplog):
    """In what is shown, and in the files of a run; with its weights, too."""
    code, out, _ = run("data", name)
    assert code == 0 and "강아지: 7 train" in out and out.startswith("사진: ") and "Korean" in out
    code, _, err = run("train", "--name", "a", "--dataset", name, "--image-size", 8, "--max-steps", 2)
    assert code == 0 and "Korean (cp949)" in caplog.text, err
    for path in (root / "a").rglob("*.json"):
        assert not re.search(r"\\ud[c-f]|\udcbb", path.read_text(encoding="utf-8"))
    document = run_json("evaluate", "--model", "run/a", "--data", name, *QUICK)
    assert document["data"]["name"] == "사진" and document["data"]["num_images"] == 20
    assert document["models"][0]["num_images"] == 20  # every class was found among those of the model
    code, out, _ = run("classify", "--model", "run/a", str(next(korean.rglob("0.png"))))
    assert code == 0 and "강아지" in out and "고양이" in out
    assert run("capsule", "a", "a.zip")[0] == 0
    with zipfile.ZipFile("a.zip") as archive:
        assert all("\\udc" not in archive.read(name).decode() for name in archive.namelist() if name.endswith("json"))


def test_a_divided_set_is_told_as_what_it_is(run, run_json, tmp_path, caplog):
    files = pictures("pets/train/ants", "pets/train/bees", count=7) | pictures("pets/Val/ants", "pets/Val/bees")
    make_zip(tmp_path / "pets.zip", files)
    document = run_json("data", "pets.zip")
    assert document["categories"] == ["ants", "bees"] and document["counts"]["validation"] == [6, 6]
    assert "train and Val are the parts" in document["warnings"][0]
    code, _, err = run("train", "--name", "a", "--dataset", "pets.zip", "--image-size", 8, "--max-steps", 1)
    assert code == 0 and "train and Val are the parts" in caplog.text, err
    document = run_json("evaluate", "--model", "run/a", "--data", "pets.zip", *QUICK)
    assert document["data"]["num_images"] == 12 and "validation" in document["data"]["notes"][-1]
    code, out, _ = run("evaluate", "--model", "run/a", "--data", "pets.zip", *QUICK)
    assert code == 0 and document["data"]["notes"][-1] in out


def test_what_vanishes_is_named_by_every_command(run, tmp_path, caplog):
    make_folder(
        tmp_path / "pets", pictures("cats", "dogs") | {"birds/a.txt": b"x", ".owls/1.png": b"x", "c.png": b"x"}
    )
    (tmp_path / "pets" / "bats").mkdir()
    assert run("train", "--name", "a", "--dataset", "pets", "--image-size", 8, "--max-steps", 1)[0] == 0
    commands = (
        ("data", "pets"),
        ("train", "--name", "b", "--dataset", "pets", "--image-size", 8, "--max-steps", 1),
        ("evaluate", "--model", "run/a", "--data", "pets", *QUICK),
    )
    for command in commands:
        caplog.clear()
        code, out, _ = run(*command)
        assert code == 0
        for words in ("2 files were left out", "folder birds was", "folder .owls was", "folder bats was"):
            assert words in out + caplog.text, command


def test_plain_pictures_and_two_labels_are_warned_of(run_json, tmp_path):
    make_folder(tmp_path / "plain", two_classes())
    assert any("one colour" in warning for warning in run_json("data", "plain")["warnings"])
    make_folder(tmp_path / "pets", pictures("cats", "dogs") | {"cats/same.png": noise(1), "dogs/same.png": noise(1)})
    document = run_json("data", "pets")
    (pair,) = document["near_duplicates"]["two_labels"]
    assert document["near_duplicates"]["pairs"] == [] and pair["distance"] == 0
    (warning,) = document["warnings"]
    assert "cats/same.png" in warning and "dogs/same.png" in warning and "label" in warning
