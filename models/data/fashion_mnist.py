"""Fashion-MNIST (Xiao et al., 2017) from files on this machine, or downloaded once."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from analysis.errors import UserError

CATEGORIES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SIDE = 28
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts the files."""
MAX_ITEMS = 1_000_000
_IMAGES_MAGIC, _LABELS_MAGIC = 0x803, 0x801  # unsigned bytes in 3 and in 1 dimensions

Arrays = tuple[np.ndarray, np.ndarray]


def load_fashion_mnist(data_root: str | Path) -> tuple[Arrays, Arrays]:
    """Reads the official train and test sets.

    Args:
        data_root: Folder searched first, and the one that a download goes to.

    Returns:
        ``(train images, train labels), (test images, test labels)``: uint8 ``(N, 28, 28)`` and ``(N,)``.

    Raises:
        UserError: No files and no way to download them, or a file is damaged.
    """
    paths = find_files(data_root) or _download(Path(data_root))
    train_images, train_labels, test_images, test_labels = (_read_idx(path) for path in paths)
    for images, labels, path in ((train_images, train_labels, paths[1]), (test_images, test_labels, paths[3])):
        if len(images) != len(labels):
            raise UserError(f"{path} has {len(labels)} labels for {len(images)} images; replace the file.")
        if labels.max() >= len(CATEGORIES):
            raise UserError(f"{path} contains the label {labels.max()}, but there are only 10; replace the file.")
    return (train_images, train_labels), (test_images, test_labels)


def find_files(data_root: str | Path) -> tuple[Path, ...] | None:
    """The four files, plain or .gz, from the first folder that has them all; None if there is none."""
    data_root = Path(data_root)
    for folder in (data_root / "FashionMNIST" / "raw", data_root, SYSTEM_FOLDER):
        found = [next(filter(Path.is_file, (folder / name, folder / f"{name}.gz")), None) for name in FILES]
        if len(paths := tuple(path for path in found if path)) == len(FILES):
            return paths
    return None


def _download(data_root: Path) -> tuple[Path, ...]:
    from torchvision.datasets import FashionMNIST

    try:
        FashionMNIST(data_root, download=True)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"Fashion-MNIST is not on this machine and could not be downloaded ({_first_line(error)}); put "
            f"{', '.join(name + '.gz' for name in FILES)} into {data_root}, or install the Debian package "
            "dataset-fashion-mnist, or choose the data set shapes, which needs no files."
        ) from error
    if (paths := find_files(data_root)) is None:
        raise UserError(f"The download of Fashion-MNIST left no files in {data_root}; try again.")
    return paths


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__


def _read_idx(path: Path) -> np.ndarray:
    """One idx file: images ``(N, 28, 28)`` or labels ``(N,)``, with every number in the header checked."""
    damaged = UserError(f"{path} is not a complete Fashion-MNIST file; delete or replace it.")
    is_images = "images" in path.name
    dimensions = 3 if is_images else 1
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            header = np.frombuffer(file.read(4 + 4 * dimensions), dtype=">u4")
            if len(header) != 1 + dimensions or header[0] != (_IMAGES_MAGIC if is_images else _LABELS_MAGIC):
                raise damaged
            count, *sides = (int(number) for number in header[1:])
            if not 1 <= count <= MAX_ITEMS or sides != [SIDE] * len(sides):
                raise damaged
            num_bytes = count * SIDE ** len(sides)
            data = file.read(num_bytes + 1)  # one more, to notice a file that is too long
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise damaged from error
    if len(data) != num_bytes:
        raise damaged
    return np.frombuffer(data, dtype=np.uint8).reshape(count, *sides)
