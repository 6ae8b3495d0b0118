"""Four cards to begin with: what each training teaches, how long it takes here, and the button that starts it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from lab.training_outlook import estimate_training, estimate_transfer
from models.data.samples import get_sample
from models.data.shapes import ShapesConfig, make_shapes
from models.training.config import TrainingConfig
from ui.services import Services
from ui.widgets.events import QUICK, Values
from ui.widgets.html import join_html, png_uri
from ui.widgets.job_view import describe_time
from ui.widgets.own_data import OWN

SIDE, TILES = 64, 4
FEW_PICTURES = 100
SHAPES_SMALL = {"dataset": "shapes", "epochs": 8, "architecture": "small_cnn"}
TRANSFER = {
    "architecture": "transfer",
    "transfer.mode": "frozen",
    "optimizer": "adamw",
    "learning_rate": 0.003,
    "batch_size": 32,
    "epochs": 20,
}
"""Settings with which own pictures are learned in seconds, once there are any."""


def _draw_garments() -> list[NDArray[np.uint8]]:
    files = (get_sample(name).path for name in ("t-shirt", "sneaker", "dress", "bag"))
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


def _draw_shapes(position: str) -> list[NDArray[np.uint8]]:
    images, _ = make_shapes(
        ShapesConfig(num_images=60, position=position, min_size=0.3, max_size=0.4, clutter=0), seed=1, image_size=SIDE
    )
    return [image.transpose(1, 2, 0) for image in images[:TILES]]


@dataclass(frozen=True)
class Example:
    """A card.

    Attributes:
        title: What is trained on what.
        lesson: What can be learned from it.
        draw: Pictures of it ``(H, W, 3)``.
        settings: Those of the form; all others become those of a new page.
        button: What the button does.
        starts: Whether it starts a training; else it only fills in the form.
    """

    title: str
    lesson: str
    draw: Callable[[], list[NDArray[np.uint8]]]
    settings: dict[str, Any]
    button: str = "Start this training"
    starts: bool = True


EXAMPLES = {
    "garments": Example(
        "Garments, small CNN",
        "How far a network of 50,000 weights gets with 28 × 28 grey pixels, and why shirts are taken for coats.",
        _draw_garments,
        {
            "dataset": "fashion_mnist",
            "epochs": TrainingConfig.epochs,
            "architecture": "small_cnn",
            "small_cnn.head": "gap",
        },
    ),
    "shapes": Example(
        "Drawn shapes, small CNN",
        "Six shapes anywhere in the picture: averaging over all places makes it matter less where they are.",
        lambda: _draw_shapes("anywhere"),
        SHAPES_SMALL | {"position": "anywhere", "small_cnn.head": "gap"},
    ),
    "left": Example(
        "Shapes only on the left, flatten",
        "One weight for each place: what was learned on the left is not known on the right. Look at it in Shift.",
        lambda: _draw_shapes("left"),
        SHAPES_SMALL | {"position": "left", "small_cnn.head": "flatten"},
    ),
    "own": Example(
        "Your own pictures, or your camera",
        "A pretrained network learns your classes from a few pictures of each, and then answers to your camera.",
        list,
        TRANSFER | {"dataset": OWN, "own_source": "boxes"},
        "Choose pictures…",
        starts=False,
    ),
}
CAMERA = Markup(
    '<svg viewBox="0 0 48 36" aria-hidden="true"><rect x="2" y="8" width="44" height="26" rx="4"/>'
    '<path d="M16 8l3-5h10l3 5"/><circle cx="24" cy="21" r="8"/></svg>'
)


class Examples:
    """The cards, in the order of ``EXAMPLES``.

    Args:
        services: The lab and what goes with it.
        configure: Settings of an example -> its training.

    Attributes:
        buttons: Name of an example -> its button.
        outputs: Of :meth:`show`.
    """

    def __init__(self, services: Services, configure: Callable[[dict[str, Any]], TrainingConfig]):
        self.services, self.configure = services, configure
        self.cards: dict[str, gr.HTML] = {}
        self.buttons: dict[str, gr.Button] = {}
        self._times: dict[str, str] = {}
        self._guard = threading.Lock()
        with gr.Row(elem_id="train-examples"):
            for name, example in EXAMPLES.items():
                with gr.Column(min_width=170, elem_classes="example"):
                    self.cards[name] = gr.HTML(_draw_card(example, ""), padding=False)
                    self.buttons[name] = gr.Button(example.button, size="sm", elem_id=f"train-example-{name}")
        self.asker = gr.HTML("", html_template="", js_on_load=_ASK)
        self.outputs = [*self.cards.values(), self.asker]
        self.asker.submit(self.measure, None, self.outputs, **QUICK)

    def show(self) -> Values:
        """The cards with the times that have been measured; if there are none yet, the browser asks for them."""
        cards: Values = {self.cards[name]: _draw_card(EXAMPLES[name], text) for name, text in self._times.items()}
        return {**cards, self.asker: "" if cards else "measure"}

    def measure(self) -> Values:
        """The cards with times, after a short measurement, which is kept."""
        with self._guard:
            self._times = self._times or {name: self._estimate(example) for name, example in EXAMPLES.items()}
        return self.show()

    def _estimate(self, example: Example) -> str:
        """How long a training takes here, in words."""
        if example.starts:
            found, what = estimate_training(self.configure(example.settings)), ", if this machine does nothing else"
        else:
            found, what = estimate_transfer(self.services.lab, FEW_PICTURES), f" with {FEW_PICTURES} pictures"
        if found is None:
            return "The weights of its network have to be downloaded first."
        return f"About {describe_time(found)} here{what}."


def _draw_card(example: Example, time: str) -> Markup:
    tile = Markup('<img src="{}" alt="">')
    pictures = join_html(tile.format(png_uri(np.ascontiguousarray(picture))) for picture in example.draw()) or CAMERA
    html = Markup('<div class="tiles-row">{}</div><h2>{}</h2><p>{}</p><p class="time">{}</p>')
    return html.format(pictures, example.title, example.lesson, time)


# Only where the cards are on the screen, and nobody has asked before.
_ASK = """
const ask = () => {
    if (props.value !== "measure" || !document.getElementById("train-examples")?.checkVisibility()) return;
    props.value = "";
    trigger("submit");
};
watch("value", ask);
ask();
"""
