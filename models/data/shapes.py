"""A data set drawn on the fly: one geometric shape per picture, with control over what gives it away.

Position, colour and clutter can be tied to the class or not, so that one can see which of them a network
has learned instead of the shape; a bar in front of the object hides as much of it as is wanted.
"""

import math
from collections.abc import Callable
from typing import Annotated

import numpy as np

from analysis.errors import UserError
from models.settings import Choice, Integer, Number, checked_dataclass

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]

CHUNK = 1000
"""Pictures drawn at once; bounds the memory for intermediate planes."""
MAX_MARKS = 10
"""Distracting bars in a picture at clutter 1."""
MAX_OCCLUSION = 0.9
_BINS_PER_PIXEL = 4


# Signed distances to the outlines of shapes of radius 1 around (0, 0), v pointing down; negative is inside.


def _circle(u, v):
    return np.hypot(u, v) - 0.95


def _square(u, v):
    return np.maximum(np.abs(u), np.abs(v)) - 0.75


def _triangle(u, v):
    return np.maximum(v - 0.5, math.sqrt(0.75) * np.abs(u) - 0.5 * v - 0.5)


def _cross(u, v):
    u, v = np.abs(u), np.abs(v)
    return np.maximum(np.minimum(u, v) - 0.27, np.maximum(u, v) - 0.9)


def _star(u, v):
    sector = 2 * math.pi / 5
    angle = np.arctan2(u, -v) % sector
    angle = np.minimum(angle, sector - angle)  # every half tip folded onto the first
    tip, notch = np.array([1.0, 0.0]), 0.42 * np.array([math.cos(sector / 2), math.sin(sector / 2)])
    along = (notch - tip) / np.linalg.norm(notch - tip)
    radius = np.hypot(u, v)
    return (radius * np.cos(angle) - tip[0]) * along[1] - radius * np.sin(angle) * along[0]


def _ring(u, v):
    return np.abs(np.hypot(u, v) - 0.72) - 0.2


SHAPES: dict[str, Distance] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "star": _star,
    "ring": _ring,
}
"""Class name -> signed distance; the order is that of the labels."""

POSITIONS = {
    "anywhere": ((0.0, 1.0), (0.0, 1.0)),
    "left": ((0.0, 0.2), (0.0, 1.0)),
    "right": ((0.8, 1.0), (0.0, 1.0)),
    "center": ((0.45, 0.55), (0.45, 0.55)),
}
"""Where the object may be, as (from, to) fractions of the free way in x and in y."""

CLASS_COLORS = np.array(
    [[230, 60, 60], [60, 200, 80], [80, 120, 255], [240, 210, 60], [220, 90, 220], [70, 210, 220]]
)

COLORS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "random": lambda labels, rng: rng.uniform(120, 255, (len(labels), 3)),
    "by_class": lambda labels, rng: CLASS_COLORS[labels],
    "fixed": lambda labels, rng: np.full((len(labels), 3), 220),
}
"""Object colours (N, 3) for labels: unrelated to the class, telling it, or the same for all."""


@checked_dataclass
class ShapesConfig:
    """What is drawn; ``min_size`` and ``max_size`` are diameters as fractions of the picture's side.

    ``occlusion`` is the share of the object's area behind a bar. It moves nothing else: the same seed gives the
    same scene behind it.
    """

    num_images: Annotated[int, Integer(10 * len(SHAPES), 200_000, help="Shapes: how many pictures.")] = 8000
    position: Annotated[str, Choice(POSITIONS, help="Shapes: where the object is.")] = "anywhere"
    color: Annotated[str, Choice(COLORS, help="Shapes: how it is coloured.")] = "random"
    clutter: Annotated[float, Number(0.0, 1.0, help="Shapes: distracting marks, 0 to 1.")] = 0.3
    min_size: Annotated[float, Number(0.2, 1.0, help="Shapes: smallest, in sides.")] = 0.35
    max_size: Annotated[float, Number(0.2, 1.0, help="Shapes: largest, in sides.")] = 0.7
    occlusion: Annotated[float, Number(0.0, MAX_OCCLUSION, help=f"Shapes: hidden, 0 to {MAX_OCCLUSION}.")] = 0.0

    def __post_init__(self):
        if self.min_size > self.max_size:
            raise UserError(f"min_size ({self.min_size:g}) is larger than max_size ({self.max_size:g}).")


