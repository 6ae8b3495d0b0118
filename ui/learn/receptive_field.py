"""What a unit sees: what it can see, what moves it, and what it misses when it is covered, on the picture itself."""

import json
import math
import re

import gradio as gr
from PIL import Image

from analysis.errors import UserError
from analysis.figures.drawing import draw_pixels
from analysis.figures.overlay import render_overlay
from analysis.network.layers import MapLayer
from analysis.network.windows import Size
from lab.learning.receptive_field import MOST_PICTURES, SQUARES, ReceptiveField, list_map_layers, measure_field
from lab.runs.examples import list_snapshots
from lab.runs.snapshots import snapshot_model
from models.registry import RUN_PREFIX
from ui.learn.bench import Bench, browser_bench
from ui.services import Action, Services
from ui.widgets.events import Values
from ui.widgets.html import explain_this, open_picture, png_uri
from ui.workbench import Workbench

TELLING = 0.6
PICTURES = {"This picture": 1, f"And {MOST_PICTURES - 1} samples": MOST_PICTURES}
EXPLANATION = """
A unit is one cell of a feature map. Its **receptive field** (수용 영역) is the part of the picture that it looks at.
*It can see* what kernels (필터), strides (보폭) and paddings (패딩) let through: the frame. *It is moved* by the
pixels in which its gradient is large; the *effective* side is that of a square with as many pixels as have more than
4.55 % of the largest gradient (Luo et al., 2016). *Covered*: squares of the picture are replaced by its mean colour,
one after the other, and the unit is asked again. All channels at the cell are taken together, and gradients are root
mean squares over the pictures. The frame grows by (kernel - 1) x stride with each layer; what really moves the unit
grows more slowly and sits mostly in the middle.
"""


def build_receptive_field(services: Services, bench: Workbench) -> Bench:
    """Lays it out and wires what happens inside it."""
    return _Field(services, bench).wire()


class _Field:
    def __init__(self, services: Services, bench: Workbench):
        self.services, self.lab, self.bench = services, services.lab, bench
        with gr.Row(elem_classes="controls"):
            self.layer = gr.Dropdown([], label="Layer", elem_id="field-layer", min_width=260)
            self.pictures = gr.Radio(list(PICTURES.items()), value=1, label="Gradient over", elem_id="field-pictures")
            self.cover = gr.Button("Cover pixels", size="sm", scale=0, min_width=140, elem_id="field-cover")
        self.stage = browser_bench("receptive_field")
        self.unit = gr.HTML("", html_template="", elem_id="field-unit", padding=False)  # "row,column"
        explain_this(EXPLANATION)

    def wire(self) -> Bench:
        """What the tab has to know."""
        self.stage.select(None, None, self.unit, js="() => window.convscopeUnit")
        return Bench(
            self.show,
            inputs=[self.layer, self.pictures, self.unit],
            outputs=[self.layer, self.unit, self.stage],
            triggers=[
                (self.layer, "input"),
                (self.pictures, "input"),
                (self.cover, "click"),
                (self.stage, "select"),
            ],
            linked={"seen_by": (self.layer, str), "unit": (self.unit, _read_link)},
        )

    def show(self, values: Values, action: Action) -> Values:
        """Measures the chosen unit; of another model, its layers are offered and the middle of one is taken."""
        model = values[self.bench.model]
        picture = open_picture(self.services, self.bench.find_picture(values), action)
        layers = {each.name: each for each in list_map_layers(self.lab, model, action.report("Downloading weights"))}
        if not layers:
            raise UserError(f"{model} has no feature maps, so no unit of it looks at a part of the picture.")
        name = values[self.layer] if values[self.layer] in layers else _find_telling(layers)
        unit = _fit_unit(values[self.unit], layers[name].size)
        field = self.measure(picture, model, name, unit, values, action)
        shown = _write_field(field) | {
            "panels": [_draw(field, "It is moved", _say_moved(field)), *_draw_covered(field)]
        }
        before = self.find_beginning(model)
        if before:
            first = self.measure(picture, before, name, field.cell, values, action, covers=False)
            caption = f"{first.effective:.0f} pixels a side, at step {before.partition('@')[2]}"
            shown["panels"].insert(0, _draw(first, "It was moved before training", caption))
            shown["before"] = first.effective
        return {
            self.layer: gr.update(choices=[(_describe(each), each.name) for each in layers.values()], value=name),
            self.unit: f"{field.cell[0]},{field.cell[1]}",
            self.stage: json.dumps(shown, separators=(",", ":")),
        }

    def measure(
        self,
        picture: Image.Image,
        model: str,
        layer: str,
        unit: Size | None,
        values: Values,
        action: Action,
        *,
        covers: bool = True,
    ) -> ReceptiveField:
        """The lab's answer about one unit."""
        return measure_field(
            self.lab,
            picture,
            model,
            layer,
            unit,
            num_pictures=values[self.pictures],
            cover=covers and action.source is self.cover,
            progress=action.report("Asking the unit"),
            loading=action.report("Downloading weights"),
        )

    def find_beginning(self, model: str) -> str | None:
        """The name of a run's network at the first step that was kept; None of all other models."""
        if not model.startswith(RUN_PREFIX):
            return None
        name, _, step = model.removeprefix(RUN_PREFIX).partition("@")
        run = self.services.jobs.read(name)
        steps = list_snapshots(run)
        return snapshot_model(run, steps[0]) if steps and str(steps[0]) != step else None


