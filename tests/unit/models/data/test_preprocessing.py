"""Preprocessing: torchvision's own presets, in two steps."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import models as zoo
from torchvision.transforms import functional as F

from models.data import preprocessing
from models.data.images import open_image
from models.data.preprocessing import MAX_ASPECT, Preprocessing

GREY = Preprocessing(crop_size=28, resize_size=32, mean=(0.3,), std=(0.2,))
COLOUR = Preprocessing(crop_size=32, resize_size=36, mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3))
WEIGHTS = {
    "resnet18": zoo.ResNet18_Weights.IMAGENET1K_V1,
    "resnet50_v2": zoo.ResNet50_Weights.IMAGENET1K_V2,
    "vit_b_16": zoo.ViT_B_16_Weights.IMAGENET1K_V1,
    "vit_swag": zoo.ViT_L_16_Weights.IMAGENET1K_SWAG_E2E_V1,
    "inception_v3": zoo.Inception_V3_Weights.IMAGENET1K_V1,
    "efficientnet_b0": zoo.EfficientNet_B0_Weights.IMAGENET1K_V1,
    "efficientnet_b4": zoo.EfficientNet_B4_Weights.IMAGENET1K_V1,
    "efficientnet_v2_s": zoo.EfficientNet_V2_S_Weights.IMAGENET1K_V1,
    "swin_v2_t": zoo.Swin_V2_T_Weights.IMAGENET1K_V1,
}


def random_picture(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(sum(size)).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize(
    ("size", "mode"), [((451, 300), "RGB"), ((64, 97), "L"), ((300, 300), "RGB"), ((900, 120), "L")]
)
def test_equals_torchvision_exactly(name, size, mode):
    preset = WEIGHTS[name].transforms()
    image = random_picture(size, mode)
    steps = Preprocessing.from_torchvision(preset)
    ours = steps.normalize(steps.to_pixels(image))
    assert torch.equal(ours, preset(image.convert("RGB")))
    assert ours.shape == (3, steps.crop_size, steps.crop_size)


@pytest.mark.parametrize("name", ["resnet18", "resnet50_v2", "inception_v3", "efficientnet_b0"])
@pytest.mark.parametrize("size", [(424, 47), (425, 47), (47, 426), (53, 3000), (3001, 64), (1200, 50)])
def test_strips_equal_torchvision_exactly(name, size):
    preset, image = WEIGHTS[name].transforms(), random_picture(size)
    steps = Preprocessing.from_torchvision(preset)
    assert torch.equal(steps.normalize(steps.to_pixels(image)), preset(image))
    assert steps.list_notes(image) == ()


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b4"])
def test_large_pictures_from_files_equal_torchvision_exactly(tmp_path, chelsea, name):
    chelsea.resize((6546, 3843)).save(tmp_path / "x.jpg")
    preset = WEIGHTS[name].transforms()
    steps, image = Preprocessing.from_torchvision(preset), open_image(tmp_path / "x.jpg")
    assert image.size == (6546, 3843) and steps.list_notes(image) == ()
    with Image.open(tmp_path / "x.jpg") as plain:
        assert torch.equal(steps.normalize(steps.to_pixels(image)), preset(plain))


def test_strips_too_long_to_be_resized_are_cut_around_their_centre_and_say_so(monkeypatch):
    strip = Image.new("L", (1001, 10))
    strip.paste(255, (451, 0, 550, 10))
    whole = GREY.to_pixels(strip)
    monkeypatch.setattr(preprocessing, "MAX_RESIZED_PIXELS", 32 * 32 * 40)
    (note,) = GREY.list_notes(strip)
    assert "399 x 10 pixels" in note  # at most 40 : 1, an even number less
    torch.testing.assert_close(GREY.to_pixels(strip), whole, rtol=0, atol=0.02)
    assert GREY.list_notes(strip.crop((0, 0, 400, 10))) == ()


@pytest.mark.parametrize("name", zoo.list_models(module=zoo))
def test_every_preset_fills_its_crop(name):
    steps = Preprocessing.from_torchvision(zoo.get_model_weights(name).DEFAULT.transforms())
    assert steps.resize_size >= steps.crop_size >= 224  # no black borders that the picture does not have


@settings(max_examples=40)
@given(size=st.tuples(st.integers(1, 80), st.integers(1, 80)), steps=st.sampled_from([GREY, COLOUR]))
def test_the_crop_of_the_canvas_is_what_the_network_sees(size, steps):
    image = random_picture(size)
    canvas, pixels = steps.to_canvas(image), steps.to_pixels(image)
    assert min(canvas.shape[1:]) == steps.resize_size
    assert torch.equal(steps.crop(canvas), pixels)
    assert pixels.shape == (steps.num_channels, steps.crop_size, steps.crop_size)
    assert pixels.dtype == torch.float32 and 0 <= pixels.min() <= pixels.max() <= 1


@pytest.mark.parametrize("size", [(20_000, 3), (3, 20_000), (4096, 1), (1, 1)])
def test_long_strips_stay_small(size):
    canvas = COLOUR.to_canvas(Image.new("RGB", size, "white"))
    short, long = sorted(canvas.shape[1:])
    assert short == COLOUR.resize_size and long <= MAX_ASPECT * COLOUR.resize_size
    assert torch.equal(COLOUR.crop(canvas), torch.ones(3, 32, 32))


def test_strips_are_cut_around_their_centre():
    strip = Image.new("L", (400, 10))
    strip.paste(255, (195, 0, 205, 10))
    canvas = GREY.to_canvas(strip)
    assert canvas.shape == (1, 32, 32 * MAX_ASPECT)
    columns = canvas[0].mean(dim=0)
    torch.testing.assert_close(columns, columns.flip(0), rtol=0, atol=0.01)
    assert columns[len(columns) // 2] == 1 and columns[0] == 0


def test_the_longest_allowed_strip_is_not_cut():
    strip = random_picture((80, 10))
    expected = F.resize(strip, [COLOUR.resize_size])
    np.testing.assert_array_equal(
        (COLOUR.to_canvas(strip) * 255).round().byte().permute(1, 2, 0), np.asarray(expected)
    )


def test_grey_models_see_luminance():
    image = random_picture((32, 32))
    pixels = GREY.to_canvas(image)
    np.testing.assert_array_equal((pixels[0] * 255).round().byte(), np.asarray(image.convert("L")))
    torch.testing.assert_close(GREY.normalize(pixels), (pixels - 0.3) / 0.2)


def test_normalisation_keeps_batches_apart():
    pixels = torch.rand(2, 5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor(COLOUR.mean)[:, None, None], torch.tensor(COLOUR.std)[:, None, None]
    torch.testing.assert_close(COLOUR.normalize(pixels), (pixels - mean) / std)


def test_small_canvases_are_padded_with_black():
    steps = Preprocessing(crop_size=8, resize_size=4)
    pixels = steps.to_pixels(Image.new("L", (4, 4), 255))
    assert pixels.shape == (1, 8, 8) and pixels.sum() == 16 and pixels[0, 2:6, 2:6].sum() == 16


@pytest.mark.parametrize(
    "steps", [GREY, COLOUR, Preprocessing.from_torchvision(WEIGHTS["efficientnet_b0"].transforms())]
)
def test_json_round_trip(steps):
    again = Preprocessing.from_dict(json.loads(json.dumps(steps.to_dict())))
    assert again == steps and hash(again) == hash(steps)
