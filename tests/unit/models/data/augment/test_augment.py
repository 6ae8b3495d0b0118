"""Augmentations: a seed decides all of it, the strengths, the order, and the preview."""

import math
from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator

from analysis.errors import UserError
from models.data.augment import motion
from models.data.augment.augment import SHIFT_AUGMENTS, TRANSFORMS, AugmentConfig, augment, default_config, preview
from tests.sentences import refused

IMAGES = torch.randint(0, 256, (16, 3, 28, 28), dtype=torch.uint8, generator=Generator().manual_seed(0))
EVERYTHING = AugmentConfig(**dict.fromkeys(TRANSFORMS, 1.0))
WHOLE = [name for name, transform in TRANSFORMS.items() if transform.whole]


def seeded(seed=0):
    return Generator().manual_seed(seed)


def only(name, strength=1.0):
    return AugmentConfig(**{name: strength})


def smooth(num, channels, height, width, seed=0):
    """Pictures without sharp edges, as float32 levels."""
    coarse = torch.rand(num, channels, 5, 6, generator=seeded(seed)) * 255
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255)


def grey(num, *shape, level=128):
    return torch.full((num, *shape), level, dtype=torch.uint8)


class TestConfig:
    def test_every_transform_has_a_strength_and_the_same_place_in_the_order(self):
        assert [field.name for field in fields(AugmentConfig)] == list(TRANSFORMS)

    def test_everything_is_off_at_first(self):
        assert not AugmentConfig() and AugmentConfig() == AugmentConfig(**dict.fromkeys(TRANSFORMS, 0))
        assert all(bool(only(name, 1e-9)) for name in TRANSFORMS)

    def test_survives_a_file(self):
        import json

        config = AugmentConfig(flip=1, noise=0.25)
        assert AugmentConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
        assert AugmentConfig.from_dict({"flip": 1}) == AugmentConfig(flip=1.0)
        assert hash(AugmentConfig(flip=1)) == hash(AugmentConfig(flip=1.0))
        assert isinstance(AugmentConfig(flip=1).flip, float)

    @pytest.mark.parametrize("strength", [-0.1, 1.01, math.nan, math.inf, True, None, "0.5", [0.5], 1j])
    def test_refuses_strengths_that_are_none(self, strength):
        with refused("rotate", "0 to 1"):
            AugmentConfig(rotate=strength)

    @pytest.mark.parametrize("values", [{"spin": 0.5}, {1: 0.5}, {"__class__": 1}, None, [("flip", 1)], "flip", 1])
    def test_refuses_files_with_something_else(self, values):
        with pytest.raises(UserError):
            AugmentConfig.from_dict(values)

    def test_default_config(self):
        config = default_config(("translate", "flip", "color"))
        on = {name for name, strength in config.to_dict().items() if strength}
        assert on == {"translate", "flip", "color"} and config.color == TRANSFORMS["color"].default
        assert default_config(()) == AugmentConfig()
        with refused("spin", "crop", "erase"):
            default_config(["spin"])

    @pytest.mark.parametrize(("side", "pixels"), [(28, 2), (32, 2), (64, 5)])
    def test_the_default_translation_is_a_fourteenth_of_the_side(self, side, pixels):
        limit = motion.longest_translation(TRANSFORMS["translate"].default, side)
        assert limit == pixels == round(side / 14)
        assert f"up to {pixels} pixels" in TRANSFORMS["translate"].describe(0.3, side)


@pytest.mark.parametrize("name", TRANSFORMS)
class TestEveryTransform:
    def test_says_what_it_does(self, name):
        transform = TRANSFORMS[name]
        assert transform.title and transform.explanation.endswith(".") and 0 < transform.default <= 1
        assert transform.describe(0.5, 28) != transform.describe(1.0, 28)
        assert any(letter.isdigit() for letter in transform.describe(1.0, 28))
        assert (transform.motion is None) != (transform.change is None)

    def test_a_seed_decides_it_and_nothing_leaks(self, name):
        before, state = IMAGES.clone(), torch.random.get_rng_state()
        first, again, other = (augment(IMAGES, only(name), seeded(seed)) for seed in (1, 1, 2))
        assert first.shape == IMAGES.shape and first.dtype == torch.uint8
        assert torch.equal(first, again) and not torch.equal(first, other)
        assert torch.equal(IMAGES, before)
        assert torch.equal(torch.random.get_rng_state(), state)

    def test_pictures_of_a_batch_change_differently(self, name):
        changed = augment(IMAGES[:1].expand(12, -1, -1, -1), only(name), seeded(3))
        assert len({picture.numpy().tobytes() for picture in changed}) >= (2 if name == "flip" else 10)

    def test_hardly_anything_happens_at_the_smallest_strength(self, name):
        images = smooth(8, 3, 28, 28).round().to(torch.uint8)
        changed = augment(images, only(name, 1e-6), seeded())
        if name == "translate":  # a pixel at least
            changed, images = changed[..., 2:-2, 2:-2], images[..., 2:-2, 2:-2]
            assert (changed.int() - images.int()).abs().max() < 120
        else:
            assert torch.equal(changed, images)

    def test_takes_one_number_of_the_generator(self, name):
        generator, reference = seeded(7), seeded(7)
        augment(IMAGES, only(name), generator)
        augment(IMAGES, AugmentConfig(), reference)
        assert torch.equal(generator.get_state(), reference.get_state())

    def test_any_layout_of_memory(self, name):
        nhwc = IMAGES.contiguous(memory_format=torch.channels_last)
        assert torch.equal(augment(nhwc, only(name), seeded()), augment(IMAGES, only(name), seeded()))

    @pytest.mark.cuda
    def test_the_same_on_a_gpu(self, name):
        if not torch.cuda.is_available():
            pytest.skip("there is no CUDA device")
        here = augment(IMAGES, only(name), seeded()).int()
        there = augment(IMAGES.cuda(), only(name), seeded()).cpu().int()
        assert (here - there).abs().max() <= (0 if TRANSFORMS[name].whole else 1)