def make_shapes(
    config: ShapesConfig,
    *,
    seed: int,
    image_size: int = 32,
    progress: Callable[[float], None] = lambda fraction: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws ``config.num_images`` pictures, as many of each class as can be.

    Args:
        progress: Told the fraction done; what it raises ends the drawing.

    Returns:
        Images ``(N, 3, image_size, image_size)`` uint8 and labels ``(N,)`` int64, indices into ``SHAPES``.
        The same arguments give the same pictures.
    """
    labels = np.arange(config.num_images, dtype=np.int64) % len(SHAPES)
    images = np.empty((config.num_images, 3, image_size, image_size), dtype=np.uint8)
    for start in range(0, config.num_images, CHUNK):
        progress(start / config.num_images)
        # The bar has its own numbers, so that the scene behind it is the same at every occlusion.
        rng, bar_rng = (np.random.default_rng([seed, start, *extra]) for extra in ((), (1,)))
        chunk = slice(start, start + CHUNK)
        images[chunk] = _draw(labels[chunk], config, rng, bar_rng, image_size)
    return images, labels


def _draw(labels: np.ndarray, config: ShapesConfig, rng, bar_rng, side: int) -> np.ndarray:
    num = len(labels)
    background = rng.uniform(0, 90, (num, 3, 1, 1)).astype(np.float32)
    canvas = np.broadcast_to(background, (num, 3, side, side)).copy()
    for _ in range(round(MAX_MARKS * config.clutter)):
        _paint(canvas, _bar_coverage(num, rng, side), rng.uniform(40, 255, (num, 3)))
    shapes = _shape_coverage(labels, config, rng, side)
    _paint(canvas, shapes, COLORS[config.color](labels, rng))
    if config.occlusion:
        _paint(canvas, _occluder_coverage(shapes, config.occlusion, bar_rng), bar_rng.uniform(0, 255, (num, 3)))
    noise = rng.standard_normal(canvas.shape, dtype=np.float32)
    canvas += noise * (4 + 16 * config.clutter)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def _paint(canvas: np.ndarray, coverage: np.ndarray, colors: np.ndarray) -> None:
    """Mixes ``colors (N, 3)`` into ``canvas (N, 3, H, W)`` where ``coverage (N, H, W)`` is above 0."""
    coverage = coverage[:, None].astype(np.float32)
    canvas += coverage * (colors[:, :, None, None].astype(np.float32) - canvas)


def _shape_coverage(labels, config: ShapesConfig, rng: np.random.Generator, side: int) -> np.ndarray:
    num = len(labels)
    radius = rng.uniform(config.min_size, config.max_size, num) * side / 2
    (left, right), (top, bottom) = POSITIONS[config.position]
    center_x = radius + rng.uniform(left, right, num) * (side - 2 * radius)
    center_y = radius + rng.uniform(top, bottom, num) * (side - 2 * radius)
    u, v = _local_grid(center_x, center_y, rng.uniform(-0.25, 0.25, num), side)
    u, v = u / radius[:, None, None], v / radius[:, None, None]
    distance = np.empty_like(u)
    for index, distance_to in enumerate(SHAPES.values()):
        chosen = labels == index
        distance[chosen] = distance_to(u[chosen], v[chosen])
    # One pixel of antialiasing across the edge.
    return np.clip(0.5 - distance * radius[:, None, None], 0, 1)


def _bar_coverage(num: int, rng: np.random.Generator, side: int) -> np.ndarray:
    """A short thin bar anywhere in each picture."""
    x, y = rng.uniform(0, side, (2, num))
    u, v = _local_grid(x, y, rng.uniform(0, math.pi, num), side)
    length, width = rng.uniform(0.04, 0.14, num) * side, rng.uniform(0.5, 1.2, num)
    outside = np.maximum(np.abs(u) - length[:, None, None], np.abs(v) - width[:, None, None])
    return np.clip(0.5 - outside, 0, 1)


def _occluder_coverage(shapes: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """A bar across each picture that covers ``share`` of the area of its shape, ``shapes (N, H, W)``.

    Its edges are two quantiles of the area along a random direction: where ``low`` and ``low + share`` of the
    shape lie before it.
    """
    num, side = len(shapes), shapes.shape[-1]
    middle = np.full(num, side / 2)
    along, _ = _local_grid(middle, middle, rng.uniform(0, math.pi, num), side)
    reach = math.ceil(side * math.sqrt(0.5)) + 1
    bins = 2 * reach * _BINS_PER_PIXEL
    which = np.floor((along + reach) * _BINS_PER_PIXEL).astype(np.int64) + bins * np.arange(num)[:, None, None]
    area = np.bincount(which.ravel(), weights=shapes.ravel(), minlength=num * bins).reshape(num, bins)
    before = np.cumsum(area, axis=1) / np.maximum(area.sum(axis=1, keepdims=True), 1e-6)
    low = rng.uniform(0, 1 - share, num)
    start, end = (
        ((before < quantile[:, None]).sum(axis=1) / _BINS_PER_PIXEL - reach)[:, None, None].astype(np.float32)
        for quantile in (low, low + share)
    )
    return np.clip(0.5 - np.maximum(start - along, along - end), 0, 1)


def _local_grid(x, y, angle, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres in each object's own turned coordinates: two ``(N, side, side)`` arrays, in pixels."""
    pixels = np.arange(side, dtype=np.float32) + 0.5
    dx = pixels[None, None, :] - x[:, None, None].astype(np.float32)
    dy = pixels[None, :, None] - y[:, None, None].astype(np.float32)
    cos = np.cos(angle)[:, None, None].astype(np.float32)
    sin = np.sin(angle)[:, None, None].astype(np.float32)
    return cos * dx + sin * dy, cos * dy - sin * dx
