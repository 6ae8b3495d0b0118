"""How the methods go about it: in chunks, with progress, within the memory there is; and nothing is left behind."""

import pytest
import torch
from torch import Tensor, nn

from analysis.attribution.methods import attribute
from analysis.errors import Cancelled
from tests.sentences import refused
from tests.unit.analysis.attribution.explained import CONVOLUTIONAL, QUICK, ResidualNet, describe

CHUNKED = [
    *("integrated_gradients", "smoothgrad", "smoothgrad_squared", "vargrad", "gradient_shap", "deep_lift_shap"),
    *("occlusion", "rise", "feature_ablation", "shapley_sampling", "kernel_shap", "lime"),
    *("layer_conductance", "internal_influence"),
]


# --- chunks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", CHUNKED)
def test_the_size_of_the_chunks_does_not_change_the_result(method, net, image) -> None:
    torch.testing.assert_close(
        *(attribute(net, image, 0, method, chunk=chunk, **QUICK.get(method, {})).values for chunk in (3, 50))
    )


@pytest.mark.parametrize("method", CONVOLUTIONAL)
def test_progress_runs_from_nothing_to_all(method, net, image) -> None:
    calls = []

    attribute(
        net, image, 0, method, progress=lambda done, total: calls.append((done, total)), **QUICK.get(method, {})
    )

    done, totals = zip(*calls, strict=True)
    assert len(set(totals)) == 1
    assert done[0] == 0
    assert done[-1] == totals[0]
    assert list(done) == sorted(done)


@pytest.mark.parametrize("method", CHUNKED)
def test_cancelling_stops_between_chunks_and_leaves_nothing_behind(method, net, image) -> None:
    before = describe(net)
    seen = []

    def progress(done: int, total: int) -> None:
        seen.append(done)
        if done >= 4:
            raise Cancelled

    with pytest.raises(Cancelled):
        attribute(net, image, 0, method, progress=progress, chunk=2)

    assert seen[-1] <= 5
    assert describe(net) == before


class CrampedConv(nn.Conv2d):
    limit = 3

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.limit:
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(x)


class CrampedNet(ResidualNet):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = CrampedConv(3, 6, 3, padding=1)


@pytest.mark.parametrize("method", CHUNKED)
def test_chunks_are_halved_until_they_fit(method, image, caplog) -> None:
    net = CrampedNet()

    result = attribute(net, image, 0, method, chunk=8, **QUICK.get(method, {}))

    assert "chunks of 2" in caplog.text
    net.conv1.limit = 100
    torch.testing.assert_close(
        result.values, attribute(net, image, 0, method, chunk=8, **QUICK.get(method, {})).values
    )


def test_too_little_memory_for_one_image_is_said_plainly(image) -> None:
    net = CrampedNet()

    def shrink(done: int, total: int) -> None:
        net.conv1.limit = 0

    with refused():
        attribute(net, image, 0, "smoothgrad", progress=shrink)


# --- nothing leaks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", CONVOLUTIONAL)
def test_model_input_and_random_numbers_are_left_alone(method, net, image) -> None:
    before, pixels = describe(net), image.clone()

    attribute(net, image, 0, method, **QUICK.get(method, {}))

    assert describe(net) == before
    assert not image.requires_grad
    assert image.grad is None
    assert torch.equal(image, pixels)


class FailingNet(ResidualNet):
    """Fails in the middle of its second forward, when captum's hooks are in place."""

    def forward(self, x: Tensor) -> Tensor:
        self.calls = getattr(self, "calls", 0) + 1
        hidden = self.bn(self.conv1(x))
        if self.calls > 1:
            raise RuntimeError("broken")
        return self.fc(self.relu(self.conv3(self.relu(hidden))).mean((2, 3)))


@pytest.mark.parametrize("method", CONVOLUTIONAL)
def test_an_error_inside_the_model_leaves_nothing_behind(method, image) -> None:
    net = FailingNet()
    before = describe(net)

    with pytest.raises(RuntimeError, match="broken"):
        attribute(net, image, 0, method)

    assert describe(net) == before


def test_smoothgrad_repeats_for_a_seed_and_differs_for_another(net, image) -> None:
    first, again, other = (attribute(net, image, 0, "smoothgrad", seed=seed).values for seed in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_are_found_inside_a_callers_no_grad(mode, net, image) -> None:
    expected = attribute(net, image, 0, "saliency").values

    with mode():
        found = attribute(net, image.clone(), 0, "saliency").values

    assert torch.equal(found, expected)