class TestTogether:
    def test_nothing_on_is_the_identity(self):
        assert torch.equal(augment(IMAGES, AugmentConfig(), seeded()), IMAGES)

    @pytest.mark.parametrize("off", TRANSFORMS)
    def test_one_more_transform_leaves_the_draws_of_the_others_as_they_are(self, off):
        """All in one call are the same as one after the other in the order of the table."""
        both = [name for name in TRANSFORMS if name in (off, "translate", "erase")]
        together = augment(IMAGES, AugmentConfig(**dict.fromkeys(both, 0.7)), seeded(4))
        apart = IMAGES
        for name in both:
            apart = augment(apart, only(name, 0.7), seeded(4))
        difference = (together.int() - apart.int()).abs()
        if off in ("crop", "rotate"):  # at the border, the step in between has lost pixels
            inner = difference[..., 10:-10, 10:-10]
            assert difference.float().median() <= 1 and inner.float().quantile(0.9) <= 1
        else:
            assert difference.max() <= (0 if off in WHOLE else 1)

    def test_erasing_comes_after_noise(self):
        covered = augment(grey(400, 1, 28, 28), AugmentConfig(erase=1, noise=0), seeded(5))
        noisy = augment(grey(400, 1, 28, 28), AugmentConfig(erase=1, noise=1), seeded(5))
        where = covered != 128
        assert where.any() and torch.equal(noisy[where], covered[where])

    def test_the_precision_of_the_training_around_it_changes_nothing(self):
        plain = augment(IMAGES, EVERYTHING, seeded())
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(augment(IMAGES, EVERYTHING, seeded()), plain)
        with torch.inference_mode():
            assert torch.equal(augment(IMAGES, EVERYTHING, seeded()), plain)

    @settings(max_examples=40)
    @given(
        shape=st.tuples(st.integers(0, 5), st.integers(1, 4), st.integers(1, 40), st.integers(1, 40)),
        strengths=st.fixed_dictionaries(dict.fromkeys(TRANSFORMS, st.sampled_from([0, 0.01, 0.5, 1]))),
        seed=st.integers(0, 2**63 - 1),
    )
    def test_any_size(self, shape, strengths, seed):
        images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=seeded(seed))
        changed = augment(images, AugmentConfig.from_dict(strengths), seeded(seed))
        assert changed.shape == images.shape and changed.dtype == torch.uint8
        # A picture of one colour has nothing to move: it changes only by colour, noise and erasing.
        same = {**strengths, "color": 0, "noise": 0, "erase": 0}
        flat = torch.full(shape, 77, dtype=torch.uint8)
        assert torch.equal(augment(flat, AugmentConfig.from_dict(same), seeded(seed)), flat)


class TestPreview:
    def test_originals_come_first_and_versions_differ(self):
        shown = preview(IMAGES[:3], EVERYTHING, seed=1)
        assert shown.shape == (3, 8, 3, 28, 28) and shown.dtype == torch.uint8
        assert torch.equal(shown[:, 0], IMAGES[:3])
        assert len({picture.numpy().tobytes() for picture in shown.flatten(0, 1)}) == 24

    def test_a_seed_decides_it(self):
        state = torch.random.get_rng_state()
        first, again, other = (preview(IMAGES[:2], EVERYTHING, seed) for seed in (1, 1, 2))
        assert torch.equal(first, again) and not torch.equal(first[:, 1:], other[:, 1:])
        assert torch.equal(torch.random.get_rng_state(), state)

    def test_more_versions_leave_the_first_ones(self):
        few, many = (preview(IMAGES[:2], EVERYTHING, 1, per_image=count) for count in (3, 6))
        assert torch.equal(few, many[:, :3])
        assert torch.equal(preview(IMAGES[:2], EVERYTHING, 1, per_image=1), IMAGES[:2, None])

    def test_a_stronger_setting_changes_the_same_versions_more(self):
        images = smooth(4, 1, 28, 28).round().to(torch.uint8)
        for name in ("rotate", "blur", "noise"):
            weak, strong = (
                preview(images, only(name, s), 3)[:, 1:].int() - images[:, None].int() for s in (0.4, 0.8)
            )
            weak, strong = (difference.abs().double().mean((2, 3, 4)) for difference in (weak, strong))
            assert (strong >= weak).all() and strong.sum() > 1.3 * weak.sum()

    @pytest.mark.parametrize("options", [{"seed": -1}, {"seed": 1.5}, {"per_image": 0}, {"per_image": 65}])
    def test_refuses_what_cannot_be_shown(self, options):
        with refused(next(iter(options))):
            preview(IMAGES[:1], EVERYTHING, **{"seed": 0, **options})


@pytest.mark.parametrize("name", [name for name, change in SHIFT_AUGMENTS.items() if change])
def test_random_shifts(name):
    state = torch.random.get_rng_state()
    first, again, other = (SHIFT_AUGMENTS[name](IMAGES, seeded(seed)) for seed in (1, 1, 2))
    assert first.shape == IMAGES.shape and first.dtype == torch.uint8
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)
