"""Random changes to a whole batch of pictures at once, on the device where it lives.

Whatever is random is drawn on the CPU from the generator given: a seed decides it, on every device, and the global
random state is left alone. Each transform draws from a generator of its own that follows from one number of the given
one. So that number is all that a step takes, whatever the strengths are, and a stronger or an additional transform
leaves the draws of the others as they are: matched trainings differ in nothing else, and a slider moves what is
already on the screen.
"""

import zlib
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from typing import Annotated, Any

import torch
from torch import Generator, Tensor

from analysis.errors import UserError
from analysis.grammar import count
from models.data.augment import motion, values
from models.data.augment.motion import shift_circular, shift_zero
from models.settings import Number, Stored, check_integer, checked_dataclass

MAX_PREVIEW = 64
"""Most versions of one picture in a preview."""


class _Strength(Number):
    def check(self, name: str, value: Any) -> float:
        return float(super().check(f"The strength of {name}", value))


Strength = Annotated[float, _Strength(0, 1)]


@checked_dataclass
class AugmentConfig(Stored):
    """Strengths from 0, which is off, to 1, in the order of application; ``TRANSFORMS`` says what they mean.

    A value with equality and a hash; of a file's strengths, those left out are off.
    """

    crop: Strength = 0.0
    rotate: Strength = 0.0
    translate: Strength = 0.0
    flip: Strength = 0.0
    blur: Strength = 0.0
    color: Strength = 0.0
    noise: Strength = 0.0
    erase: Strength = 0.0

    def __bool__(self) -> bool:
        """Whether anything is on."""
        return any(astuple(self))


@dataclass(frozen=True)
class Transform:
    """A table entry: what a transform is called, what it does, and how; either ``motion`` or ``change`` is given.

    Attributes:
        explanation: One plain line.
        describe: What a strength means for pictures of a side in pixels, such as ``up to 7 pixels``.
        motion: ``(strength, images, generator)`` to matrices ``(N, 3, 3)``, see ``models.data.augment.motion``.
        change: ``(images, strength, generator)`` to images, with values from 0 to 255, float32 unless ``whole``.
        whole: Moves or replaces whole levels, without arithmetic on them.
    """

    title: str
    explanation: str
    default: float
    describe: Callable[[float, int], str]
    motion: Callable[[float, Tensor, Generator], Tensor] | None = None
    change: Callable[[Tensor, float, Generator], Tensor] | None = None
    whole: bool = False


TRANSFORMS: dict[str, Transform] = {
    "crop": Transform(
        "Crop",
        "Enlarges a random part of the picture to its full size.",
        0.4,
        lambda strength, side: f"keeps at least {100 * motion.smallest_area(strength):.0f} % of the area",
        motion=motion.crop,
    ),
    "rotate": Transform(
        "Rotation",
        "Turns the picture about its centre; edge pixels fill the corners.",
        0.4,
        lambda strength, side: f"up to {motion.MAX_ANGLE * strength:.0f}° either way",
        motion=motion.rotate,
    ),
    "translate": Transform(
        "Translation",
        "Moves the picture by whole pixels; edge pixels fill the border.",
        0.3,
        lambda strength, side: (
            f"up to {count(motion.longest_translation(strength, side), 'pixel')} in each direction"
        ),
        motion=motion.translate,
        whole=True,
    ),
    "flip": Transform(
        "Flip",
        "Mirrors some of the pictures left to right.",
        1.0,
        lambda strength, side: f"mirrors {50 * strength:.0f} % of the pictures",
        motion=motion.flip,
        whole=True,
    ),
    "blur": Transform(
        "Blur",
        "Makes the picture less sharp.",
        0.4,
        lambda strength, side: f"Gaussian of up to {values.largest_sigma(strength, side):.1f} pixels",
        change=values.blur,
    ),
    "color": Transform(
        "Colour",
        "Changes brightness and contrast and, in colour pictures, saturation and hue.",
        0.4,
        lambda strength, side: (
            f"each by up to {100 * values.MAX_CHANGE * strength:.0f} %, "
            f"hue by up to {360 * values.MAX_TURN * strength:.0f}°"
        ),
        change=values.color,
    ),
    "noise": Transform(
        "Noise",
        "Adds a random number to every value.",
        0.3,
        lambda strength, side: f"standard deviation up to {values.MAX_NOISE * strength:.0f} of 255 levels",
        change=values.noise,
    ),
    "erase": Transform(
        "Erasing",
        "Covers a random rectangle with one random colour.",
        0.6,
        lambda strength, side: f"up to {100 * values.MAX_ERASED * strength:.0f} % of the area",
        change=values.erase,
        whole=True,
    ),
}
"""Every transform by the name of its strength, in the order in which they are applied: first all motions, which are
one step together, then what happens to light on its way into a camera, and last what stands in front of it."""


