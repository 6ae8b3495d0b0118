"""A small network that hears a word: at the one place where it was trained, or slid over the whole recording.

Sliding an MLP over time is a convolution: its first layer becomes a kernel as long as its window, others kernels of
length 1 (Waibel et al., "Phoneme recognition using time-delay neural networks", 1989). The maximum over time answers
"did it occur?" wherever it occurred.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.errors import Progress, no_progress
from analysis.sound.recordings import FRAMES, OTHERS, WORD, make_recordings, vary_word
from analysis.sound.spectrogram import BANDS, HOP, RATE, measure_levels

FRAMES_SEEN = 16
"""Frames that the network sees at a time: 0.32 s, a whole word."""
PLACE = 40
"""The frame at which the word begins in training: 0.8 s."""
HIDDEN = 32
EXAMPLES, WITH_WORD = 3000, 0.3
"""Recordings to learn from, and the share of them that has the word."""
STEPS, BATCH = 400, 256
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 1e-2
ROOM = 2
"""Frames before and after the window that a recording to learn from has."""


@dataclass(frozen=True)
class Detector:
    """The trained network.

    Attributes:
        network: Maps windows ``(N, FRAMES_SEEN * BANDS)`` to scores ``(N, 1)``; above 0 is "the word is here".
    """

    network: nn.Module

    @torch.inference_mode()
    def scan(self, levels: NDArray[np.float32]) -> NDArray[np.float32]:
        """The score of every window of spectrograms ``(N, T, BANDS)``: ``(N, T - FRAMES_SEEN + 1)``.

        Where a window begins is its place; the score at ``PLACE`` is all that the fixed network has.
        """
        return self.network(_cut_windows(torch.from_numpy(levels)))[..., 0].numpy()


@dataclass(frozen=True)
class Accuracy:
    """Shares of right answers to "did the word occur?"; half of the recordings have it, so guessing gives 0.5.

    Attributes:
        fixed: ``(places,)``: of the network that listens at its one place.
        scanned: ``(places,)``: of the same network slid over time, with the maximum of its scores.
    """

    places: tuple[int, ...]
    fixed: tuple[float, ...]
    scanned: tuple[float, ...]

    def to_json(self) -> dict:
        """``{places (seconds), fixed, scanned}``, and the means ``there``, ``elsewhere`` and ``anywhere``.

        They are of the fixed network at its place, of it at the other places, and of the scanned one at all places.
        """
        pairs = list(zip(self.places, self.fixed, strict=True))
        return {
            "places": [place * HOP / RATE for place in self.places],
            "fixed": list(self.fixed),
            "scanned": list(self.scanned),
            "there": _mean([share for place, share in pairs if place == PLACE]),
            "elsewhere": _mean([share for place, share in pairs if place != PLACE]),
            "anywhere": _mean(self.scanned),
        }


def _mean(shares: Sequence[float]) -> float | None:
    return sum(shares) / len(shares) if shares else None


def _cut_windows(levels: Tensor) -> Tensor:
    """All windows ``(N, P, FRAMES_SEEN * BANDS)`` of spectrograms ``(N, T, BANDS)``: views as far as possible."""
    return levels.unfold(1, FRAMES_SEEN, 1).transpose(2, 3).flatten(2)


def train_detector(seed: int, progress: Progress = no_progress) -> Detector:
    """Trains the network where the word always begins at ``PLACE``; others have another word about there.

    Args:
        seed: Of the sounds and of the weights; the global random state stays as it is.
        progress: Told of steps; may raise Cancelled.
    """
    rng = np.random.default_rng(seed)
    has_word = rng.random(EXAMPLES) < WITH_WORD
    words = [vary_word(WORD if is_it else OTHERS[rng.integers(len(OTHERS))], rng) for is_it in has_word]
    # Within a frame the word is anywhere; another word may be cut off at either end of the window.
    away = np.where(has_word, rng.uniform(0, 1, EXAMPLES), rng.uniform(-FRAMES_SEEN, FRAMES_SEEN, EXAMPLES))
    starts = ((ROOM + away - 0.5) * HOP).round().astype(int).tolist()
    # Of each recording only what is heard about ``PLACE`` is made: noise has no memory.
    levels = torch.from_numpy(measure_levels(make_recordings(words, starts, rng, FRAMES_SEEN + 2 * ROOM)))
    inputs = levels[:, ROOM : ROOM + FRAMES_SEEN].flatten(1)  # (N, FRAMES_SEEN * BANDS)
    labels = torch.from_numpy(has_word).float()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(FRAMES_SEEN * BANDS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
        optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        for step in range(STEPS):
            progress(step, STEPS)
            batch = torch.from_numpy(rng.integers(EXAMPLES, size=BATCH))
            optimizer.zero_grad()
            scores = network(inputs[batch])[:, 0]
            nn.functional.binary_cross_entropy_with_logits(scores, labels[batch]).backward()
            optimizer.step()
    progress(STEPS, STEPS)
    return Detector(network.eval().requires_grad_(False))


def list_places() -> tuple[int, ...]:
    """Where a word can begin so that all of it is in a recording, in frames."""
    return tuple(range(FRAMES - FRAMES_SEEN + 1))


def measure_detector(
    detector: Detector, places: tuple[int, ...], num: int, seed: int, progress: Progress = no_progress
) -> Accuracy:
    """Asks about new recordings with the word, or another, at each place.

    Args:
        places: In frames.
        num: Recordings at each place.
    """
    rng = np.random.default_rng([seed, num])
    has_word = np.arange(num) % 2 == 0
    fixed, scanned = [], []
    for done, place in enumerate(places):
        progress(done, len(places))
        words = [vary_word(WORD if is_it else OTHERS[rng.integers(len(OTHERS))], rng) for is_it in has_word]
        scores = detector.scan(measure_levels(make_recordings(words, [place * HOP] * num, rng)))  # (num, P)
        fixed.append(float(((scores[:, PLACE] > 0) == has_word).mean()))
        scanned.append(float(((scores.max(1) > 0) == has_word).mean()))
    return Accuracy(places, tuple(fixed), tuple(scanned))
