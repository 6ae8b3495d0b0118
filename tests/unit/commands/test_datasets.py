"""`data`: what a look at a data set says before anything is trained."""

import numpy as np
from PIL import Image

from models.data import load_dataset


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
