"""The sidebar's picture as numbers."""

import base64
from types import SimpleNamespace

import numpy as np
from PIL import Image

from ui.learn.pictures import write_pictures


def write(tmp_path, picture: np.ndarray | None) -> dict[int, np.ndarray]:
    path = None
    if picture is not None:
        path = tmp_path / "picture.png"
        Image.fromarray(picture).save(path)
    services = SimpleNamespace(lab=SimpleNamespace(open_image=lambda path, progress: Image.open(path)))
    bench = SimpleNamespace(find_picture=lambda values: path)
    action = SimpleNamespace(report=lambda words: None)
    found = write_pictures(services, bench, {}, action)
    arrays = {side: np.frombuffer(base64.b64decode(text), np.uint8) for side, text in found.items()}
    return {side: array.reshape(side, side, 3) for side, array in arrays.items()}


def test_the_middle_square_is_averaged_cell_by_cell(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (64, 100, 3), dtype=np.uint8)
    found = write(tmp_path, picture)
    square = picture[:, 18:82]
    assert list(found) == [16, 32, 64]
    assert (found[64] == square).all()
    means = square.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    assert np.abs(found[16] - means).max() <= 1  # rounded along each axis


def test_a_small_picture_comes_as_it_is_too(tmp_path):
    picture = np.random.default_rng(1).integers(0, 256, (28, 28), dtype=np.uint8)
    found = write(tmp_path, picture)
    assert list(found) == [16, 28, 32, 64]
    assert (found[28] == picture[..., None]).all()


def test_there_may_be_no_picture(tmp_path):
    assert write(tmp_path, None) == {}
