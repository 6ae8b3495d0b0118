"""Kernels of a model's layers."""

import pytest
import torch

from lab.learning.kernels import list_kernels, read_kernel
from lab.session import Lab
from models.registry import fashion_cnn
from tests.device import DEVICE
from tests.sentences import refused


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return Lab(device=DEVICE, runs_root=tmp_path_factory.mktemp("runs"))


def test_kernels_are_those_of_the_modules(lab):
    module = fashion_cnn().build()
    layers = list_kernels(lab, "fashion_cnn")
    found = [name for name, part in module.named_modules() if isinstance(part, torch.nn.Conv2d)]
    assert [layer.name for layer in layers] == found and len(found) >= 2
    for layer in layers:
        part = module.get_submodule(layer.name)
        assert (layer.filters, layer.channels, *layer.size) == tuple(part.weight.shape)
        assert (layer.stride, layer.groups) == (part.stride, part.groups)
        kernel = read_kernel(lab, "fashion_cnn", layer.name, layer.filters - 1, layer.channels - 1)
        torch.testing.assert_close(kernel, part.weight[-1, -1].detach())
        whole = read_kernel(lab, "fashion_cnn", layer.name, 0)
        torch.testing.assert_close(whole, part.weight[0].detach())
        assert not kernel.requires_grad


def test_kernels_of_a_training(make_run, tmp_path):
    model = make_run(tmp_path / "runs")
    lab = Lab(device=DEVICE, runs_root=tmp_path / "runs")
    first = list_kernels(lab, "run/tiny")[0]
    weight = model.get_submodule(first.name).weight
    torch.testing.assert_close(read_kernel(lab, "run/tiny", first.name, 1, 0), weight[1, 0].detach())


def test_what_is_not_there_is_refused(lab):
    first = list_kernels(lab, "fashion_cnn")[0]
    with refused("conv9"):
        read_kernel(lab, "fashion_cnn", "conv9", 0, 0)
    for filter, channel in ((first.filters, 0), (-1, 0), (0, first.channels)):
        with refused(first.name):
            read_kernel(lab, "fashion_cnn", first.name, filter, channel)
