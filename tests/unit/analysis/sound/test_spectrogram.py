"""Levels against a plain Fourier transform of each frame; where a word is heard, and where not."""

import numpy as np
import pytest

from analysis.sound.recordings import FRAMES, OTHERS, WORD, insert, make_noise, make_recordings, make_word
from analysis.sound.spectrogram import BANDS, FLOOR, HOP, RATE, WINDOW, measure_levels


def test_levels_are_those_of_a_plain_fourier_transform():
    sound = np.random.default_rng(0).standard_normal(10 * HOP).astype(np.float32)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    padded = np.pad(sound.astype(np.float64), WINDOW)
    levels = measure_levels(sound)
    for frame in range(10):
        start = WINDOW + frame * HOP - WINDOW // 2
        power = np.abs(np.fft.rfft(padded[start : start + WINDOW] * window)) ** 2
        assert levels[frame] == pytest.approx(np.log10(power[:-1].reshape(BANDS, -1).mean(1) + FLOOR), abs=1e-4)


@pytest.mark.parametrize("tone", [600, 900, 1600])
def test_a_tone_is_strongest_in_its_band(tone):
    levels = measure_levels(make_word([tone]))
    assert levels[2].argmax() == int(tone / (RATE / 2 / BANDS))


def test_only_the_frames_of_the_window_hear_the_word():
    """The page sends these alone for every place of the word."""
    noise = make_noise(np.random.default_rng(0))[0]
    said = noise.copy()
    insert(said, make_word(), 30 * HOP)
    changed = (measure_levels(said) != measure_levels(noise)).any(1)
    assert np.flatnonzero(changed).min() >= 30 and np.flatnonzero(changed).max() < 30 + 16


def test_other_words_are_the_same_tones_in_orders_without_half_of_the_word():
    assert len(OTHERS) == 3 and all(sorted(tones) == sorted(WORD) for tones in OTHERS)
    assert not any(tones[at : at + 2] in (WORD[:2], WORD[1:]) for tones in OTHERS for at in (0, 1))


@pytest.mark.parametrize("start", [-1000, 0, FRAMES * HOP - 1000, FRAMES * HOP + 10])
def test_what_is_outside_of_a_recording_is_not_heard(start):
    rng = np.random.default_rng(0)
    (recording,) = make_recordings([make_word()], [start], rng)
    assert recording.shape == (FRAMES * HOP,) and np.isfinite(recording).all()
