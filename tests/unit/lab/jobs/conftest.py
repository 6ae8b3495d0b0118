"""Managers of jobs, and an upload for these."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from lab.jobs import JobManager


@pytest.fixture
def manager(tmp_path):
    manager = JobManager(tmp_path / "runs")
    yield manager
    for run in manager.list():
        manager.kill(run.name)


@pytest.fixture
def upload(tmp_path):
    """A zip of 320 pictures in folders named after two garments: ten chunks of an evaluation."""
    path, rng = tmp_path / "uploads" / "my garments!.zip", np.random.default_rng(0)
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(320):
            pixels = np.kron(rng.integers(256, size=(7, 7)), np.ones((4, 4))).astype(np.uint8)
            picture = io.BytesIO()
            Image.fromarray(pixels).save(picture, format="PNG")
            archive.writestr(f"{('bag', 'sneaker')[number % 2]}/{number:03}.png", picture.getvalue())
    return path