def augment(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    """Every picture changed in its own random way.

    Arithmetic is in float32 and rounded to whole levels once, at the end. Draws are the same on every device;
    where there is arithmetic, values may differ by one level between devices.

    Args:
        images: ``(N, C, H, W)`` uint8, any device; not changed.
        generator: A CPU generator; it alone decides what happens.

    Returns:
        ``(N, C, H, W)`` uint8 on the same device; ``images`` itself where nothing is on.
    """
    seed = int(torch.randint(2**31, (), generator=generator))
    if not config or not images.numel():
        return images
    active = [
        (TRANSFORMS[name], strength, Generator().manual_seed(seed ^ zlib.crc32(name.encode())))
        for name, strength in config.to_dict().items()
        if strength
    ]
    return _apply(images, active)


@torch.no_grad()
def _apply(images: Tensor, active: list[tuple[Transform, float, Generator]]) -> Tensor:
    matrices, whole = None, True
    for transform, strength, generator in active:
        if transform.motion:
            step = transform.motion(strength, images, generator)
            matrices = step if matrices is None else matrices @ step
            whole &= transform.whole
    if matrices is not None:
        read = motion.read_whole_pixels if whole else motion.read_pixels
        images = read(images if whole else images.float(), matrices)
    for transform, strength, generator in active:
        if transform.change:
            images = transform.change(images if transform.whole else images.float(), strength, generator)
    return images if images.dtype == torch.uint8 else images.round_().clamp_(0, 255).to(torch.uint8)


def preview(images: Tensor, config: AugmentConfig, seed: int, per_image: int = 8) -> Tensor:
    """Each picture as it is, and then changed in several random ways.

    The same seed keeps the same draws: with another strength the same versions change more or less.

    Args:
        images: ``(M, C, H, W)`` uint8.
        per_image: Pictures in a row, the original included.

    Returns:
        ``(M, per_image, C, H, W)`` uint8; ``[:, 0]`` are the originals.

    Raises:
        UserError: The seed or the number of versions is out of range.
    """
    check_integer("seed", seed, 0, 2**63 - 1)
    check_integer("per_image", per_image, 1, MAX_PREVIEW)
    # Version after version, so that a further one leaves the earlier ones as they are.
    generator = Generator().manual_seed(seed)
    versions = [images, *(augment(images, config, generator) for _ in range(per_image - 1))]
    return torch.stack(versions, dim=1)


def default_config(names: Iterable[str]) -> AugmentConfig:
    """The named transforms at the strength to begin with; those of a data set are its ``augmentations``.

    Raises:
        UserError: An unknown name.
    """
    strengths = {}
    for name in names:
        if name not in TRANSFORMS:
            raise UserError(f"There is no augmentation {name!r}; there are {', '.join(TRANSFORMS)}.")
        strengths[name] = TRANSFORMS[name].default
    return AugmentConfig(**strengths)


SHIFT_AUGMENTS: dict[str, Callable[[Tensor, Generator], Tensor] | None] = {
    "none": None,
    "circular": shift_circular,
    "zero": shift_zero,
}
"""What fills the border of a random shift -> what is done to a batch."""
