"""The lab that sessions are tested with."""

import pytest
from PIL import Image

from lab.session import Lab
from tests.device import DEVICE


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    root = tmp_path_factory.mktemp("lab")
    return Lab(device=DEVICE, data_root=root / "data", runs_root=root / "runs")


@pytest.fixture
def sneaker(lab) -> Image.Image:
    return lab.open_image("sneaker")
