"""Drawn shapes: the same seed gives the same pictures, and the settings mean what they say."""

import hashlib

import numpy as np
import pytest

from analysis.errors import UserError
from models.data.shapes import (
    CLASS_COLORS,
    COLORS,
    POSITIONS,
    SHAPES,
    ShapesConfig,
    _occluder_coverage,
    _shape_coverage,
    make_shapes,
)

CLEAN = {"num_images": 120, "clutter": 0.0}


def test_same_seed_same_pictures():
    config = ShapesConfig(num_images=60)
    images, labels = make_shapes(config, seed=3)
    again, _ = make_shapes(config, seed=3)
    other, _ = make_shapes(config, seed=4)
    assert images.shape == (60, 3, 32, 32) and images.dtype == np.uint8 and labels.dtype == np.int64
    assert np.array_equal(images, again) and not np.array_equal(images, other)
    assert np.bincount(labels).tolist() == [10] * len(SHAPES)


def object_center(images: np.ndarray) -> np.ndarray:
    """Mean (x, y) of the bright pixels of each picture, in fractions of the side."""
    bright = (images.mean(axis=1) > 150).astype(float)
    side = images.shape[-1]
    places = (np.arange(side) + 0.5) / side
    total = bright.sum(axis=(1, 2))
    return np.stack([bright.sum(axis=1) @ places / total, bright.sum(axis=2) @ places / total], axis=1)


@pytest.mark.parametrize("image_size", [32, 48])
@pytest.mark.parametrize("position", POSITIONS)
def test_position(position, image_size):
    config = ShapesConfig(position=position, color="fixed", max_size=0.5, **CLEAN)
    images, _ = make_shapes(config, seed=0, image_size=image_size)
    x, y = object_center(images).T
    assert {
        "left": x.max() < 0.5,
        "right": x.min() > 0.5,
        "center": np.abs(np.stack([x, y]) - 0.5).max() < 0.1,
        "anywhere": x.min() < 0.35 and x.max() > 0.65 and y.min() < 0.35 and y.max() > 0.65,
    }[position]


@pytest.mark.parametrize("color", COLORS)
def test_color(color):
    images, labels = make_shapes(ShapesConfig(position="center", color=color, min_size=0.6, **CLEAN), seed=0)
    square = np.flatnonzero(labels == list(SHAPES).index("square"))
    middle = images[square][:, :, 14:18, 14:18].mean(axis=(2, 3))
    spread = middle.std(axis=0).max()
    assert spread > 20 if color == "random" else spread < 5
    if color == "by_class":
        assert np.abs(middle.mean(axis=0) - CLASS_COLORS[1]).max() < 5


def test_clutter_adds_marks():
    pictures = [make_shapes(ShapesConfig(num_images=60, clutter=c), seed=0)[0] for c in (0.0, 1.0)]
    edges = [np.abs(np.diff(images.astype(int))).mean() for images in pictures]
    assert edges[1] > 2 * edges[0]


PUBLISHED = {
    "default": ({}, 0, 32, "9007d327d775daf6e50a48f82e8b5f7e"),
    "busy": (
        {"num_images": 2500, "clutter": 1.0, "position": "left", "color": "by_class"},
        7,
        48,
        "31a2ff4c540db51aa1c4270465e2a02b",
    ),
}
"""Digests of the pictures that trainings have used before there was occlusion."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_pictures_without_occlusion_stay_what_they_were(name):
    options, seed, image_size, digest = PUBLISHED[name]
    images, _ = make_shapes(ShapesConfig(**options), seed=seed, image_size=image_size)
    assert hashlib.sha256(images.tobytes()).hexdigest()[:32] == digest


@pytest.mark.parametrize("image_size", [32, 64])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.9])
def test_a_bar_hides_the_share_of_every_object(share, image_size):
    """Against a drawing of the same scene without the bar, where only the bar's pixels differ."""
    rng = np.random.default_rng(0)
    labels = np.arange(300) % len(SHAPES)
    shapes = _shape_coverage(labels, ShapesConfig(min_size=0.5, max_size=0.9), rng, image_size)
    bar = _occluder_coverage(shapes, share, rng)
    hidden = (shapes * bar).sum((1, 2)) / shapes.sum((1, 2))
    assert bar.min() >= 0 and bar.max() <= 1
    assert abs(hidden.mean() - share) < 0.01 and np.abs(hidden - share).max() < 0.06


def test_occlusion_changes_nothing_but_the_bar():
    options = {"num_images": 120, "clutter": 0.5}
    plain, hidden, more = (make_shapes(ShapesConfig(occlusion=o, **options), seed=2)[0] for o in (0.0, 0.3, 0.6))
    again, _ = make_shapes(ShapesConfig(occlusion=0.3, **options), seed=2)
    changed = (plain != hidden).any(1).mean((1, 2))
    assert np.array_equal(hidden, again)
    assert changed.min() > 0.02 and 0.1 < changed.mean() < 0.4
    assert (plain != more).any(1).mean() > changed.mean()


def test_drawing_reports_and_can_be_ended():
    heard = []
    make_shapes(ShapesConfig(num_images=2500), seed=0, image_size=8, progress=heard.append)
    assert heard == [0.0, 0.4, 0.8]

    def cancel(fraction):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_shapes(ShapesConfig(), seed=0, progress=cancel)


def test_classes_differ_in_area_as_their_outlines_do():
    """Monte Carlo areas of the unit shapes against formulas."""
    u, v = np.random.default_rng(0).uniform(-1, 1, (2, 200_000))
    areas = {name: 4 * (distance(u, v) < 0).mean() for name, distance in SHAPES.items()}
    expected = {
        "circle": np.pi * 0.95**2,
        "square": 1.5**2,
        "triangle": 0.75 * np.sqrt(3),
        "cross": 2 * (1.8 * 0.54) - 0.54**2,
        "star": 5 * 0.42 * np.sin(np.pi / 5),
        "ring": np.pi * (0.92**2 - 0.52**2),
    }
    assert areas == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    "options",
    [
        {"position": "up"},
        {"color": "red"},
        {"clutter": 1.5},
        {"occlusion": 0.95},
        {"occlusion": -0.1},
        {"occlusion": float("nan")},
        {"min_size": 0.8, "max_size": 0.4},
        {"num_images": 5},
        {"num_images": 1e4},
    ],
)
def test_bad_options_are_refused(options):
    with pytest.raises(UserError):
        ShapesConfig(**options)
