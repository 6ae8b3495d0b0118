"""Scanning a sound: where does the word stand, and does a network that was trained at one place find it?"""

import base64
import json
from pathlib import Path

import gradio as gr
import numpy as np
from gradio.data_classes import FileData
from numpy.typing import NDArray

from analysis.errors import UserError
from analysis.sound.detector import FRAMES_SEEN, PLACE, Accuracy
from analysis.sound.spectrogram import BANDS, HOP, RATE
from lab.learning.sound import Scan, find_detector, open_recording, scan_recording, scan_word
from ui.learn.bench import Bench, browser_bench
from ui.services import Action, Services
from ui.widgets.errors import refuse
from ui.widgets.events import Values
from ui.widgets.html import explain_this
from ui.widgets.picture import check_upload
from ui.workbench import Workbench

TITLES = {"word": "The word", "other": "Another word"}
"""The other is made of the same tones in another order."""
SEED = 0
"""Of the network that listens."""
MAX_RECORDINGS = 10_000
EXPLANATION = """
A **spectrogram** (스펙트로그램) is a sound as a picture: time from left to right, pitch from low to high, bright
where it is strong. The *word* is three tones in a certain order, in noise. A small **MLP** sees 0.32 s at a
time. In training the word always began at 0.8 s, and that is the only place where the *fixed* network
listens. The *scanned* network is the same, with the same weights: it is slid over the recording, and the
**maximum** of its scores decides. Sliding an MLP is a convolution over time (1D), and its weights are
shared (가중치 공유) between all places. A score above 0 means "here it is".
"""


class Recording(gr.Audio):
    """A recording that is handed on as the file it came as; ``lab.learning.sound`` is the only reader."""

    is_template = True  # tells gradio that the page's part of it is gr.Audio's

    def preprocess(self, payload: FileData | None) -> str | None:
        """The path of the uploaded file, or None."""
        if payload is None:
            return None
        try:
            return str(check_upload(payload.path, "Upload the recording first, or make one here."))
        except UserError as error:
            refuse(str(error))


def build_sound(services: Services, bench: Workbench) -> Bench:
    """Lays out the bench."""
    with gr.Row(elem_classes="controls"):
        said = gr.Radio(
            [(title, name) for name, title in TITLES.items()],
            value="word",
            label="What is said: three tones, or the same in another order",
            elem_id="sound-said",
        )
        number = gr.Number(
            1,
            label="Recording number",
            precision=0,
            minimum=1,
            maximum=MAX_RECORDINGS,
            elem_id="sound-number",
            min_width=150,
        )
    stage = browser_bench("sound")
    with gr.Accordion("A recording of your own: microphone or WAV file", open=False, elem_id="sound-own-drawer"):
        own = Recording(
            type="filepath",
            format=None,
            sources=["upload", "microphone"],
            label="At most 20 s. It is searched for the word: tones of 900, 1600 and 600 Hz",
            elem_id="sound-own",
        )
    explain_this(EXPLANATION)

    def show(values: Values, action: Action) -> Values:
        """What the network hears in the recording that was chosen."""
        detector, accuracy = find_detector(SEED, action.report("Training the network that listens"))
        if values[own] and action.source not in (said, number):
            scan, title = scan_recording(detector, open_recording(values[own])), Path(values[own]).name
        else:
            scan = scan_word(detector, values[said], _read_number(values[number]))
            title = TITLES[values[said]]
        return {stage: json.dumps(write_scan(scan, accuracy) | {"title": title}, separators=(",", ":"))}

    return Bench(
        show,
        inputs=[said, number, own],
        outputs=[stage],
        triggers=[
            (said, "input"),
            (number, "submit"),
            (own, "upload"),
            (own, "stop_recording"),
            (own, "clear"),
        ],
    )


def _read_number(number: float | None) -> int:
    return int(min(max(number or 1, 1), MAX_RECORDINGS))


def write_scan(scan: Scan, accuracy: Accuracy) -> dict:
    """What the browser needs to move the word, to play it, and to draw what the network makes of it.

    The spectrogram with the word at a place is that of the background, but for the frames that hear the word:
    those of one window: they go for every place. Levels are bytes, of ``range`` from darkest to brightest.
    """
    low, high = float(scan.levels.min()), float(scan.levels.max())
    has_word = len(scan.word) > 0
    patches = [levels[place : place + FRAMES_SEEN] for levels, place in zip(scan.levels, scan.places, strict=True)]

    def pack(levels: NDArray[np.float32]) -> str:
        return _encode(((levels - low) / max(high - low, 1e-6) * 255).round().clip(0, 255).astype(np.uint8))

    return {
        "seconds_per_frame": HOP / RATE,
        "rate": RATE,
        "bands": BANDS,
        "frames": scan.quiet.shape[0],
        "seen": FRAMES_SEEN,
        "trained_at": PLACE,
        "places": list(scan.places),
        "begin": scan.places.index(PLACE) if has_word else 0,
        "levels": pack(scan.quiet),
        "patches": pack(np.stack(patches)) if has_word else "",
        "scores": [[round(float(score), 2) for score in scores] for scores in scan.scores],
        "background": _encode(_to_samples(scan.background)),
        "word": _encode(_to_samples(scan.word)),
        "accuracy": {"places": accuracy.places, "fixed": accuracy.fixed, "scanned": accuracy.scanned},
    }


def _to_samples(sound: NDArray[np.float32]) -> NDArray[np.int16]:
    """As WAV files have them; what is too loud is cut off."""
    return (sound.clip(-1, 1) * (2**15 - 1)).round().astype("<i2")


def _encode(values: NDArray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
