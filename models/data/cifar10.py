"""CIFAR-10 (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009) from files on this
machine, or downloaded once.

Two versions of the files are read: the binary one, which is also what is downloaded, and the one for Python
that torchvision keeps. The latter are pickles. They are never unpickled: the opcodes are listed as data, the
pixels and labels are taken from their arguments, and nothing in the file is carried out.
"""

import pickletools
import struct
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.errors import MessageProgress, UserError
from models.weights import WeightsFile, download

CATEGORIES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BINARY_FOLDER, PYTHON_FOLDER = Path("cifar-10-batches-bin"), Path("cifar-10-batches-py")
TRAIN_NAMES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_NAME = "test_batch"
TEST_FILE = BINARY_FOLDER / f"{TEST_NAME}.bin"
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
ARCHIVE_BYTES = 170_052_171
MAX_FILE_BYTES = 64 * 2**20
SIDE = 32
_PIXELS = 3 * SIDE**2
_READ_ERRORS = (ValueError, IndexError, KeyError, EOFError, OverflowError, struct.error)

Arrays = tuple[np.ndarray, np.ndarray]


def load_cifar10(
    data_root: str | Path, progress: MessageProgress = lambda fraction, message: None
) -> tuple[Arrays, Arrays]:
    """Reads the official train and test sets.

    Args:
        data_root: Folder that holds ``cifar-10-batches-bin`` or ``cifar-10-batches-py``, and that a download goes to.
        progress: Told the fraction done; what it raises ends the download.

    Returns:
        ``(train images, train labels), (test images, test labels)``: uint8 ``(N, 3, 32, 32)`` and int64 ``(N,)``.

    Raises:
        UserError: No files and no way to download them, or a file is damaged.
    """
    data_root = Path(data_root)
    names = (*TRAIN_NAMES, TEST_NAME)
    paths = _find(data_root, names) or _download(data_root, names, progress)
    batches = []
    for number, path in enumerate(paths):
        progress(number / len(paths), "Reading CIFAR-10")
        batches.append(_read(path))
    images, labels = (np.concatenate(parts) for parts in zip(*batches[:-1], strict=True))
    return (images, labels), batches[-1]


def load_test(data_root: str | Path) -> Arrays:
    """Reads the official test set alone: images ``(N, 3, 32, 32)`` uint8 and labels ``(N,)`` int64.

    Raises:
        UserError: It is not there, or damaged.
    """
    data_root = Path(data_root)
    paths = _find(data_root, (TEST_NAME,))
    if paths is None:
        raise UserError(f"CIFAR-10 is not on this machine: {_by_hand(data_root, TEST_NAME)}.")
    return _read(paths[0])


def _find(data_root: Path, names: tuple[str, ...]) -> tuple[Path, ...] | None:
    for folder, suffix in ((BINARY_FOLDER, ".bin"), (PYTHON_FOLDER, "")):
        paths = tuple(data_root / folder / f"{name}{suffix}" for name in names)
        if all(path.is_file() for path in paths):
            return paths
    return None


def _by_hand(data_root: Path, name: str) -> str:
    return (
        f"unpack its binary version (cifar-10-binary.tar.gz) in {data_root}, so that there is a file "
        f"{data_root / BINARY_FOLDER / name}.bin"
    )


@dataclass(frozen=True)
class _Archive(WeightsFile):
    """The packed files, for the time of unpacking; the path holds the digest that the download must have."""

    folder: Path
    name = "cifar-10-binary.tar.gz"
    by_hand = ""  # what its reader says is another way

    @property
    def path(self) -> Path:
        return self.folder / f"cifar-10-binary-{SHA256}.tar.gz"


