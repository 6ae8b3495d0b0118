"""Scanning a sound: one small network listens at one place, or everywhere; recordings made here, or own ones."""

import math
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.errors import Progress, UserError, explained, no_progress
from analysis.sound.detector import (
    FRAMES_SEEN,
    PLACE,
    Accuracy,
    Detector,
    list_places,
    measure_detector,
    train_detector,
)
from analysis.sound.recordings import NOISE, OTHERS, WORD, Sound, insert, make_noise, vary_word
from analysis.sound.spectrogram import HOP, RATE, measure_levels
from lab.lru import RecentResults
from models.ordinary_files import is_ordinary
from models.settings import check_choice, check_integer

SAID = {"word": (WORD,), "other": OTHERS}
"""What is said in a recording made here -> the tones that it may be."""
MAX_SECONDS = 20
MAX_BYTES = 16 * 2**20
RATES = (4000, 192_000)
STEP = 2
"""Frames from one place of the slider to the next."""
MEASURED_STEP, MEASURED = 8, 50
"""Frames from one measured place to the next, and recordings at each."""
MAX_SEED = 2**31
_DAMAGED = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    ZeroDivisionError,
    NameError,  # scipy asks for samples that there were none of
    struct.error,
)
"""How scipy fails at a file that was cut short or is something else."""
_trained: RecentResults[tuple[Detector, Accuracy]] = RecentResults(8)


@dataclass(frozen=True)
class Scan:
    """A recording, with the same word at each of P places, and what the network makes of each.

    Attributes:
        background: ``(samples,)`` at ``RATE``: what is heard beside the word, or all of an own recording.
        word: ``(samples,)``; empty where the recording is an own one, which has one place that means nothing.
        quiet: ``(T, BANDS)``: the spectrogram of the background.
        places: ``(P,)``: where the word begins, in frames.
        levels: ``(P, T, BANDS)``: the spectrogram with the word there.
        scores: ``(P, T - FRAMES_SEEN + 1)``: of each window; above 0 is "the word is here".
    """

    background: Sound
    word: Sound
    quiet: NDArray[np.float32]
    places: tuple[int, ...]
    levels: NDArray[np.float32]
    scores: NDArray[np.float32]

    def to_json(self, place: int = 0) -> dict:
        """Both answers at one of the places: ``{scores, fixed, scanned, found_seconds}``; times in seconds."""
        scores = self.scores[place]
        best = int(scores.argmax())
        is_found = bool(scores[best] > 0)
        return {
            "scores": [float(score) for score in scores],
            "fixed": bool(len(scores) > PLACE and scores[PLACE] > 0),
            "scanned": is_found,
            "found_seconds": [best * HOP / RATE, (best + FRAMES_SEEN) * HOP / RATE] if is_found else None,
        }


def find_detector(seed: int, progress: Progress = no_progress) -> tuple[Detector, Accuracy]:
    """The network of this seed, and how often it is right wherever the word is; trained when it is first asked for.

    Raises:
        UserError: No seed from 0 to 2^31.
    """
    check_integer("seed", seed, 0, MAX_SEED)
    found = _trained.get((seed,))
    if found is None:
        detector = train_detector(seed, lambda done, total: progress(done, 2 * total))
        places = tuple(sorted({PLACE, *list_places()[::MEASURED_STEP]}))
        accuracy = measure_detector(
            detector, places, MEASURED, seed, lambda done, total: progress(done + total, 2 * total)
        )
        found = detector, accuracy
        _trained.keep((seed,), found, 1)
    return found


def scan_word(detector: Detector, said: str, seed: int) -> Scan:
    """One recording made here, with what is ``said`` at each place that the slider has.

    Raises:
        UserError: Nothing of that name can be said, or no seed from 0 to 2^31.
    """
    rng = np.random.default_rng(check_integer("seed", seed, 0, MAX_SEED))
    choices = SAID[check_choice("What is said", said, SAID)]
    word, background = vary_word(choices[rng.integers(len(choices))], rng), make_noise(rng)[0]
    places = list_places()[::STEP]
    return _scan(detector, background, word, places)


def scan_recording(detector: Detector, sound: Sound) -> Scan:
    """An own recording, as it is."""
    return _scan(detector, sound, np.empty(0, np.float32), (0,))


def _scan(detector: Detector, background: Sound, word: Sound, places: Sequence[int]) -> Scan:
    recordings = np.repeat(background[None], len(places), axis=0)
    for recording, place in zip(recordings, places, strict=True):
        insert(recording, word, place * HOP)
    levels = measure_levels(recordings)
    return Scan(background, word, measure_levels(background), tuple(places), levels, detector.scan(levels))


def open_recording(path: str | Path) -> Sound:
    """A WAV file as the network was trained: one channel, 8,000 samples a second, as loud as those made here.

    Raises:
        UserError: It is no WAV file, damaged, too large, too long or too short, or there is nothing to hear.
    """
    path = Path(path)
    with explained(f"{path.name} cannot be read"):
        if not is_ordinary(path):
            raise UserError(f"{path.name} is no ordinary file.")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise UserError(f"{path.name} has {size / 2**20:.0f} MB; at most {MAX_BYTES / 2**20:.0f} MB can be used.")
        rate, samples = _read_wav(path.read_bytes(), path.name)
    if not RATES[0] <= rate <= RATES[1]:
        raise UserError(
            f"{path.name} has {rate:,} samples a second; {RATES[0]:,} to {RATES[1]:,} of them can be used."
        )
    seconds, least = len(samples) / rate, FRAMES_SEEN * HOP / RATE
    if not least <= seconds <= MAX_SECONDS:
        raise UserError(
            f"{path.name} is {seconds:.2f} s long; recordings from {least:g} to {MAX_SECONDS} s can be used."
        )
    sound = _resample(_to_mono(samples), rate)
    strength = math.sqrt(float((sound**2).mean()))
    if not math.isfinite(strength) or strength < 1e-6:
        raise UserError(f"There is nothing to hear in {path.name}: all of it is silent, or its numbers are broken.")
    return (sound * (NOISE / strength)).astype(np.float32)


def _read_wav(content: bytes, name: str) -> tuple[int, NDArray]:
    """Samples a second, and samples ``(N,)`` or ``(N, channels)``."""
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parts that it does not know, or that are cut short
            rate, samples = wavfile.read(BytesIO(content))
    except _DAMAGED as error:
        raise UserError(f"{name} is no WAV file that can be read ({type(error).__name__}): save it as WAV.") from None
    return int(rate), samples


def _to_mono(samples: NDArray) -> NDArray[np.float64]:
    """The mean of the channels, ``(N,)`` in [-1, 1]."""
    values = samples.reshape(len(samples), -1).astype(np.float64)
    if samples.dtype.kind == "u":  # 8 bits and fewer: silence is in the middle
        values = values / 128 - 1
    elif samples.dtype.kind == "i":
        values = values / -float(np.iinfo(samples.dtype).min)
    return np.clip(np.nan_to_num(values, posinf=0, neginf=0), -1e3, 1e3).mean(1)


def _resample(sound: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    from scipy.signal import resample

    return sound if rate == RATE else np.asarray(resample(sound, round(len(sound) * RATE / rate)))
