"""Pictures made for a class or a channel by name."""

import pytest

from lab.channels.maximise import make_picture
from lab.session import Lab
from tests.device import DEVICE
from tests.sentences import refused


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    root = tmp_path_factory.mktemp("maximise")
    return Lab(DEVICE, data_root=root, runs_root=root)


def test_a_class_by_its_name_is_what_the_model_then_sees(lab):
    from PIL import Image

    from analysis.figures.drawing import draw_pixels

    found = make_picture(lab, "fashion_cnn", target="sneaker", steps=60)
    assert found.made.after > found.made.before + 5 and found.target == "sneaker"
    picture = Image.fromarray(draw_pixels(found.made.pixels, size=28))
    assert lab.classify(picture, "fashion_cnn").predictions[0].category == "sneaker"


def test_a_channel_is_named_with_its_layer(lab):
    layer = lab.default_layer("fashion_cnn")
    found = make_picture(lab, "fashion_cnn", layer=layer, channel=0, steps=10)
    assert found.target == f"{layer}, channel 0" and found.made.after > found.made.before
    with refused():
        make_picture(lab, "fashion_cnn")
    with refused():
        make_picture(lab, "fashion_cnn", layer=layer)
    with refused(10**6):
        make_picture(lab, "fashion_cnn", layer=layer, channel=10**6)
