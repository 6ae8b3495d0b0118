"""What watches a forward sees every call; the model and the random numbers come back as they were."""

import pytest
import torch
from torch import nn

from analysis.network.hooks import OperationMode, number_calls, preserved, trace_calls, watch_outputs


def build_model() -> nn.Sequential:
    """A model in a mixed state: one part in eval, one parameter frozen, one with a gradient, one hook."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Sequential(nn.ReLU(), nn.Flatten()))
    model[1].eval()
    model[0].bias.requires_grad_(False)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    model[2].register_forward_hook(lambda module, inputs, output: None)
    return model


def describe(model: nn.Module) -> list:
    """Everything that preserved() promises to restore; tensors by identity."""
    modules = [
        (
            module.training,
            list(module._forward_hooks),
            list(module._forward_pre_hooks),
            list(module._backward_hooks),
            list(module._backward_pre_hooks),
            module._is_full_backward_hook,
            [(name, id(buffer)) for name, buffer in module._buffers.items()],
        )
        for module in model.modules()
    ]
    parameters = [(parameter.requires_grad, id(parameter.grad)) for parameter in model.parameters()]
    return [modules, parameters, torch.get_rng_state().tolist()]


def disturb(model: nn.Module) -> None:
    model.train()
    model.requires_grad_(True)
    model(torch.randn(2, 1, 5, 5)).sum().backward()
    model[0].weight.grad = None
    for module in model.modules():
        module.register_forward_hook(lambda module, inputs, output: None)
        module.register_forward_pre_hook(lambda module, inputs: None)
        module.register_full_backward_hook(lambda module, inputs, outputs: None)
    model[1].running_mean = torch.ones(2)
    model[1].register_buffer("extra", torch.ones(1))


def test_everything_is_restored_after_success() -> None:
    model = build_model()
    before = describe(model)

    with preserved(model):
        disturb(model)

    assert describe(model) == before


def test_everything_is_restored_after_an_error() -> None:
    model = build_model()
    before = describe(model)

    with pytest.raises(KeyError), preserved(model):
        disturb(model)
        raise KeyError

    assert describe(model) == before


def test_existing_gradients_are_neither_seen_nor_added_to() -> None:
    model = build_model()
    gradient = model[0].weight.grad

    with preserved(model):
        assert model[0].weight.grad is None
        model(torch.randn(1, 1, 5, 5)).sum().backward()

    assert model[0].weight.grad is gradient
    assert torch.equal(gradient, torch.ones_like(gradient))


def test_the_model_is_in_eval_mode_inside() -> None:
    with preserved(build_model()) as model:
        assert not any(module.training for module in model.modules())


def test_a_hook_of_the_caller_can_still_be_removed_afterwards() -> None:
    model = nn.Sequential(nn.ReLU())
    handle = model.register_forward_hook(lambda module, inputs, output: output + 1)

    with preserved(model):
        output = model(torch.zeros(1))
    handle.remove()

    assert output == 1
    assert model(torch.zeros(1)) == 0


def test_blocks_may_be_nested() -> None:
    model = build_model()
    before = describe(model)

    with preserved(model):
        with preserved(model):
            disturb(model)
        assert not model.training

    assert describe(model) == before


class Twice(nn.Module):
    """Calls one part twice, and hands on a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.ReLU())

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        return self.inner(self.inner(x) + 1), None


def test_a_trace_tells_when_calls_begin_and_end_and_what_they_are_part_of() -> None:
    net, seen = Twice(), []

    def note(*call: object) -> None:
        seen.append((call[0], list(running), type(call[-1]).__name__))

    with trace_calls(net.named_modules(), begin=note, end=note) as running:
        net(torch.ones(1))

    once = [("inner", ["", "inner"], "str"), ("inner.0", ["", "inner", "inner.0"], "str")]
    once += [("inner.0", ["", "inner"], "Tensor"), ("inner", [""], "Tensor")]
    assert seen == [("", [""], "str"), *once, *once, ("", [], "tuple")]


@pytest.mark.parametrize("watch", [trace_calls, lambda parts: watch_outputs(dict(parts)[""], None, print)])
def test_hooks_are_gone_when_a_call_or_a_name_fails(watch) -> None:
    model = build_model()
    before = describe(model)

    with pytest.raises(RuntimeError), watch(model.named_modules()):
        model(torch.zeros(1))
    with pytest.raises(AttributeError, match="nowhere"), watch_outputs(model, ["0", "nowhere"], print):
        pass

    assert describe(model) == before


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, ["0.inner.0", "0.inner", "0.inner.0#2", "0.inner#2", "0"]),
        (["0.inner"], ["0.inner"]),
        (["0.inner#2", "0"], ["0.inner#2", "0"]),
    ],
)
def test_outputs_are_watched_call_by_call_and_counted_anew_in_each_block(names, expected) -> None:
    net = nn.Sequential(Twice())

    for _ in range(2):
        seen: dict[str, torch.Tensor] = {}
        with watch_outputs(net, names, seen.__setitem__):
            answer, _ = net(torch.ones(1))
        assert list(seen) == expected
        assert all(output is answer for name, output in seen.items() if name == "0")  # first of a tuple


def test_names_are_numbered_apart() -> None:
    number = number_calls()

    assert [number(name) for name in "abaa"] == ["a", "b", "a#2", "a#3"]


def test_operations_are_seen_whoever_asks_for_them() -> None:
    seen = []

    with OperationMode(lambda name, args, output: seen.append((name, len(args), output.tolist()))):
        nn.ReLU(inplace=True)(torch.full((1,), -1.0)).add_(3).clamp(0, 2)

    assert seen[-3:] == [("relu", 1, [0.0]), ("add", 2, [3.0]), ("clamp", 3, [2.0])]
