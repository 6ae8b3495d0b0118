"""Red-Green: the law of the pictures, the networks' geometry, and logits that cannot see the half."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.errors import UserError
from lab.experiments.red_green_network import (
    CONVOLUTIONS,
    MOVE,
    PATIENCE,
    RedGreenConfig,
    RedGreenNet,
    make_data,
    make_red_green,
    measure_red_green,
    move_to_other_half,
    train_red_green,
)

TINY = {"num_train": 60, "num_validation": 20, "num_test": 30, "batch_size": 20, "epochs": 3, "repeats": 1}
EXACT = [name for name, kind in CONVOLUTIONS.items() if kind.is_invariant]


def find_corner(plane: torch.Tensor) -> tuple[int, int]:
    """Upper left corner of the only lit square, which must be 4 x 4 and fully lit."""
    rows, columns = plane.nonzero(as_tuple=True)
    assert len(rows) == 16 and set(plane.unique().tolist()) == {0, 255}
    assert int(rows.max() - rows.min()) == int(columns.max() - columns.min()) == 3
    return int(rows.min()), int(columns.min())


@pytest.fixture(scope="module")
def pictures():
    return make_red_green(3000, seed=5)


@pytest.fixture
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        yield


def test_the_law_of_the_pictures(pictures):
    assert pictures.images.shape == (3000, 3, 32, 32) and pictures.images.dtype == torch.uint8
    assert pictures.labels.bincount().tolist() == [1500, 1500] and pictures.labels.dtype == torch.int64
    assert not pictures.images[:, 2].any()
    seen = {"left": set(), "right": set(), 0: set(), 1: set()}
    for image, label in zip(pictures.images, pictures.labels.tolist(), strict=True):
        (red_row, red), (green_row, green) = find_corner(image[0]), find_corner(image[1])
        left, right = (red, green) if label == 0 else (green, red)
        assert right - left >= 5
        seen["left"].add(left)
        seen["right"].add(right)
        seen[label] |= {red_row, green_row}
    assert seen["left"] == set(range(10)) and seen["right"] == set(range(5, 28))
    assert seen[0] == set(range(3, 11)) and seen[1] == set(range(19, 27))


def test_right_squares_are_uniform_given_the_left_one(pictures):
    gaps = []
    for image, label in zip(pictures.images, pictures.labels.tolist(), strict=True):
        columns = [find_corner(image[channel])[1] for channel in ((0, 1) if label == 0 else (1, 0))]
        gaps.append((columns[1] - columns[0] - 5) / (27 - columns[0] - 5))
    assert np.mean(gaps) == pytest.approx(0.5, abs=0.03)


def test_dissimilar_pictures_are_the_same_ones_16_pixels_away(pictures):
    moved = move_to_other_half(pictures.images)
    for before, after, label in zip(pictures.images[:100], moved[:100], pictures.labels[:100].tolist(), strict=True):
        for channel in (0, 1):
            (row, column), (new_row, new_column) = find_corner(before[channel]), find_corner(after[channel])
            assert (new_row - row, new_column) == (MOVE if label == 0 else -MOVE, column)
    assert torch.equal(move_to_other_half(moved), pictures.images)


def test_seeds_decide_the_pictures():
    first, again, other = (make_red_green(50, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.images, again.images) and not torch.equal(first.images, other.images)
    data = make_data(RedGreenConfig(num_train=40, num_validation=40, num_test=40))
    assert not torch.equal(data.train.images, data.test.images)
    assert not torch.equal(data.train.images, data.validation.images)


@pytest.mark.parametrize(
    ("convolution", "sides"),
    [
        ("valid", [30, 14, 6, 2]),
        ("same_zero", [32, 16, 8, 4]),
        ("same_circular", [32, 16, 8, 4]),
        ("full_zero", [34, 18, 10, 6]),
    ],
)
def test_the_network_is_that_of_the_paper(convolution, sides, seeded):
    net, x, found = RedGreenNet(convolution), torch.rand(1, 3, 32, 32), []
    for layer in net.features:
        x = layer(x)
        if isinstance(layer, torch.nn.Conv2d):
            found.append((x.shape[1], x.shape[2], layer.stride[0], layer.bias))
    widths, strides = [32, 32, 64, 64], [1, 2, 2, 2]
    assert found == [(*row, None) for row in zip(widths, sides, strides, strict=True)]
    assert net.head(x).shape == (1, 2)


def test_a_cell_sees_17_pixels(seeded):
    net = RedGreenNet("same_zero").features.double()
    for layer in net:
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight.data.abs_()  # no ReLU is shut
    x = torch.ones(1, 3, 64, 64, dtype=torch.float64, requires_grad=True)
    net(x)[0, 0, 4, 4].backward()
    rows = x.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert int(rows.max() - rows.min()) + 1 == 1 + 2 + 2 + 4 + 8


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_random_networks_see_the_half_or_not_to_the_last_bit(convolution, seeded, pictures):
    nets = [RedGreenNet(convolution) for _ in range(3)]
    nets += [net.to(memory_format=torch.channels_last) for net in copy.deepcopy(nets)]
    test = make_red_green(70, seed=1)
    for net in nets:
        measured = measure_red_green(net, test, batch_size=32)
        if convolution in EXACT:
            assert measured.max_logit_difference == 0.0 and measured.similar == measured.dissimilar
        else:
            assert measured.max_logit_difference > 1e-3


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_trained_networks_see_the_half_or_not_to_the_last_bit(convolution):
    config = RedGreenConfig(**TINY)
    data = make_data(config)
    net = train_red_green(convolution, data, config, seed=0)
    measured = measure_red_green(net, data.test)
    assert (measured.max_logit_difference == 0.0) is (convolution in EXACT)
    assert 0 <= measured.similar <= 1 and not net.training


def test_a_move_off_the_stride_lattice_is_seen(seeded):
    """The identity is one of multiples of 8 pixels, not of networks that see nothing."""
    net, x = RedGreenNet("same_circular"), make_red_green(20, seed=0).images.float() / 255
    with torch.no_grad():
        assert torch.equal(net(x), net(x.roll(8, -2)))
        assert (net(x) - net(x.roll(3, -2))).abs().max() > 1e-4


def test_without_padding_the_half_is_learned_in_a_few_epochs():
    config = RedGreenConfig(num_train=300, num_validation=50, num_test=100, batch_size=20, epochs=5)
    data = make_data(config)
    measured = measure_red_green(train_red_green("valid", data, config, seed=0), data.test)
    assert measured.similar > 0.9 and measured.dissimilar < 0.2


def test_training_is_reproducible_and_leaves_no_trace():
    config = RedGreenConfig(**TINY)
    data = make_data(config)
    state = torch.random.get_rng_state()
    first, again, other = (train_red_green("same_zero", data, config, seed=seed) for seed in (4, 4, 5))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()
    weights = [net.head[2].weight for net in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_the_best_epoch_is_kept_and_waiting_ends(monkeypatch):
    config = RedGreenConfig(**TINY)
    data, epochs = make_data(config), []
    best = train_red_green("valid", data, replace(config, epochs=2), seed=0)
    losses = iter([3.0, 1.0, *[2.0] * 50])
    monkeypatch.setattr("lab.experiments.red_green_network._mean_loss", lambda net, batches: next(losses))
    kept = train_red_green("valid", data, replace(config, epochs=40), seed=0, on_epoch=epochs.append)
    assert epochs == list(range(1, 2 + PATIENCE + 1))
    for name, tensor in best.state_dict().items():
        assert torch.equal(kept.state_dict()[name], tensor)


def test_an_error_of_the_listener_ends_the_training():
    def stop(epoch):
        raise KeyError(epoch)

    config = RedGreenConfig(**TINY)
    with pytest.raises(KeyError, match="1"):
        train_red_green("valid", make_data(config), config, seed=0, on_epoch=stop)


@pytest.mark.parametrize(
    "options",
    [
        {"convolutions": []},
        {"convolutions": ["same"]},
        {"convolutions": "valid"},
        {"repeats": 0},
        {"epochs": 1.5},
        {"num_test": 1},
        {"optimizer": "sgd"},
        {"learning_rate": -1.0},
        {"seed": -1},
        {"device": "tpu"},
    ],
)
def test_bad_settings_are_refused(options):
    with pytest.raises(UserError):
        RedGreenConfig(**options)
