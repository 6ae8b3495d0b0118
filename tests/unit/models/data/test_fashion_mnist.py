"""Finding and reading idx files: order of places, plain and gzip, and damage that is noticed."""

import gzip
import struct

import numpy as np
import pytest

from models.data import fashion_mnist
from models.data.fashion_mnist import FILES, find_files, load_fashion_mnist
from tests.sentences import refused


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def contents(num: int = 12) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (num, 28, 28), dtype=np.uint8)
    labels = (np.arange(num) % 10).astype(np.uint8)
    return {name: images if "images" in name else labels for name in FILES}


def write(folder, arrays, *, compressed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "SYSTEM_FOLDER", tmp_path / "system")
    return tmp_path / "data"


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("folder", ["FashionMNIST/raw", "."])
def test_reads_what_was_written(root, folder, compressed):
    arrays = contents()
    write(root / folder, arrays, compressed=compressed)
    (train_images, train_labels), (test_images, _) = load_fashion_mnist(root)
    assert np.array_equal(train_images, arrays[FILES[0]])
    assert np.array_equal(train_labels, arrays[FILES[1]])
    assert np.array_equal(test_images, arrays[FILES[2]])


def test_places_in_order_and_only_complete_ones(root):
    assert find_files(root) is None
    write(fashion_mnist.SYSTEM_FOLDER, contents())
    assert find_files(root)[0].parent == fashion_mnist.SYSTEM_FOLDER
    write(root, contents())
    (root / f"{FILES[3]}.gz").unlink()
    assert find_files(root)[0].parent == fashion_mnist.SYSTEM_FOLDER
    write(root, contents())
    assert find_files(root)[0].parent == root
    write(root / "FashionMNIST" / "raw", contents())
    assert find_files(root)[0].parent == root / "FashionMNIST" / "raw"


def damage_cut(data):
    return gzip.compress(gzip.decompress(data)[:-1])


def damage_longer(data):
    return gzip.compress(gzip.decompress(data) + b"x")


def damage_gzip_cut(data):
    return data[: len(data) // 2]


def damage_no_gzip(data):
    return b"<html>not found</html>"


def damage_count(data):
    plain = bytearray(gzip.decompress(data))
    plain[4:8] = b"\xff\xff\xff\xff"
    return gzip.compress(bytes(plain))


def damage_empty(data):
    return b""


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "damage", [damage_cut, damage_longer, damage_gzip_cut, damage_no_gzip, damage_count, damage_empty]
)
def test_damaged_files_are_named(root, name, damage):
    write(root, contents())
    path = root / f"{name}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with refused(name):
        load_fashion_mnist(root)


def test_labels_must_fit(root):
    arrays = contents()
    write(root, arrays | {FILES[1]: arrays[FILES[1]][:-1]})
    with refused("11", "12"):
        load_fashion_mnist(root)
    write(root, arrays | {FILES[1]: arrays[FILES[1]] + 5})
    with refused("14"):
        load_fashion_mnist(root)


def test_without_files_or_network_it_says_what_to_do(root, monkeypatch):
    def no_network(*args, **kwargs):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz:\nmany lines")

    monkeypatch.setattr("torchvision.datasets.FashionMNIST", no_network)
    with refused("train-images-idx3-ubyte.gz", "shapes"):
        load_fashion_mnist(root)
