"""Pictures reduced to small squares as they are read: several at once, never many at full size."""

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from models.images import MAX_FILE_BYTES, MAX_PIXELS, ImageError, open_image

MAX_THREADS = 4
"""Bounds how many pictures are in memory at full size at once."""
_WAITING_PER_THREAD = 4
_SHARPNESS = 2
"""Least pixels of a decoded picture for each pixel of the result, along either side."""

_SMALL_BYTES = 16 * 2**10
"""Files up to this size are read at once: handing them to a thread would cost more than decoding them."""
_JPEG = b"\xff\xd8\xff"

Opener = Callable[[], AbstractContextManager[Path]]


def read_squares(openers: Sequence[Opener], side: int) -> Iterator[np.ndarray | ImageError]:
    """Yields each picture as ``(3, side, side)`` uint8, or why it cannot be read, in the order given.

    Files are opened one after the other in the caller's thread, so that a zip is unpacked in order; decoding and
    reducing, which leave the interpreter's lock, run in threads. Only a few files wait at a time.

    Args:
        openers: Each gives a local file for as long as its context lasts; may raise ImageError for this file.
        side: Side of the result in pixels.
    """
    threads = min(MAX_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
    waiting: deque[tuple[Future, ExitStack]] = deque()
    # Opening pictures silences warnings; threads that do so in turns may restore each other's filters.
    with warnings.catch_warnings(), ThreadPoolExecutor(threads, thread_name_prefix="pictures") as pool:
        try:
            for opener in openers:
                waiting.append(_begin(pool, opener, side))
                if len(waiting) > threads * _WAITING_PER_THREAD:
                    yield _finish(*waiting.popleft())
            while waiting:
                yield _finish(*waiting.popleft())
        finally:
            for job, files in waiting:
                if not job.cancel():
                    job.exception()  # the thread still reads the file
                files.close()


def _begin(pool: ThreadPoolExecutor, opener: Opener, side: int) -> tuple[Future, ExitStack]:
    files, done = ExitStack(), Future()
    try:
        path = files.enter_context(opener())
        if not _is_small(path):
            return pool.submit(read_square, path, side), files
        done.set_result(read_square(path, side))
    except ImageError as error:
        done.set_exception(error)
    return done, files


def _is_small(path: Path) -> bool:
    try:
        return path.stat().st_size <= _SMALL_BYTES
    except OSError:  # it is gone again, which reading will say
        return True


def _finish(job: Future, files: ExitStack) -> np.ndarray | ImageError:
    with files:
        try:
            return job.result()
        except ImageError as error:
            return error


def read_square(path: Path, side: int) -> np.ndarray:
    """The middle of one picture as ``(3, side, side)`` uint8.

    Raises:
        ImageError: Not a readable picture, or too large to decode safely.
    """
    image = _decode_reduced(path, side) or open_image(path)
    left, top = ((length - min(image.size)) / 2 for length in image.size)
    middle = (left, top, left + min(image.size), top + min(image.size))
    # The reducing gap averages whole blocks first, which costs much less and can hardly be seen at twice the size.
    reduced = image.convert("RGB").resize(
        (side, side), Image.Resampling.BILINEAR, box=middle, reducing_gap=_SHARPNESS
    )
    return np.asarray(reduced).transpose(2, 0, 1)


def _decode_reduced(path: Path, side: int) -> Image.Image | None:
    """A JPEG decoded at 1/2, 1/4 or 1/8 of its size where that is enough; None for all that is not so simple."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return None
        with path.open("rb") as file:
            if file.read(len(_JPEG)) != _JPEG:
                return None
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=["JPEG"]) as image:
            image.draft("RGB", (_SHARPNESS * side,) * 2)
            if image.mode not in ("RGB", "L") or image.width * image.height > MAX_PIXELS:
                return None
            image.load()
            return ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, MemoryError):
        return None  # whoever opens it in full says what is wrong with it
    except Image.DecompressionBombError:
        return None
