"""CIFAR-10 in both versions of its files, from a server, and damaged."""

import functools
import hashlib
import http.server
import io
import os
import pickle
import struct
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from analysis.errors import UserError
from models.data import cifar10
from models.data.cifar10 import load_cifar10, load_test
from models.data.datasets import load_dataset
from tests.sentences import refused

NAMES = (*cifar10.TRAIN_NAMES, cifar10.TEST_NAME)
COUNT = 40


def make_batches(seed=0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return {
        name: (rng.integers(256, size=(COUNT, 3, 32, 32), dtype=np.uint8), np.arange(COUNT) % 10) for name in NAMES
    }


def as_binary(images, labels) -> bytes:
    return b"".join(bytes([label]) + image.tobytes() for label, image in zip(labels, images, strict=True))


def as_python_2(images, labels) -> bytes:
    """What Python 2 wrote: bytes as BINSTRING, one memo entry for each object."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value + b"q\x01"

    pixels = images.tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b\x87Rq\x04"
        + b"(K\x01"
        + b"M" + struct.pack("<H", len(images)) + b"M" + struct.pack("<H", 3072) + b"\x86"
        + b"cnumpy\ndtype\nq\x05U\x02u1K\x00K\x01\x87Rq\x06(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89T" + struct.pack("<i", len(pixels)) + pixels + b"tb"
    )  # fmt: skip
    numbers = b"]q\x07(" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    names = b"]q\x08(" + b"".join(text(b"labels_%d.png" % label) for label in labels) + b"e"
    items = text(b"batch_label") + text(b"batch 1") + text(b"labels") + numbers + text(b"data") + array
    return b"\x80\x02}q\x00(" + items + text(b"filenames") + names + b"u."


def as_python_3(images, labels, protocol=2, order="C") -> bytes:
    pixels = np.array(images.reshape(len(images), -1), order=order)
    return pickle.dumps({b"labels": [int(label) for label in labels], b"data": pixels}, protocol=protocol)


WRITERS = {
    "binary": (cifar10.BINARY_FOLDER, ".bin", as_binary),
    "python 2": (cifar10.PYTHON_FOLDER, "", as_python_2),
    "python 3": (cifar10.PYTHON_FOLDER, "", as_python_3),
    "python 3, new": (cifar10.PYTHON_FOLDER, "", functools.partial(as_python_3, protocol=4)),
    "columns first": (cifar10.PYTHON_FOLDER, "", functools.partial(as_python_3, order="F")),
}


def write(root, batches, kind) -> None:
    folder, suffix, writer = WRITERS[kind]
    (root / folder).mkdir(parents=True, exist_ok=True)
    for name, batch in batches.items():
        (root / folder / f"{name}{suffix}").write_bytes(writer(*batch))


@pytest.mark.parametrize("kind", WRITERS)
def test_every_version_gives_the_same_pictures(tmp_path, kind):
    batches = make_batches()
    write(tmp_path, batches, kind)
    (train_images, train_labels), (test_images, test_labels) = load_cifar10(tmp_path)
    assert np.array_equal(train_images, np.concatenate([batches[name][0] for name in NAMES[:-1]]))
    assert np.array_equal(train_labels, np.concatenate([batches[name][1] for name in NAMES[:-1]]))
    assert np.array_equal(test_images, batches["test_batch"][0]) and test_images.dtype == np.uint8
    assert np.array_equal(test_labels, batches["test_batch"][1]) and test_labels.dtype == np.int64
    assert np.array_equal(load_test(tmp_path)[0], test_images)


@pytest.mark.parametrize("kind", ["python 2", "python 3", "columns first"])
def test_unpickling_agrees(kind):
    """The way of torchvision, on files that this test has made."""
    images, labels = make_batches()["test_batch"]
    data = WRITERS[kind][2](images, labels)
    entry = pickle.loads(data, encoding="bytes")
    pixels, numbers = cifar10._read_pickle(data)
    assert np.array_equal(pixels, entry[b"data"]) and numbers.tolist() == entry[b"labels"]


def test_as_a_data_set(tmp_path):
    batches = make_batches()
    write(tmp_path, batches, "python 2")
    data = load_dataset("cifar10", data_root=tmp_path, seed=3)
    assert data.categories[9] == "truck" and data.in_channels == 3 and data.image_size == 32
    assert [len(split) for split in (data.train, data.validation, data.test)] == [167, 33, 40]
    assert np.array_equal(data.test.images, batches["test_batch"][0]) and data.test.ids.tolist()[:2] == [200, 201]
    assert data.source_name(data.test.ids[7]) == "test 7" and data.source_name(41) == "train 41"
    picture = data.train.ids.tolist().index(int(data.train.ids[50]))
    number = int(data.train.ids[50])
    expected = batches[NAMES[number // COUNT]][0][number % COUNT]
    assert np.array_equal(data.train.images[picture], expected)


class _Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def test_nothing_in_a_file_is_carried_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, labels = make_batches()["test_batch"]
    harm = pickle.dumps({b"labels": labels.tolist(), b"data": images.reshape(COUNT, -1), b"x": _Evil()}, protocol=2)
    path = tmp_path / cifar10.PYTHON_FOLDER / "test_batch"
    path.parent.mkdir()
    path.write_bytes(harm)
    assert np.array_equal(load_test(tmp_path)[0], images)
    assert not (tmp_path / "evil").exists()
    pickle.loads(harm)
    assert (tmp_path / "evil").exists()


def test_damage_is_said_in_one_sentence(tmp_path):
    images, labels = make_batches()["test_batch"]
    good = as_python_2(images, labels)
    rng = np.random.default_rng(0)
    bad = [b"", b"hello", good[: len(good) // 2], good[:200], pickle.dumps({}), b"\x80\x02T\xff\xff\xff\x7fabc."]
    bad += [as_python_2(images, labels[:-1]), as_python_2(images[:0], labels[:0])]
    for _ in range(60):
        damaged = bytearray(good)
        for place in rng.integers(0, 400, 3):
            damaged[place] = rng.integers(256)
        bad.append(bytes(damaged))
    path = tmp_path / cifar10.PYTHON_FOLDER / "test_batch"
    path.parent.mkdir()
    refused = 0
    for data in bad:
        path.write_bytes(data)
        try:
            pictures, numbers = load_test(tmp_path)
        except UserError as error:
            refused += "test_batch" in str(error)
        else:
            assert len(pictures) == len(numbers) and numbers.max() < 10
    assert refused >= 8


@pytest.mark.parametrize("label", [10, 255])
def test_labels_beyond_the_classes_are_refused(tmp_path, label):
    images, labels = make_batches()["test_batch"]
    labels[3] = label
    write(tmp_path, {"test_batch": (images, labels)}, "python 2")
    with refused(label, "10"):
        load_test(tmp_path)


def test_files_that_are_far_too_large_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "MAX_FILE_BYTES", 1000)
    write(tmp_path, make_batches(), "binary")
    with refused():
        load_test(tmp_path)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves tmp_path/site; yields the function that packs the archive there and tells its digest."""
    (tmp_path / "site").mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "site")
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setattr(cifar10, "URL", f"http://127.0.0.1:{running.server_port}/cifar.tar.gz")

        def pack(files: dict[str, bytes]) -> None:
            path = tmp_path / "site" / "cifar.tar.gz"
            with tarfile.open(path, "w:gz") as tar:
                for name, data in files.items():
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
            monkeypatch.setattr(cifar10, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())

        yield pack
        running.shutdown()


