"""What decoding a picture costs, known before it begins; and few at once, each of which can be ended."""

import io
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from analysis.errors import Progress
from models.data.decoding.formats import ImageError

MAX_BYTES = 640 * 2**20
"""Most memory that decoding one picture may take, its upright or converted copy included."""
MAX_BYTES_AT_ONCE = 2**30
"""Most memory that all pictures may take that are being decoded; the others wait."""
MAX_SECONDS = 10.0
"""Most time of a processor that one file may take; the largest pictures take two."""

FIRST_REPORT_SECONDS = 0.25
"""Pictures that are open by then report nothing."""
POLL_SECONDS = 0.1
_SAMPLE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}
_DECODER_BYTES = {"WEBP": 12, "AVIF": 12}
"""Bytes per pixel that decoders hold besides the picture itself."""


class Room:
    """Memory that is lent to decoders, first come, first served."""

    def __init__(self, num_bytes: int):
        self._free = num_bytes
        self._line: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def lend(self, num_bytes: int, check: Callable[[], None]) -> Iterator[None]:
        """Waits for ``num_bytes``; ``check`` is called meanwhile and may raise."""
        ticket = object()
        with self._changed:
            self._line.append(ticket)
            try:
                while self._line[0] is not ticket or self._free < num_bytes:
                    self._changed.wait(POLL_SECONDS)
                    check()
                self._free -= num_bytes
            finally:
                self._line.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += num_bytes
                self._changed.notify_all()


ROOM = Room(MAX_BYTES_AT_ONCE)


class Watched(io.BytesIO):
    """The bytes of a file, which a decoder asks for piece by piece: each time is a chance to end it."""

    def __init__(self, data: bytes, name: str, progress: Progress):
        super().__init__(data)
        self._name, self.size, self._progress = name, len(data), progress
        self._started, self._spent = time.monotonic(), time.thread_time()

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file; raises what the progress callback raises, or ImageError after ``MAX_SECONDS``."""
        self.check()
        return super().read(size)

    def check(self) -> None:
        """Reports progress, unless all of this takes but a moment."""
        if time.monotonic() - self._started > FIRST_REPORT_SECONDS:
            # What converts the picture goes on checking when the decoder has closed its file.
            self._progress(self.size if self.closed else self.tell(), self.size)
        if time.thread_time() - self._spent > MAX_SECONDS:
            raise ImageError(f"{self._name} takes too long to decode; save it again as PNG or JPEG.")


def count_bytes(image: Image.Image, *, reduction: int = 1, scans: int = 1, chunk_bytes: int = 0) -> int:
    """Bytes that decoding a picture takes at most, before anything is decoded.

    Args:
        reduction: 2, 4 or 8 for a JPEG that will be decoded at a fraction of its size.
        scans: Of a JPEG; where there are several, all its coefficients are kept.
        chunk_bytes: The largest strip or tile of a TIFF.
    """
    pixels = ceil(image.width / reduction) * ceil(image.height / reduction)
    decoder = pixels * _DECODER_BYTES.get(image.format or "", 0) + chunk_bytes
    if scans > 1 and isinstance(image, JpegImageFile):
        decoder += _count_coefficients(image)
    copy = 4 * pixels  # converted to colour or turned upright, when the decoder is done
    return pixels * _SAMPLE_BYTES.get(image.mode, 4) + max(decoder, copy)


def _count_coefficients(image: JpegImageFile) -> int:
    """Bytes of all coefficients of a JPEG, 16 bits each; colours may have fewer of them than brightness."""
    factors = [across * down for _, down, across, _ in image.layer]
    finest = max(down for _, down, _, _ in image.layer) * max(across for _, _, across, _ in image.layer)
    return 2 * image.width * image.height * sum(factors) // max(1, finest)
