"""Whether pictures show anything: those of one colour teach nothing, and often were read wrongly."""

import torch
from torch import Tensor

MIN_CONTRAST = 2.0
"""Standard deviation of a channel, of 255, below which a picture counts as plain."""
MAX_PLAIN = 0.9
"""Share of plain pictures from which on it is said."""
_LOOKED_AT, _AT_ONCE = 2000, 500


def has_contrast(images: Tensor) -> Tensor:
    """Whether each picture ``(N, C, H, W)`` uint8 has more than one colour: ``(N,)`` bool."""
    return images.flatten(2).float().std(2, correction=0).amax(1) >= MIN_CONTRAST


def describe_plain(images: Tensor) -> str:
    """A warning if nearly all pictures are of one colour each, judged by 2,000 of them; nothing otherwise."""
    if not len(images):
        return ""
    chosen = torch.linspace(0, len(images) - 1, min(len(images), _LOOKED_AT)).round().long()
    plain = sum(int((~has_contrast(images[part])).sum()) for part in chosen.split(_AT_ONCE))
    if plain < MAX_PLAIN * len(chosen):
        return ""
    return (
        f"Nearly all pictures ({plain / len(chosen):.0%}) are of one colour each, so there is nothing to learn from; "
        "look at some of them, and if they should show something, save them as 8-bit PNG or JPEG."
    )
