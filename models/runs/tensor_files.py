"""Tensors that took long to compute, kept in files as far as they fit into a number of bytes: never a pickle."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from models.runs.files import write_bytes

_LEFTOVER_SECONDS = 3600
_HASH_BYTES = 2**24
log = logging.getLogger(__name__)


class TensorFiles:
    """A folder of safetensors files; those that were not used for longest go first.

    Args:
        folder: Made where it is first written to.
        max_bytes: Of all files together; what is larger on its own is not kept.
    """

    def __init__(self, folder: Path, max_bytes: int):
        self.folder, self.max_bytes = folder, max_bytes

    def read(self, key: str, expected: Mapping[str, tuple[torch.dtype, tuple[int | None, ...]]]) -> dict | None:
        """The tensors kept under a key, and the file is marked as used.

        Args:
            expected: Type and shape of each tensor that has to be there, None for a side of any length.

        Returns:
            None where there is no such file, or it is damaged or holds anything else.
        """
        from safetensors import SafetensorError, safe_open

        path = self.folder / f"{key}.safetensors"
        try:
            with safe_open(path, framework="pt") as file:
                if set(file.keys()) != set(expected):
                    return None
                shapes = {name: file.get_slice(name).get_shape() for name in expected}
                if not all(_fits(shapes[name], shape) for name, (_, shape) in expected.items()):
                    return None
                tensors = {name: file.get_tensor(name) for name in expected}
            os.utime(path)
        except (OSError, SafetensorError):
            return None
        fits = all(tensors[name].dtype == dtype for name, (dtype, _) in expected.items())
        return tensors if fits and all(bool(each.isfinite().all()) for each in tensors.values()) else None

    def write(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keeps tensors under a key; where that cannot be done, it costs only time."""
        from safetensors.torch import save

        if sum(each.nbytes for each in tensors.values()) > self.max_bytes:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_bytes(self.folder / f"{key}.safetensors", save(dict(tensors)))
            self._prune()
        except OSError as error:
            log.warning("The results could not be kept in %s (%s).", self.folder, error.strerror or error)

    def _prune(self) -> None:
        """Deletes what was used longest ago until the rest fits, and halves of files that a crash left behind."""
        files = []
        for entry in os.scandir(self.folder):
            status = entry.stat()
            if entry.name.endswith(".safetensors"):
                files.append((status.st_mtime, status.st_size, entry.path))
            elif time.time() - status.st_mtime > _LEFTOVER_SECONDS:
                Path(entry.path).unlink(missing_ok=True)
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.max_bytes:
                return
            Path(path).unlink(missing_ok=True)
            total -= size


def _fits(found: Sequence[int], expected: Sequence[int | None]) -> bool:
    return len(found) == len(expected) and all(side in (None, has) for has, side in zip(found, expected, strict=True))


def hash_state(digest, state: Mapping[str, Tensor]) -> None:
    """Adds names, shapes and values of tensors to a hash of hashlib."""
    for name, tensor in state.items():
        digest.update(repr((name, tuple(tensor.shape), tensor.dtype)).encode())
        hash_tensor(digest, tensor)


def hash_tensor(digest, tensor: Tensor) -> None:
    """Adds the bytes of a tensor to a hash of hashlib."""
    data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    for start in range(0, len(data), _HASH_BYTES):
        digest.update(data[start : start + _HASH_BYTES])
