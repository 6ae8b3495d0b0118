"""Losses, penalties and schedules against PyTorch, float64 loops and the numbers of lectures."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.training.optimization import (
    LOSSES,
    OPTIMIZERS,
    SCHEDULES,
    add_l1_gradients,
    gradient_norm,
    multiclass_hinge,
    one_cycle,
)

SCORES = torch.tensor([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]])
"""Of a cat, a car and a frog for cat, car, frog (CS231n)."""


def hinge_by_loop(logits, labels):
    found = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        found.append(sum(max(0.0, s - row[label] + 1) for j, s in enumerate(row) if j != label))
    return found


def test_the_hinge_losses_of_the_lecture():
    found = multiclass_hinge(SCORES, torch.tensor([0, 1, 2])).tolist()
    assert found == pytest.approx([2.9, 0.0, 12.9], abs=1e-6)


def test_the_softmax_of_the_lecture():
    loss = LOSSES["cross_entropy"].per_picture(SCORES[:1], torch.tensor([0]), 0.0)
    assert loss.item() == pytest.approx(-math.log(24.5325 / (24.5325 + 164.0219 + 0.1827)), abs=1e-4)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), num=st.integers(1, 6), classes=st.integers(2, 9))
def test_hinge_and_its_gradient_equal_a_loop(seed, num, classes):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num, classes, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(classes, (num,), generator=generator)
    losses = multiclass_hinge(logits, labels)
    assert losses.tolist() == pytest.approx(hinge_by_loop(logits, labels), abs=1e-12)
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    expected = torch.zeros_like(logits)
    for row, label in enumerate(labels.tolist()):
        for j in range(classes):
            if j != label and logits[row, j] - logits[row, label] + 1 > 0:
                expected[row, j] += 1
                expected[row, label] -= 1
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_one_number_per_picture(name):
    labels = torch.tensor([2, 1, 0])
    losses = LOSSES[name].per_picture(SCORES, labels, 0.0)
    assert losses.shape == (3,) and (losses >= 0).all() and losses.isfinite().all()
    better = LOSSES[name].per_picture(SCORES + 9 * nn.functional.one_hot(labels, 3), labels, 0.0)
    assert (better <= losses).all() and better.sum() < losses.sum()


def test_label_smoothing_is_that_of_pytorch():
    labels = torch.tensor([0, 1, 2])
    found = LOSSES["cross_entropy"].per_picture(SCORES, labels, 0.2).mean()
    assert found.item() == pytest.approx(nn.CrossEntropyLoss(label_smoothing=0.2)(SCORES, labels).item())


def test_l1_gradients_are_those_of_the_sum_of_magnitudes():
    layer = nn.Linear(5, 3, dtype=torch.float64)
    layer.weight.data[0, 0] = 0.0
    inputs = torch.randn(4, 5, dtype=torch.float64)
    loss = layer(inputs).square().sum()
    expected = torch.autograd.grad(loss + 0.3 * sum(p.abs().sum() for p in layer.parameters()), layer.parameters())
    layer(inputs).square().sum().backward()
    add_l1_gradients(layer.parameters(), 0.3)
    for parameter, gradient in zip(layer.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_weight_decay_is_the_gradient_of_half_the_squares(name):
    start = torch.randn(6, dtype=torch.float64)
    decayed, explicit = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    by_option = OPTIMIZERS[name]([decayed], lr=0.1, weight_decay=0.2)
    by_loss = OPTIMIZERS[name]([explicit], lr=0.1, weight_decay=0.0)
    for _ in range(5):
        for parameter, optimizer, penalty in ((decayed, by_option, 0.0), (explicit, by_loss, 0.2)):
            optimizer.zero_grad()
            ((parameter - 1).pow(4).sum() + penalty / 2 * parameter.square().sum()).backward()
            optimizer.step()
    torch.testing.assert_close(decayed, explicit, rtol=0, atol=1e-12)


def test_adamw_decays_apart_from_the_gradient():
    parameter = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = OPTIMIZERS["adamw"]([parameter], lr=0.1, weight_decay=0.5)
    parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert parameter.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("total", [1, 2, 7, 100])
def test_rates_stay_between_nothing_and_the_peak(name, total):
    rates = [SCHEDULES[name](step, total) for step in range(total)]
    assert all(0 < rate <= 1 for rate in rates)


def test_the_shapes_of_the_schedules():
    rates = [one_cycle(step, 100) for step in range(100)]
    assert max(rates) > 0.98 and rates.index(max(rates)) in (24, 25) and rates[-1] < 0.02
    assert [SCHEDULES["step"](step, 100) for step in (0, 49, 50, 74, 75, 99)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )
    assert SCHEDULES["cosine"](50, 100) == pytest.approx(0.5) and SCHEDULES["cosine"](0, 100) == 1
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    oracle = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
    for step in range(40):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(SCHEDULES["cosine"](step, 40), abs=1e-9)
        optimizer.step()
        oracle.step()


def test_the_norm_of_all_gradients():
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    assert gradient_norm(net) == 0
    net(torch.randn(5, 3)).sum().backward()
    joined = torch.cat([parameter.grad.flatten() for parameter in net.parameters()])
    assert gradient_norm(net).item() == pytest.approx(joined.norm().item(), rel=1e-6)
