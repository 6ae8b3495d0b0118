"""Random numbers that depend on a seed, a purpose and a step, and on nothing drawn before.

So a training that goes on at step 500 draws what it would have drawn without the interruption, and an option that
needs random numbers of its own does not change those of the others.
"""

from enum import IntEnum

import numpy as np
import torch


class Purpose(IntEnum):
    """What random numbers are drawn for; the numbers are part of every result and must not change."""

    WEIGHTS = 0
    ORDER = 1
    AUGMENT = 2
    SHIFT = 3
    FORWARD = 4
    LIMIT = 5
    LABEL_NOISE = 6
    HARD_EXAMPLES = 7


def derive_seed(seed: int, purpose: Purpose, *numbers: int) -> int:
    """63 well-mixed bits (NumPy's SeedSequence; O'Neill 2015) for a purpose, and for example a step and a rank."""
    high, low = np.random.SeedSequence([seed, purpose, *numbers]).generate_state(2, np.uint32).tolist()
    return (high & 0x7FFFFFFF) << 32 | low


def draw_generator(seed: int, purpose: Purpose, *numbers: int) -> torch.Generator:
    """A generator on the CPU for :func:`derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(seed, purpose, *numbers))


def seed_generators(device: torch.device, seed: int) -> None:
    """Seeds what dropout draws from: the global generators of the CPU and the device.

    ``torch.manual_seed`` seeds every device there may be, and takes 1 % of a short training step for it.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