def _download(data_root: Path, names: tuple[str, ...], progress: MessageProgress) -> tuple[Path, ...]:
    try:
        data_root.mkdir(parents=True, exist_ok=True)
        # In a folder of its own, for a page and a training may fetch it at the same time.
        with tempfile.TemporaryDirectory(prefix=".cifar-10-", dir=data_root) as scratch:
            archive = _Archive(URL, ARCHIVE_BYTES, Path(scratch))
            download(archive, lambda done, total: progress(done / max(total, 1), "Downloading CIFAR-10"))
            return tuple(_unpack(archive.path, f"{name}.bin", data_root) for name in names)
    except (UserError, OSError, tarfile.TarError, KeyError, EOFError, zlib.error) as error:
        raise UserError(
            f"CIFAR-10 is not on this machine and could not be downloaded from {URL} ({_reason(error)}); "
            f"{_by_hand(data_root, TEST_NAME)}, or choose shapes or digits, which need no files."
        ) from error


def _reason(error: Exception) -> str:
    """The innermost cause, in one line."""
    cause = error.__cause__ or error
    why = getattr(cause, "reason", None) or getattr(cause, "strerror", None) or cause
    text = " ".join(str(why).split())
    return text.rstrip(".") or type(cause).__name__


def _unpack(archive: Path, name: str, data_root: Path) -> Path:
    """One file by its full name, all or nothing; whatever else the archive holds stays in it."""
    path = data_root / BINARY_FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "r:gz") as tar:
        member = tar.extractfile((BINARY_FOLDER / name).as_posix())
        if member is None:
            raise KeyError(f"{name} is no file")
        data = member.read(MAX_FILE_BYTES)
    part = archive.with_name(name)
    part.write_bytes(data)
    return part.replace(path)


def _read(path: Path) -> Arrays:
    """The pictures and labels of one file of either version."""
    damaged = UserError(f"{path} is not a complete CIFAR-10 file; delete or replace it.")
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise damaged
        data = path.read_bytes()
        pixels, labels = (_read_binary if path.suffix == ".bin" else _read_pickle)(data)
    except (OSError, *_READ_ERRORS) as error:
        raise damaged from error
    if not len(pixels) or len(labels) != len(pixels):
        raise damaged
    if labels.max() >= len(CATEGORIES) or labels.min() < 0:
        wrong = labels.max() if labels.max() >= len(CATEGORIES) else labels.min()
        raise UserError(f"{path} contains the label {wrong}, but there are only 10; replace the file.")
    return pixels.reshape(-1, 3, SIDE, SIDE), labels


def _read_binary(data: bytes) -> Arrays:
    """Records of one byte for the label and 3072 for the pixels."""
    records = np.frombuffer(data, np.uint8).reshape(-1, 1 + _PIXELS)
    return np.ascontiguousarray(records[:, 1:]), records[:, 0].astype(np.int64)


_LIST_OPCODES = {"MARK", "APPEND", "APPENDS", "BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE", "FRAME"}
_INTEGER_OPCODES = {"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4"}


def _read_pickle(data: bytes) -> Arrays:
    """Pixels and labels of a file of the version for Python, from the arguments of its opcodes.

    The pixels are its one long string of whole pictures; the labels are the numbers of the next list after
    the word "labels".
    """
    pixels, labels, is_column_major = None, [], False
    comes_next = in_labels = False
    for opcode, argument, _ in pickletools.genops(data):
        if in_labels and opcode.name in _INTEGER_OPCODES:
            labels.append(int(argument or 0))
        elif comes_next and opcode.name == "EMPTY_LIST":
            comes_next, in_labels = False, True
        elif opcode.name not in _LIST_OPCODES:
            in_labels = False
            comes_next = comes_next or argument in ("labels", b"labels")
        if opcode.name in ("NEWTRUE", "NEWFALSE") and pixels is None:
            is_column_major = opcode.name == "NEWTRUE"
        if isinstance(argument, str | bytes) and len(argument) >= _PIXELS and len(argument) % _PIXELS == 0:
            # Python 2 wrote bytes; Python 3, asked for the old protocol, writes them as Latin-1 text.
            pixels = argument if isinstance(argument, bytes) else argument.encode("latin-1")
    if pixels is None:
        raise ValueError("there are no pixels")
    array = np.frombuffer(pixels, np.uint8).reshape((-1, _PIXELS), order="F" if is_column_major else "C")
    return np.ascontiguousarray(array), np.array(labels, np.int64)