def _write_field(field: ReceptiveField) -> dict:
    """What the browser needs to draw the unit's frame wherever it is moved."""
    _, height, width = field.pixels.shape
    axes = [[axis.stride, *(_finite(end) for end in (axis.low, axis.high))] for axis in field.layer.axes or ()]
    return {
        "layer": field.layer.name,
        "side": [height, width],
        "map": field.layer.size,
        "stride": field.layer.stride,
        "axes": axes or None,
        "unit": field.cell,
        "theoretical": field.layer.receptive_field,
        "effective": field.effective,
        "picture": png_uri(draw_pixels(field.pixels, size=max(height, width))),
        "pictures": field.num_pictures,
        "notes": list(field.notes),
    }


def _finite(end: float) -> float | None:
    """None where a unit looks at the whole picture, or nobody knows how far."""
    return end if math.isfinite(end) else None


def _draw(field: ReceptiveField, title: str, caption: str) -> dict:
    return {
        "title": title,
        "image": png_uri(render_overlay(field.pixels, field.influence[None], contour_share=0)),
        "caption": caption,
    }


def _say_moved(field: ReceptiveField) -> str:
    over = "this picture" if field.num_pictures == 1 else f"{field.num_pictures} pictures"
    return f"{field.effective:.0f} pixels a side, over {over}"


def _draw_covered(field: ReceptiveField) -> list[dict]:
    if field.covered is None:
        return []
    _, height, width = field.pixels.shape
    side = -(-max(height, width) // SQUARES)
    squares = field.covered.repeat_interleave(side, 0).repeat_interleave(side, 1)[:height, :width]
    row, column = divmod(int(field.covered.argmax()), field.covered.shape[1])
    caption = f"squares of {side} px; most at row {row * side}, column {column * side}"
    overlay = render_overlay(field.pixels, squares[None], contour_share=0)
    return [{"title": "It misses when covered", "image": png_uri(overlay), "caption": caption}]


def _find_telling(layers: dict[str, MapLayer]) -> str:
    """The deepest layer whose units see no more than about half of the picture: its frame can be seen moving."""
    side = max(size * layer.stride for layer in layers.values() for size in layer.size)
    telling = [name for name, layer in layers.items() if 2 < (layer.receptive_field or side) <= TELLING * side]
    return (telling or [*layers])[-1]


def _describe(layer: MapLayer) -> str:
    sees = "window not fixed" if layer.receptive_field is None else f"sees {layer.receptive_field} px"
    return f"{layer.name} ({layer.type}, {layer.size[0]} x {layer.size[1]}, {sees})"


def _read_link(text: str) -> str:
    if not re.fullmatch(r"\d{1,4},\d{1,4}", text):
        raise ValueError(text)
    return text


def _fit_unit(text: str | None, size: Size) -> Size | None:
    """The row and the column that a text says, if the layer has such a unit; else None, which is the middle one."""
    found = re.fullmatch(r"(\d{1,4}),(\d{1,4})", text or "")
    unit = (int(found[1]), int(found[2])) if found else size
    return unit if unit[0] < size[0] and unit[1] < size[1] else None
