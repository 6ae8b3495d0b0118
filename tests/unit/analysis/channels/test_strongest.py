"""The strongest cells of a pass over many pictures, against sorting everything."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from analysis.channels import strongest as module_under_test
from analysis.channels.strongest import Strongest, find_strongest
from analysis.errors import Cancelled
from analysis.network.layers import extract_features
from tests.sentences import refused

PICTURES = torch.randn(23, 3, 16, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        parts = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        return nn.Sequential(*parts, nn.Conv2d(8, 5, 3), nn.Flatten(), nn.Linear(5 * 6 * 4, 4))


def load(numbers):
    return numbers, PICTURES[list(numbers)]


def search(maps, k):
    """Plain loops and Python's sort: value, picture and cell of the best, for each channel."""
    found = []
    for channel in range(maps.shape[1]):
        best = []
        for picture, cells in enumerate(maps[:, channel]):
            values = cells.flatten().tolist()
            best.append((max(values), picture, values.index(max(values))))
        best = sorted(best, key=lambda item: (-item[0], item[1]))[:k]
        found.append([(value, picture, *divmod(place, maps.shape[3])) for value, picture, place in best])
    return found


def listed(strongest):
    return [
        [
            (value, picture, *cell)
            for value, picture, cell in zip(
                *(each[channel].tolist() for each in vars(strongest).values()), strict=True
            )
        ]
        for channel in range(len(strongest.values))
    ]


@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_every_channel_of_several_layers_is_what_sorting_everything_finds(network, monkeypatch, chunk):
    monkeypatch.setattr(module_under_test, "CHUNK", chunk)
    network.eval()
    seen = []
    found = find_strongest(network, load, 23, ["0", "2", "4"], 9, progress=lambda *done: seen.append(done))
    for name in ("0", "2", "4"):
        maps = extract_features(network, PICTURES, name)
        for own, expected in zip(listed(found[name]), search(maps, 9), strict=True):
            assert [row[1:] for row in own] == [row[1:] for row in expected]
            assert [row[0] for row in own] == pytest.approx([row[0] for row in expected], abs=1e-5)
    assert seen[-1] == (23, 23)


def test_the_maps_are_those_before_what_follows_in_place(network):
    """The control: were the output of "1" looked at after the ReLU, it would have no negative values."""
    shifted = copy.deepcopy(network).eval()
    with torch.no_grad():
        shifted[1].bias.fill_(-100)
    assert float(find_strongest(shifted, load, 23, ["1"])["1"].values.max()) < -50
    assert float(find_strongest(shifted, load, 23, ["2"])["2"].values.abs().max()) == 0


@given(st.data())
@settings(max_examples=40)
def test_chunks_do_not_matter_even_where_values_are_equal(data):
    count = data.draw(st.integers(1, 12))
    numbers = st.lists(st.integers(-2, 2), min_size=count * 12, max_size=count * 12)
    maps = torch.tensor(data.draw(numbers), dtype=torch.float32).view(count, 3, 2, 2)
    k = data.draw(st.integers(1, 5))
    cuts = sorted(data.draw(st.sets(st.integers(1, count), max_size=4)) | {count})
    kept, start = Strongest.empty(3, k, torch.device("cpu")), 0
    for end in cuts:
        kept, start = kept.merge(maps[start:end], range(start, end)), end
    assert listed(kept.finish()) == search(maps, k)


def test_there_are_fewer_where_there_are_fewer_pictures_and_unreadable_ones_are_left_out(network):
    network.eval()
    few = find_strongest(network, load, 4, ["4"])["4"]
    assert few.values.shape == (5, 4) and few.cells.shape == (5, 4, 2)
    odd = lambda numbers: load([number for number in numbers if number % 2])  # noqa: E731
    found = find_strongest(network, odd, 23, ["4"])["4"]
    assert (found.pictures % 2 == 1).all() and found.pictures.shape == (5, 9)
    with refused("4"):
        find_strongest(network, lambda numbers: ([], PICTURES[:0]), 4, ["4"])


def test_the_network_is_left_as_it_was_whatever_happens(network):
    network.train()
    before = network[1].running_mean.clone()
    find_strongest(network, load, 8, ["4"])

    def cancel(done, total):
        if done:
            raise Cancelled

    with pytest.raises(Cancelled):
        find_strongest(network, load, 23, ["4"], progress=cancel)
    with refused():
        find_strongest(network, lambda numbers: (numbers, PICTURES[list(numbers)] * torch.nan), 4, ["4"])
    assert network.training and torch.equal(network[1].running_mean, before)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


def test_what_comes_behind_the_layer_is_not_computed(network):
    network.eval()
    reached = []
    with network[6].register_forward_pre_hook(lambda *_: reached.append(1)):
        find_strongest(network, load, 8, ["2"])
    assert not reached


def test_chunks_are_halved_until_they_fit(network, monkeypatch):
    network.eval()
    expected = find_strongest(network, load, 23, ["4"])["4"]

    def fits_three(numbers):
        if len(numbers) > 3:
            raise torch.OutOfMemoryError
        return load(numbers)

    found = find_strongest(network, fits_three, 23, ["4"])["4"]
    assert torch.equal(found.pictures, expected.pictures) and torch.equal(found.cells, expected.cells)
