"""The map that a layer ends with: where a function follows it, where one does not, and with nothing left behind."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from analysis.attribution.taps import tapped


class Net(nn.Module):
    """What happens between its convolution and its pooling can be chosen."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3))
        self.rectifier, self.between = nn.ReLU(), between

    def forward(self, x: Tensor) -> Tensor:
        return self.between(self.body(x)).mean((2, 3))


def forget_result(x: Tensor) -> Tensor:
    F.relu(x, inplace=True)
    return x


class Wrapped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


def watch(net: nn.Module, layer: str) -> tuple[Tensor, list[Tensor]]:
    """What the network answers, and the maps that the tap hands on."""
    maps = []
    torch.manual_seed(0)
    with torch.no_grad(), tapped(net, layer) as tap:
        tap.register_forward_hook(lambda module, inputs, output: maps.append(output.clone()))
        return net(torch.randn(1, 1, 8, 8)), maps


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    "between",
    [
        *(F.relu, torch.relu, Tensor.relu, torch.relu_, F.gelu, F.silu, F.elu, F.relu6),
        *(lambda x: x.clamp(min=0), lambda x: F.relu(input=x), lambda x: F.relu(x, inplace=True), forget_result),
    ],
)
@pytest.mark.parametrize("layer", ["body", "body.1"])
def test_a_function_that_follows_at_once_belongs_to_the_map(between, layer) -> None:
    net = Net(between)

    answer, maps = watch(net, layer)

    torch.testing.assert_close(maps[-1].mean((2, 3)), answer)
    if layer == "body":
        torch.testing.assert_close(between(maps[0].clone()), maps[-1])
        assert not torch.equal(maps[0], maps[-1])


@pytest.mark.parametrize(
    "between",
    [Wrapped(), nn.ReLU(), lambda x: x + 1, torch.sigmoid, lambda x: F.relu(x - 1), lambda x: F.relu(x[:, 1:])],
)
def test_modules_gates_and_what_comes_later_do_not(between) -> None:
    net = Net(between)

    answer, maps = watch(net, "body")

    assert len(maps) == 1
    torch.testing.assert_close(between(maps[0]).mean((2, 3)), answer)


def test_a_function_inside_the_layer_is_a_part_of_it() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), Wrapped())

    answer, maps = watch(net, "1")

    assert len(maps) == 1
    assert torch.equal(maps[0], answer)


def test_functions_can_follow_each_other() -> None:
    answer, maps = watch(Net(lambda x: F.relu6(F.leaky_relu(x))), "body")

    assert len(maps) == 3
    torch.testing.assert_close(maps[-1].mean((2, 3)), answer)


def test_the_last_of_several_calls_counts() -> None:
    net = Net(F.relu)
    net.between = lambda x: F.relu(net.body[1](F.relu(F.pad(x, (1, 1, 1, 1)))))

    answer, maps = watch(net, "body.1")

    torch.testing.assert_close(maps[-1].mean((2, 3)), answer)


@pytest.mark.parametrize("inplace", [True, False])
def test_gradients_of_what_is_handed_on_are_those_of_the_map(inplace) -> None:
    net, found = Net(lambda x: F.relu(x, inplace=inplace)), []

    def cut(module, inputs, output: Tensor) -> Tensor:
        found.append(output.detach().requires_grad_())
        return found[-1].clone()

    with tapped(net, "body") as tap:
        tap.register_forward_hook(cut)
        answer = net(torch.randn(1, 1, 8, 8))

    (gradient,) = torch.autograd.grad(answer[0, 2], found[-1])
    expected = torch.zeros(1, 4, 4, 4)
    expected[:, 2] = 1 / 16
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("is_broken", [True, False])
def test_nothing_is_left_behind(is_broken) -> None:
    def fail(x: Tensor) -> Tensor:
        raise RuntimeError("broken")

    net = Net(fail if is_broken else F.relu)
    hooks = [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in net.modules()]

    if is_broken:
        with pytest.raises(RuntimeError, match="broken"):
            watch(net, "body")
    else:
        watch(net, "body")

    assert [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in net.modules()] == hooks
