"""Sound as a picture: how strong each pitch is at each time."""

import numpy as np
from numpy.typing import NDArray

RATE = 8000
"""Samples a second."""
WINDOW, HOP = 256, 160
"""Samples that a frame sees (32 ms), and from one frame to the next (20 ms)."""
BANDS = 32
"""Bands of 125 Hz each, from 0 to 4 kHz."""
FLOOR = 1e-3
"""Added to every power, so that silence has a level."""


def measure_levels(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """The level of every band in every frame, as the logarithm to base 10 of its mean power.

    A short-time Fourier transform (scipy) with a Hann window; frame ``t`` is centred on sample ``t * HOP``.

    Args:
        sound: ``(..., samples)`` at ``RATE``.

    Returns:
        ``(..., frames, BANDS)``, one frame for every ``HOP`` samples.
    """
    from scipy.signal import ShortTimeFFT
    from scipy.signal.windows import hann

    transform = ShortTimeFFT(hann(WINDOW, sym=False), HOP, RATE)
    power = transform.spectrogram(sound.astype(np.float64), p0=0, p1=sound.shape[-1] // HOP)  # (..., pitches, frames)
    bands = power[..., :-1, :].reshape(*power.shape[:-2], BANDS, -1, power.shape[-1]).mean(-2)
    return np.log10(bands + FLOOR).swapaxes(-1, -2).astype(np.float32)
