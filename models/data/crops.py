"""Pictures reduced to small squares as they are read: several at once, never many at full size."""

import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from analysis.errors import Progress, no_progress
from models.data.decoding.formats import ImageError
from models.data.images import open_image

MAX_THREADS = 4
"""Bounds how many pictures are in memory at full size at once."""
_WAITING_PER_THREAD = 4
_SHARPNESS = 2
"""Least pixels of a decoded picture for each pixel of the result, along either side."""

_SMALL_BYTES = 16 * 2**10
"""Files up to this size are read at once: handing them to a thread would cost more than decoding them."""

Opener = Callable[[], AbstractContextManager[Path]]


def read_squares(openers: Sequence[Opener], side: int) -> Generator[np.ndarray | ImageError, None, None]:
    """Yields each picture as ``(3, side, side)`` uint8, or why it cannot be read, in the order given.

    Files are opened one after the other in the caller's thread, so that a zip is unpacked in order; decoding and
    reducing, which leave the interpreter's lock, run in threads. Only a few files wait at a time.

    Args:
        openers: Each gives a local file for as long as its context lasts; may raise ImageError for this file.
    """
    threads = min(MAX_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
    waiting: deque[tuple[Future, ExitStack]] = deque()
    left = threading.Event()
    read = partial(read_square, side=side, progress=partial(_end_when, left))
    # Opening pictures silences warnings; threads that do so in turns may restore each other's filters.
    with warnings.catch_warnings(), ThreadPoolExecutor(threads, thread_name_prefix="pictures") as pool:
        try:
            for opener in openers:
                waiting.append(_begin(pool, opener, read))
                if len(waiting) > threads * _WAITING_PER_THREAD:
                    yield _finish(*waiting.popleft())
            while waiting:
                yield _finish(*waiting.popleft())
        finally:
            left.set()
            for job, _ in waiting:
                job.cancel()  # all of them first: while one is waited for, the next would begin
            for job, files in waiting:
                if not job.cancelled():
                    job.exception()  # the thread still reads the file, to its next report
                files.close()


class _LeftError(Exception):
    """Nobody waits for this picture any more."""


def _end_when(left: threading.Event, done: int, total: int) -> None:
    if left.is_set():
        raise _LeftError


def _begin(pool: ThreadPoolExecutor, opener: Opener, read: Callable[[Path], np.ndarray]) -> tuple[Future, ExitStack]:
    files = ExitStack()
    done: Future = Future()
    try:
        path = files.enter_context(opener())
        if not _is_small(path):
            return pool.submit(read, path), files
        done.set_result(read(path))
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


def read_square(path: Path, side: int, progress: Progress = no_progress) -> np.ndarray:
    """The middle of one picture as ``(3, side, side)`` uint8; ``progress`` may raise, as for ``open_image``.

    Raises:
        ImageError: Not a readable picture, or too large to decode safely.
    """
    image = open_image(path, least_side=_SHARPNESS * side, progress=progress)
    left, top = ((length - min(image.size)) / 2 for length in image.size)
    middle = (left, top, left + min(image.size), top + min(image.size))
    # The reducing gap averages whole blocks first, which costs much less and can hardly be seen at twice the size.
    reduced = image.resize((side, side), Image.Resampling.BILINEAR, box=middle, reducing_gap=_SHARPNESS)
    return np.asarray(reduced.convert("RGB")).transpose(2, 0, 1)
