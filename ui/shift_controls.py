"""The controls of the Shift tab that its parts share: which shift is looked at, and by which rules."""

from dataclasses import dataclass

import gradio as gr

from ui.distance import Distance

PADDINGS = {"trained": "As trained", "circular": "Circular twin"}


@dataclass(frozen=True)
class ShiftControls:
    """``padding`` is a key of ``PADDINGS``: how the network itself continues its maps beyond their borders."""

    dx: Distance
    dy: Distance
    boundary: gr.Dropdown
    padding: gr.Dropdown
