"""Evaluations of small networks on 70 pictures."""

import numpy as np
import pytest
from PIL import Image

from lab.evaluation.config import EvaluationConfig
from lab.evaluation.run import evaluate
from lab.session import Lab
from models import registry
from tests.device import DEVICE
from tests.unit.lab.evaluation.insects import CLASSES, make_module, make_spec


@pytest.fixture
def modules(monkeypatch):
    """Three models: two of the classes of the pictures, and one of other classes."""
    made = {"toy": make_module(0), "other": make_module(1), "foreign": make_module(0)}
    for name, module in made.items():
        categories = ("one", "two", "three", "four") if name == "foreign" else CLASSES
        spec = make_spec(name, module, categories)
        monkeypatch.setitem(registry.BUNDLED, name, lambda spec=spec: spec)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """70 pictures of 18 x 18 grey pixels: more than two chunks."""
    root, rng = tmp_path_factory.mktemp("data") / "insects", np.random.default_rng(0)
    for number in range(70):
        path = root / CLASSES[number % 4] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.kron(rng.integers(256, size=(6, 6)), np.ones((3, 3)))
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return root


@pytest.fixture
def lab(modules, tmp_path):
    return Lab(device=DEVICE, data_root=tmp_path, runs_root=tmp_path / "runs")


@pytest.fixture
def run(lab, folder, tmp_path):
    """Evaluates "toy" over the folder; without what differs from call to call."""

    def run(progress=lambda done, total: None, **options):
        config = EvaluationConfig(**{"models": ("toy",), "data": str(folder), "threads": 1} | options)
        document = evaluate(lab, config, tmp_path / "work", progress)
        assert document.pop("seconds") > 0
        return document

    return run
