"""The copy of a network with each operation a module: while it is made, the rest of the program computes."""

import threading
from concurrent.futures import ThreadPoolExecutor

import torch
import torchvision.models as tv
from torch import nn

from analysis.attribution.rewriting import rewrite


def test_other_threads_compute_meanwhile_and_several_copies_can_be_made_at_once() -> None:
    torch.manual_seed(0)
    image, done = torch.randn(1, 3, 32, 32), threading.Event()
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 2)).eval()
    expected, called = other(image), nn.Module.__call__
    networks = [tv.resnet18(num_classes=3).eval() for _ in range(2)]

    def compute() -> int:
        count = 0
        while not done.is_set():
            assert torch.equal(other(image), expected)
            count += 1
        return count

    with ThreadPoolExecutor(3) as pool:
        computing = pool.submit(compute)
        copies = [*pool.map(lambda network: rewrite(network, image), networks * 2)]
        done.set()
        assert computing.result() > 10
    assert all(copy.module is not None and not copy.problem for copy in copies)
    assert nn.Module.__call__ is called
