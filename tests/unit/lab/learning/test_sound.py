"""Recordings of one's own, hostile ones too, and the scan of a word at every place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import wavfile

from analysis.errors import UserError
from analysis.sound.detector import FRAMES_SEEN, PLACE
from analysis.sound.recordings import NOISE
from analysis.sound.spectrogram import HOP, RATE
from lab.learning.sound import MAX_BYTES, find_detector, open_recording, scan_recording, scan_word
from tests.sentences import refused


@pytest.fixture(scope="module")
def detector():
    return find_detector(0)[0]


def write(path, samples, rate=RATE):
    wavfile.write(path, rate, samples)
    return path


def tone(seconds=1.0, rate=RATE, pitch=440):
    return np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)


def test_a_detector_is_trained_once(detector):
    assert find_detector(0)[0] is detector


@pytest.mark.parametrize("number", range(3))
def test_the_word_is_found_where_it_is_and_no_other(detector, number):
    scan, other = (scan_word(detector, said, number) for said in ("word", "other"))
    found = [scan.to_json(index) for index in range(len(scan.places))]
    hits = [
        abs(each["found_seconds"][0] * RATE / HOP - place) <= 2
        for each, place in zip(found, scan.places, strict=True)
        if each["scanned"]
    ]
    assert len(hits) > 0.9 * len(scan.places) and np.mean(hits) > 0.95
    far = [abs(place - PLACE) >= FRAMES_SEEN for place in scan.places]
    assert not any(each["fixed"] for each, is_far in zip(found, far, strict=True) if is_far)
    assert found[scan.places.index(PLACE)]["fixed"]
    assert np.mean(other.scores.max(1) > 0) < 0.2


@pytest.mark.parametrize(
    ("kind", "scale"), [("<i2", 20_000), ("<i4", 2**30), ("u1", 100), ("<f4", 0.3), ("<f8", 0.01)]
)
@pytest.mark.parametrize("rate", [RATE, 44_100, 22_051])
def test_every_kind_of_wav_is_the_same_recording(tmp_path, kind, scale, rate):
    samples = tone(rate=rate) * scale + (128 if kind == "u1" else 0)
    stereo = np.stack([samples, samples], axis=1).astype(kind)
    sound = open_recording(write(tmp_path / "a.wav", stereo, rate))
    assert sound.shape == (RATE,) and np.sqrt((sound**2).mean()) == pytest.approx(NOISE, rel=1e-3)
    expected = tone() * NOISE * np.sqrt(2)
    assert np.abs(sound - expected)[200:-200].max() < 0.02


def test_what_was_made_here_and_saved_is_found_again(tmp_path, detector):
    scan = scan_word(detector, "word", 1)
    recording, place = scan.background.copy(), 80
    recording[place * HOP :][: len(scan.word)] += scan.word
    sound = open_recording(write(tmp_path / "a.wav", (recording * 2**15).clip(-(2**15), 2**15 - 1).astype("<i2")))
    found = scan_recording(detector, sound).to_json()
    assert found["scanned"] and found["found_seconds"][0] == pytest.approx(place * HOP / RATE, abs=0.04)


def test_recordings_that_cannot_be_used_are_refused(tmp_path):
    path = tmp_path / "a.wav"
    with refused("20.50", "20"):
        open_recording(write(path, tone(20.5)))
    with refused("0.10", "0.32"):
        open_recording(write(path, tone(0.1)))
    with refused("1,000"):
        open_recording(write(path, tone(rate=1000), 1000))
    for samples in (np.zeros(RATE), np.full(RATE, np.nan), np.full(RATE, np.inf)):
        with refused("a.wav"):
            open_recording(write(path, samples))
    path.write_bytes(b"RIFF" + bytes(MAX_BYTES))
    with refused("16"):
        open_recording(path)
    for content in (
        b"",
        b"RIFF",
        b"ID3" + bytes(100),
        b"RIFF\xff\xff\xff\xffWAVE",
        b"RIFF\x10\0\0\0WAVEdata\0\0\0\0",
    ):
        path.write_bytes(content)
        with refused("a.wav"):
            open_recording(path)
    with pytest.raises(UserError):
        open_recording(tmp_path)


@given(st.integers(0, 1000), st.binary(min_size=1, max_size=8), st.integers(0, 60))
def test_damaged_recordings_are_a_sentence_or_a_sound(tmp_path_factory, at, damage, cut):
    path = tmp_path_factory.getbasetemp() / "damaged.wav"
    content = bytearray(write(path, (tone(0.4)[: 400 if cut else None] * 9000).astype("<i2")).read_bytes())
    content[at % 60 : at % 60 + len(damage)] = damage
    path.write_bytes(bytes(content[: len(content) - cut]))
    try:
        sound = open_recording(path)
    except UserError:
        return
    assert np.isfinite(sound).all() and len(sound) >= FRAMES_SEEN * HOP - 1
