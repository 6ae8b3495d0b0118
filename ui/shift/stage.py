"""The stage of the Shift tab: the picture to drag, and the map of what its class does wherever it is.

The browser gets the picture with its surroundings and the whole map, and needs nothing more while the picture moves
inside it (``assets/shift_stage.js``). Beyond the map, and between pixels, it asks where the pointer rests.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import gradio as gr
import torch
from torch import Tensor

from analysis.figures.drawing import draw_pixels
from analysis.figures.style import class_color
from analysis.shift.move import BOUNDARIES, Extended
from lab.results import PictureMap, ShiftResult
from lab.shifts import MAX_SHIFT
from ui.widgets.html import find_doubt, png_uri

SCRIPT = (Path(__file__).parents[2] / "assets" / "shift_stage.js").read_text(encoding="utf-8")
TEMPLATE = (Path(__file__).parents[2] / "assets" / "shift_stage.html").read_text(encoding="utf-8")


def build_stage() -> tuple[gr.HTML, gr.HTML, gr.HTML]:
    """The stage, and what is not seen: where its map goes, and the answers about single shifts.

    All take JSON as text: what :func:`write_scene`, :func:`write_map` and :func:`write_answer` give. The stage raises
    ``release`` when the picture comes to rest, ``submit``, with ``dx`` and ``dy``, when the server has to say what
    the network makes of it there, and ``select`` when it wants a map.
    """
    stage = gr.HTML("{}", html_template=TEMPLATE, js_on_load=SCRIPT, elem_id="shift-stage", padding=False)
    grown, answer = (
        gr.HTML("{}", html_template="", js_on_load=_HAND_ON.format(name), elem_id=f"stage-{name.lower()}")
        for name in ("Map", "Answer")
    )
    return stage, grown, answer


def write_scene(scene: Extended, result: ShiftResult) -> dict:
    """What the browser needs to move a picture: it, with its surroundings, and which pixels are real.

    With it goes what the network makes of the first shift.
    """
    (x_low, x_high), (y_low, y_high) = scene.limits
    rule = BOUNDARIES[result.boundary]
    return {
        "image": png_uri(draw_pixels(scene.pixels, size=1)),
        "top": scene.top,
        "left": scene.left,
        "size": scene.height,
        "real": _find_box(scene.is_real),
        "limits": [x_low, x_high, y_low, y_high],
        "most": find_most(scene),
        "model": result.model.name,
        "explanation": rule.explanation + _describe_room(scene, result.boundary),
        "twin": result.is_twin,
        "doubt": find_doubt(len(result.model.categories)),
        "notes": list(result.notes),
        "answer": write_answer(result),
    }


def find_most(scene: Extended) -> int:
    """How far the largest map reaches that a picture has room for, in pixels; 0 where a side has none."""
    return min(MAX_SHIFT, *(abs(end) for ends in scene.limits for end in ends))


def _describe_room(scene: Extended, boundary: str) -> str:
    """How far a picture can be moved: to the end of its real surroundings, or a quarter of its side."""
    (x_low, x_high), (y_low, y_high) = scene.limits
    if boundary != "crop":
        return f" The picture moves by up to {x_high} px, a quarter of its side."
    return f" In this picture dx can go from {x_low} to {x_high} and dy from {y_low} to {y_high}."


def write_map(shown: PictureMap, about: str) -> str:
    """A map, with the names of the classes that occur in it; ``about`` is what the scene says it is about."""
    found = shown.map
    indices = torch.cat([found.top1.flatten(), found.best.flatten()]).unique().tolist()
    document = {
        "about": about,
        "reach": found.distances[-1],
        "target": found.target,
        "top1": found.top1.flatten().tolist(),
        "probability": _round(found.probability),
        "margin": _round(found.margin),
        "tie": found.is_tie.int().flatten().tolist(),
        "computed": found.is_computed.int().flatten().tolist(),
        "best": found.best.flatten().tolist(),
        "shares": _round(found.best_probability),
        "kept": found.share_kept,
        "consistency": found.consistency,
        "done": found.is_complete,
        "classes": _name(shown.model.categories, indices),
    }
    return json.dumps(document, separators=(",", ":"))


def write_answer(result: ShiftResult) -> dict:
    """What the network makes of a single shift."""
    is_whole = float(result.dx).is_integer() and float(result.dy).is_integer()
    first = result.before[0]
    return {
        "dx": result.dx,
        "dy": result.dy,
        "picture": "" if is_whole else png_uri(draw_pixels(result.after_pixels, size=1)),
        "real": _find_box(result.is_real),
        "target": first.index,
        "top1": result.before[0].index if result.same_top1 else result.after[0].index,
        "probability": first.probability + result.probability_change,
        "margin": result.margin_after,
        "tie": result.near_tie,
        "best": [[each.index, each.probability] for each in result.after],
        "before": {"probability": first.probability, "margin": result.margin_before},
        "classes": _name(result.model.categories, [each.index for each in (*result.before, *result.after)]),
    }


def _find_box(is_real: Tensor) -> list[int]:
    """Left, top, right and bottom of the rectangle that is True in ``(H, W)`` bool; empty where nothing is."""
    rows, columns = (is_real.any(dim=axis).nonzero().flatten().tolist() or [0, -1] for axis in (1, 0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def _name(categories: tuple[str, ...], indices: Iterable[int]) -> dict[int, list[str]]:
    return {index: [categories[index], class_color(categories[index])] for index in indices}


def _round(values: Tensor) -> list[float]:
    return [float(f"{value:.6g}") for value in values.flatten().tolist()]


_HAND_ON = "watch('value', () => window.convscope{}?.(JSON.parse(props.value)));"
