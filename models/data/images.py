"""Opening pictures that come from anywhere: upright, 8-bit RGB or grey, bounded, or one clear error."""

from functools import partial
from pathlib import Path

from PIL import Image

from analysis.errors import Progress, no_progress
from models.data.decoding.apart import BYTES_PER_PIXEL, decode_apart
from models.data.decoding.budget import ROOM
from models.data.decoding.decode import decode, plan, read_header

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".avif")


def open_image(path: str | Path, *, least_side: int | None = None, progress: Progress = no_progress) -> Image.Image:
    """Opens one picture as upright RGB or L with every pixel, whatever its mode, depth or orientation.

    Its content decides what it is, not its name. The first frame of an animation, transparency on white, deep grey
    scaled to 8 bits. A JPEG that would take too much memory is decoded at a fraction of its size;
    :func:`list_notes` then says so.

    Args:
        least_side: So many pixels a side are enough, for which a JPEG may be decoded at a fraction of its size.
        progress: Called with bytes read and in total while a large picture is decoded or waits for its turn; may
            raise.

    Returns:
        A loaded ``PIL.Image`` in mode ``RGB`` or ``L``.

    Raises:
        ImageError: Not a readable picture, or too large to decode safely.
    """
    path = Path(path)
    with read_header(path, progress) as header:
        if not header.is_taken_whole:
            return decode(header, least_side)
        _, num_bytes = plan(header, least_side)
        num_bytes += BYTES_PER_PIXEL * header.num_pixels
        check = partial(progress, 0, header.file.size)
    with ROOM.lend(num_bytes, check):
        return decode_apart(path, least_side, check)


def count_pixels(path: str | Path) -> int:
    """The pixels that a picture says it has; nothing is decoded, and no decoder makes more of it.

    Raises:
        ImageError: Not a readable picture.
    """
    with read_header(Path(path)) as header:
        return header.num_pixels


def list_notes(image: Image.Image) -> tuple[str, ...]:
    """What :func:`open_image` did to a picture that its user should know, a sentence each."""
    return image.info.get("notes", ())
