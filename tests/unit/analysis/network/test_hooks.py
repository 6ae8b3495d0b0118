"""Whatever happens inside preserved(), the model and the random numbers come back as they were."""

import pytest
import torch
from torch import nn

from analysis.network.hooks import preserved


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
