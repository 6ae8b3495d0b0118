"""What shift maps and readings are tested with alike."""

from dataclasses import replace

import pytest
from PIL import Image

from lab.session import Lab
from models.registry import BUNDLED, fashion_cnn
from tests.device import DEVICE


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    """With the bundled models, and one of them that looks at the middle of a larger picture."""
    prep = replace(fashion_cnn().preprocessing, resize_size=34)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BUNDLED, "roomy", lambda: replace(fashion_cnn(), name="roomy", preprocessing=prep))
        yield Lab(device=DEVICE, runs_root=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def boot(lab) -> Image.Image:
    """The sample whose class depends most on where it is."""
    return lab.open_image("ankle_boot")
