"""Weight files: where torchvision looks for them, how they get there, and a safe look inside."""

import hashlib
import http.client
import os
import re
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import torch

from analysis.errors import UserError
from analysis.grammar import article
from models.access import viewer
from models.encodings import is_utf8

CHUNK_BYTES = 2**20
TIMEOUT_SECONDS = 20
SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar", ".safetensors", ".onnx", ".h5", ".keras", ".pkl", ".npz")
"""Of files that hold weights."""
USABLE = (
    "weights of one's own cannot be opened yet; a model is one that `models` lists, a training of this program "
    "(run/NAME), or one that open-capsule has brought in"
)
_HASH_IN_NAME = re.compile(r"-([a-f0-9]{8,})\.")


@dataclass(frozen=True)
class WeightsFile:
    """A weight file on a server and its place in torch's cache folder."""

    url: str
    num_bytes: int

    @property
    def path(self) -> Path:
        """``TORCH_HOME/hub/checkpoints/<name>``, where torchvision itself looks."""
        return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(self.url).path).name

    @property
    def name(self) -> str:
        """What it is called in sentences."""
        return self.path.name

    @property
    def by_hand(self) -> str:
        """How to do without a download."""
        where = (
            f"{self.path.parent}. That is hub/checkpoints of TORCH_HOME."  # the page does not show a folder's place
        )
        return f" To install it by hand, put {self.name} from {self.url} into {where}"

    @property
    def is_cached(self) -> bool:
        """Whether the file is already there."""
        return self.path.is_file()


def download(file: WeightsFile, progress: Callable[[int, int], None] = lambda done, total: None) -> Path:
    """Puts the file into torch's cache unless it is there; all or nothing.

    Args:
        progress: Called with bytes done and in total; what it raises ends the download.

    Raises:
        UserError: No connection, no space or wrong content; names the file and the folder to put it in.
        UserError: It is not there, and whoever asks is a visitor.
    """
    path = file.path
    if path.is_file():
        return path
    if not viewer().is_owner:
        raise UserError(f"{file.name} is not here yet, and only the owner of this page can download models.")
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as target:
            part = Path(target.name)
            digest = _fetch(file, target, progress)
        expected = _HASH_IN_NAME.search(path.name)
        if expected and not digest.startswith(expected[1]):
            raise UserError(f"The download of {file.name} arrived damaged; try again.{file.by_hand}")
        part.chmod(0o644)  # the cache may be shared; temporary files are private
        part.replace(path)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise UserError(f"{file.name} could not be downloaded ({reason}).{file.by_hand}") from error
    except OSError as error:
        raise UserError(f"{file.name} could not be saved ({error.strerror or error}).{file.by_hand}") from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
    return path


def _fetch(file: WeightsFile, target, progress: Callable[[int, int], None]) -> str:
    digest, done = hashlib.sha256(), 0
    with urllib.request.urlopen(file.url, timeout=TIMEOUT_SECONDS) as response:
        length = int(response.headers.get("Content-Length") or 0)  # 0 if the server does not say
        total = length or file.num_bytes  # which is rounded
        while chunk := response.read(CHUNK_BYTES):
            target.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            progress(done, total)
    if done < length:
        raise ConnectionError(f"the connection ended after {done} of {length} bytes")
    return digest.hexdigest()


def is_weight_file(name: str) -> bool:
    """Whether somebody who names a model so means a file with weights."""
    return Path(name).suffix.lower() in SUFFIXES


def load_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Reads a ``.pth`` file of plain tensors; anything that would run code while loading is refused.

    Raises:
        UserError: Damaged, or more than tensors inside.
    """
    try:
        can_map = zipfile.is_zipfile(path) and is_utf8(os.fsencode(path))  # torch takes no other names then
        weights = torch.load(path, map_location="cpu", weights_only=True, mmap=can_map)
        if not isinstance(weights, dict):
            raise TypeError(f"it holds {article(type(weights).__name__)}")
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(
            f"{path} is not a readable weight file (damaged, or not plain tensors); move it to another place, and "
            "the published one is fetched at the next use."
        ) from error
    return weights
