"""Recordings made by the program: a word, which is three tones one after the other, somewhere in noise."""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.sound.spectrogram import HOP, RATE

Sound = NDArray[np.float32]
"""``(..., samples)`` at ``RATE`` a second, about in [-1, 1]."""
WORD = (900.0, 1600.0, 600.0)
"""Hz. Other words are the same tones in another order: neither loudness nor pitch alone tells them apart."""
OTHERS = tuple(
    tones for tones in itertools.permutations(WORD) if not {*itertools.pairwise(tones)} & {*itertools.pairwise(WORD)}
)
"""Those in which no two tones follow each other as in the word: half a word is no word."""
TONE_SECONDS = 0.1
RAMP_SECONDS = 0.01
FRAMES = 120
"""Frames of a recording, 20 ms each: 2.4 s."""
NOISE = 0.15
"""Standard deviation; a tone's amplitude is 0.35 at most."""
LOUDNESS = (0.25, 0.35)
DETUNING = 0.02
"""Pitches vary by so large a share."""


def make_word(tones: Iterable[float] = WORD, loudness: float = LOUDNESS[1]) -> Sound:
    """Tones in Hz one after the other, 0.1 s each, faded in and out: ``(samples,)``."""
    time = np.arange(round(TONE_SECONDS * RATE)) / RATE
    ramp = np.clip(np.minimum(time, time[::-1]) / RAMP_SECONDS, 0, 1)
    return np.concatenate([loudness * ramp * np.sin(2 * np.pi * tone * time) for tone in tones]).astype(np.float32)


def vary_word(tones: Sequence[float], rng: np.random.Generator) -> Sound:
    """The word as it is said this time: a little higher or lower, louder or softer."""
    detuned = np.array(tones) * (1 + DETUNING * rng.uniform(-1, 1))
    return make_word(detuned, rng.uniform(*LOUDNESS))


def make_noise(rng: np.random.Generator, num: int = 1, frames: int = FRAMES) -> Sound:
    """White noise, ``(num, samples)``."""
    return (NOISE * rng.standard_normal((num, frames * HOP))).astype(np.float32)


def insert(recording: Sound, word: Sound, start: int) -> None:
    """Adds a word to a recording ``(samples,)`` from a sample on; what is outside of the recording is not heard."""
    low, high = max(start, 0), min(start + len(word), recording.shape[-1])
    if low < high:
        recording[low:high] += word[low - start : high - start]


def make_recordings(
    words: Sequence[Sound], starts: Sequence[int], rng: np.random.Generator, frames: int = FRAMES
) -> Sound:
    """Noise with one word in each recording: ``(N, samples)``; starts are in samples."""
    recordings = make_noise(rng, len(words), frames)
    for recording, word, start in zip(recordings, words, starts, strict=True):
        insert(recording, word, start)
    return recordings