def test_missing_files_are_downloaded_once(tmp_path, server):
    batches, heard = make_batches(), []
    files = {f"cifar-10-batches-bin/{name}.bin": as_binary(*batch) for name, batch in batches.items()}
    server(files | {"../outside": b"x", "cifar-10-batches-bin/readme.html": b"x"})
    root = tmp_path / "data"
    _, (images, _) = load_cifar10(root, lambda fraction, message: heard.append((fraction, message)))
    assert np.array_equal(images, batches["test_batch"][0])
    assert sorted(path.name for path in root.iterdir()) == ["cifar-10-batches-bin"]
    assert len(list((root / "cifar-10-batches-bin").iterdir())) == 6 and not (tmp_path / "outside").exists()
    assert heard[0][1] == "Downloading CIFAR-10" and all(0 <= fraction <= 1 for fraction, _ in heard)
    (tmp_path / "site" / "cifar.tar.gz").unlink()
    assert np.array_equal(load_cifar10(root)[1][0], images)


def test_two_that_fetch_it_at_once_do_not_disturb_each_other(tmp_path, server):
    """As a page and a training do."""
    batches = make_batches()
    server({f"cifar-10-batches-bin/{name}.bin": as_binary(*batch) for name, batch in batches.items()})
    both = threading.Barrier(2, timeout=20)

    def meet(fraction, message):
        if message == "Downloading CIFAR-10" and fraction == 1:
            both.wait()

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: load_cifar10(tmp_path / "data", meet)[1][0], range(2)))
    assert all(np.array_equal(images, batches["test_batch"][0]) for images in found)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["cifar-10-batches-bin"]


@pytest.mark.parametrize("problem", ["gone", "other content", "no archive", "files missing"])
def test_a_download_that_fails_says_what_to_do(tmp_path, server, monkeypatch, problem):
    server({"cifar-10-batches-bin/data_batch_1.bin": b"x"})
    archive = tmp_path / "site" / "cifar.tar.gz"
    if problem == "gone":
        archive.unlink()
    elif problem == "other content":
        monkeypatch.setattr(cifar10, "SHA256", "0" * 64)
    elif problem == "no archive":
        archive.write_bytes(b"no archive")
        monkeypatch.setattr(cifar10, "SHA256", hashlib.sha256(b"no archive").hexdigest())
    with refused("cifar-10-binary.tar.gz", "shapes or digits", varies=r":\d+|\.cifar-10-\w+"):
        load_cifar10(tmp_path / "data")
    assert not list((tmp_path / "data").glob("*.tar.gz"))


def test_a_download_can_be_cancelled(tmp_path, server):
    server({"cifar-10-batches-bin/data_batch_1.bin": bytes(5_000_000)})

    def cancel(fraction, message):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_cifar10(tmp_path / "data", cancel)
    assert not list((tmp_path / "data").rglob("*.*"))


def test_the_test_set_alone_is_never_downloaded(tmp_path):
    with refused("cifar-10-binary.tar.gz"):
        load_test(tmp_path)
