"""What the parts of the Train tab have in common: only one of them is on the screen, and shows the chosen run."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from ui.widgets.events import Block, Values


class Panel(ABC):
    """A part of the tab.

    Attributes:
        inputs: Of :meth:`refresh`.
        outputs: Of :meth:`refresh`, the timers among them.
        timers: They follow what is shown, and are to be ended when the part is left.
    """

    inputs: Sequence[Block]
    outputs: Sequence[Block]
    timers: Sequence[gr.Timer]

    @abstractmethod
    def refresh(self, values: Values) -> Values:
        """The chosen run as it is now, when the part is opened or another run is chosen; never raises."""

    @abstractmethod
    def wire(self, show: Callable[[Values], Values], inputs: set[Any], outputs: Sequence[Block]) -> None:
        """Wires what happens inside it.

        Args:
            show: Brings the whole tab up to date, also where another run was chosen: values of ``inputs`` -> those
                of ``outputs``.
            inputs: Of ``show``.
            outputs: Of ``show``.
        """
