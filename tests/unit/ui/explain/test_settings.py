"""How methods are set: what the browser or a link says, and what is asked of the lab then."""

import pytest

from tests.sentences import refused
from ui.explain.settings import Settings, check_settings, describe_settings, read_settings, write_settings

TEXT = "occlusion.window:32,smoothgrad.noise_level:0.3,layer:features.3.conv,baseline:blur"


def test_settings_are_read_and_written():
    settings = read_settings(TEXT)
    assert settings == Settings(
        {"occlusion": {"window": 32}, "smoothgrad": {"noise_level": 0.3}}, "features.3.conv", "blur"
    )
    assert write_settings(settings) == TEXT and read_settings("") == Settings() and write_settings(Settings()) == ""


@pytest.mark.parametrize(
    "text",
    [
        "occlusion.window:0",
        "occlusion.window:1e99",
        "occlusion.window:nan",
        "occlusion.depth:3",
        "guess.window:3",
        "baseline:pink",
        "layer",
        "layer:<b>",
        "a" * 700,
    ],
)
def test_what_cannot_be_set_is_refused(text):
    with refused():
        read_settings(text)
    with pytest.raises(ValueError):
        check_settings(text)


def test_a_caption_says_what_is_not_as_usual():
    settings = read_settings(TEXT)
    assert describe_settings(settings, "occlusion") == "window 32, compared with the picture, blurred"
    assert describe_settings(settings, "saliency") == ""
