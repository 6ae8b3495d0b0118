"""The sound lesson: the fixed network is at chance where the word is elsewhere, the scanned one finds it anywhere."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from analysis.errors import Cancelled
from analysis.sound.detector import FRAMES_SEEN, PLACE, list_places, measure_detector, train_detector
from analysis.sound.recordings import FRAMES
from analysis.sound.spectrogram import BANDS

ELSEWHERE = tuple(place for place in list_places()[::8] if abs(place - PLACE) >= FRAMES_SEEN)


@pytest.fixture(scope="module")
def detector():
    return train_detector(0)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_fixed_fails_elsewhere_and_the_scan_finds_the_word_anywhere(seed):
    found = measure_detector(train_detector(seed), (PLACE, *ELSEWHERE), 60, seed + 100)
    there, *elsewhere = found.fixed
    assert there > 0.95
    assert 0.4 <= np.mean(elsewhere) <= 0.6 and max(elsewhere) < 0.7
    assert np.mean(found.scanned) > 0.95 and min(found.scanned) > 0.85
    document = found.to_json()
    assert document["there"] == there and document["elsewhere"] == pytest.approx(np.mean(elsewhere))
    assert document["places"][0] == pytest.approx(0.8)


def test_to_scan_is_to_convolve(detector):
    """The first layer as a kernel over time, the second as one of length 1: PyTorch's own convolution."""
    levels = np.random.default_rng(0).standard_normal((3, FRAMES, BANDS)).astype(np.float32)
    first, _, last = detector.network
    kernel = first.weight.unflatten(1, (FRAMES_SEEN, BANDS))
    hidden = functional.conv1d(torch.from_numpy(levels).mT, kernel.mT, first.bias).relu()
    expected = functional.conv1d(hidden, last.weight[..., None], last.bias)[:, 0]
    assert np.allclose(detector.scan(levels), expected, atol=1e-4)


def test_a_window_is_scored_as_it_stands_there_alone(detector):
    levels = np.random.default_rng(1).standard_normal((1, FRAMES, BANDS)).astype(np.float32)
    scores = detector.scan(levels)
    alone = detector.scan(levels[:, 7 : 7 + FRAMES_SEEN])
    assert alone.shape == (1, 1) and alone[0, 0] == pytest.approx(scores[0, 7], abs=1e-5)


def test_the_same_seed_gives_the_same_network_and_no_random_state_changes(detector):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    again = train_detector(0)
    assert torch.equal(before[0], torch.random.get_rng_state()) and (before[1] == np.random.get_state()[1]).all()
    assert all(
        torch.equal(a, b) for a, b in zip(again.network.parameters(), detector.network.parameters(), strict=True)
    )


def test_training_can_be_cancelled():
    def refuse(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        train_detector(0, refuse)
