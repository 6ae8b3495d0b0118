"""Decoding in a process of its own, for decoders that take a picture in one piece: nothing but its end ends them.

``python -m models.data.decoding.apart PATH LEAST_SIDE`` is that process. It answers with a line of JSON and then the
pixels; what its decoder held goes with it.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import IO

from PIL import Image

from models.data.decoding import budget
from models.data.decoding.decode import decode, read_header
from models.data.decoding.formats import ImageError
from models.names import make_readable

BYTES_PER_PIXEL = 4
"""What a picture takes here besides its decoder there, as Pillow keeps it."""
_STRIP_PIXELS = 2**20
_PROJECT_ROOT = Path(__file__).resolve().parents[3]


def decode_apart(path: Path, least_side: int | None, check: Callable[[], None]) -> Image.Image:
    """As :func:`models.data.decoding.decode.decode`, in another process, which ends when ``check`` raises.

    Raises:
        ImageError: Not a readable picture, or its decoder has ended without an answer.
    """
    started = time.monotonic()
    with (
        subprocess.Popen(
            [sys.executable, "-m", __name__, str(path.absolute()), str(least_side or "")],
            cwd=_PROJECT_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for whoever asked
        ) as process,
        ThreadPoolExecutor(1, "decoder") as receiver,
    ):
        try:
            assert process.stdout is not None
            answer = receiver.submit(_receive, process.stdout)
            while not wait([answer], budget.POLL_SECONDS).done:
                if time.monotonic() - started > budget.FIRST_REPORT_SECONDS:
                    check()
            found = answer.result()
        finally:
            process.kill()
    if isinstance(found, Image.Image):
        return found
    raise ImageError(found or _find_cause(process.returncode, make_readable(path.name)))


def _receive(stream: IO[bytes]) -> Image.Image | str:
    """The picture, or what is wrong with it; nothing of an answer that is not whole."""
    try:
        head = json.loads(stream.readline())
        if "error" in head:
            return head["error"]
        width, height = head["size"]
        image = Image.new(head["mode"], (width, height))
        rows = _count_rows(width)
        for top in range(0, height, rows):
            size = (width, min(rows, height - top))
            strip = stream.read(size[0] * size[1] * len(image.getbands()))
            image.paste(Image.frombytes(image.mode, size, strip), (0, top))
    except ValueError:
        return ""
    image.info = {"notes": tuple(head["notes"])}
    return image


def _count_rows(width: int) -> int:
    """Of a strip, so that never a second copy of the whole picture is needed."""
    return max(1, _STRIP_PIXELS // width)


def _find_cause(status: int, name: str) -> str:
    if status == -getattr(signal, "SIGXCPU", 0):
        return f"{name} takes too long to decode; save it again as PNG or JPEG."
    return f"{name} could not be decoded: its decoder ended, which too little memory can cause; save it smaller."


def answer(path: Path, least_side: int | None, stream: IO[bytes]) -> None:
    """Decodes the picture and writes what :func:`decode_apart` reads."""
    try:
        with read_header(path) as header:
            image = decode(header, least_side)
    except ImageError as error:
        stream.write(json.dumps({"error": str(error)}).encode() + b"\n")
        return
    head = {"size": image.size, "mode": image.mode, "notes": image.info["notes"]}
    stream.write(json.dumps(head).encode() + b"\n")
    rows = _count_rows(image.width)
    for top in range(0, image.height, rows):
        stream.write(image.crop((0, top, image.width, min(top + rows, image.height))).tobytes())


def main(arguments: list[str]) -> None:
    """Answers for the picture and the least side, or none, that are its arguments."""
    with suppress(ImportError):  # only where there are such limits
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (round(budget.MAX_SECONDS) + 1, round(budget.MAX_SECONDS) + 2))
    path, least_side = arguments
    with suppress(BrokenPipeError):
        answer(Path(path), int(least_side) if least_side else None, sys.stdout.buffer)
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
