"""Pieces of the page that several tabs use.

All text that comes from outside is escaped here, and tells nothing of where things are on the server.
"""

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

import gradio as gr
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from analysis.errors import UserError
from analysis.network.predict import Prediction
from ui.services import Services
from ui.widgets.errors import hide_paths


@dataclass(frozen=True)
class Tab:
    """What the page needs to know of a tab.

    Attributes:
        refresh: Handler that brings the tab up to date when it is opened, or when picture or model change.
        inputs: Of ``refresh``.
        outputs: Of ``refresh``.
        on_every_tab: Whether to refresh also when another tab is opened, to end what goes on in this one.
        looks_at: Components of the workbench whose change calls for a refresh while the tab is open.
        linked: What a link to the tab restores: name in the address, component, and how its text is read
            (raising ValueError for text that is not meant for it).
    """

    refresh: Callable
    inputs: list
    outputs: list
    on_every_tab: bool = False
    looks_at: list = field(default_factory=list)
    linked: dict[str, tuple[gr.components.Component, Callable[[str], object]]] = field(default_factory=dict)


def open_picture(services: Services, path: str | None, request: gr.Request, progress: gr.Progress) -> Image.Image:
    """The workbench's picture; the visitor can cancel while a large one is decoded, or waits for its turn.

    Raises:
        UserError: There is none.
    """
    if path is None:
        raise UserError("Choose a picture on the left first.")
    with services.watch(request, progress, "Opening the picture") as report:
        return services.lab.open_image(path, report)


def one_of(choices: Iterable[str]) -> Callable[[str], str]:
    """Reads a value of a link that must be one of ``choices``."""
    allowed = frozenset(choices)

    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(text)
        return text

    return read


def text_html(text: str) -> str:
    """Text from outside, as it can stand in the page."""
    return escape(hide_paths(text))


def png_uri(picture: NDArray[np.uint8]) -> str:
    """A ``data:`` URI with the lossless picture ``(H, W, 3)`` RGB."""
    import cv2

    _, encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return "data:image/png;base64," + base64.b64encode(encoded).decode()


def figure_html(picture: NDArray[np.uint8], caption: str, alt: str) -> str:
    """A picture with a caption below; ``alt`` says what it shows to those who do not see it."""
    return (
        f'<figure class="picture"><img src="{png_uri(picture)}" alt="{escape(alt, quote=True)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def bars_html(predictions: Sequence[Prediction], mark: int | None = None) -> str:
    """Best classes as bars from 0 to 100 %; the class ``mark`` is emphasised."""
    rows = []
    for p in predictions:
        css = ' class="marked"' if p.index == mark else ""
        rows.append(
            f'<li{css}><span class="name">{escape(p.category)}</span>'
            f'<span class="track"><span class="fill" style="width:{p.probability:.1%}"></span></span>'
            f'<span class="value">{format_percent(p.probability)}</span></li>'
        )
    return f'<ol class="bars">{"".join(rows)}</ol>'


def card_html(title: str, subtitle: str, body: str) -> str:
    """A framed piece with a heading; ``body`` is HTML."""
    return f'<section class="card"><h3>{escape(title)}</h3><p class="note">{escape(subtitle)}</p>{body}</section>'


def sentence_html(text: str, tone: str = "") -> str:
    """The finding in words, above the pictures. ``tone``: ``good``, ``bad`` or nothing."""
    return f'<p class="finding {tone}" role="status">{text_html(text)}</p>'


def notes_html(notes: Iterable[str]) -> str:
    """Remarks below a result, one line each."""
    return "".join(f'<p class="note">{escape(note)}</p>' for note in notes)


def describe_shift(dx: float, dy: float) -> str:
    """In words: Shifted 3 px right and 2 px up."""
    parts = [f"{abs(d):g} px {names[d > 0]}" for d, names in ((dx, ("left", "right")), (dy, ("up", "down"))) if d]
    return "Shifted " + " and ".join(parts) if parts else "Not shifted"


def empty_html(text: str) -> str:
    """What stands where a result will be, and how to get one."""
    return f'<p class="empty">{text_html(text)}</p>'


def grid_html(pictures: Iterable[tuple[NDArray[np.uint8], str]]) -> str:
    """Small pictures with labels, as many in a row as fit."""
    cells = "".join(figure_html(picture, label, label) for picture, label in pictures)
    return f'<div class="grid">{cells}</div>'


def scale_html(limit: float, *, colors: str = "diverging") -> str:
    """A colour bar from ``-limit`` to ``limit`` (``diverging``) or from 0 to ``limit`` (any colour map)."""
    ends = (-limit, 0, limit) if colors == "diverging" else (0, limit)
    labels = "".join(f"<span>{end:.3g}</span>" for end in ends)
    return f'<div class="scale"><div class="bar {colors}"></div><div class="ends">{labels}</div></div>'


def progress_html(share: float) -> str:
    """A bar, full at 1."""
    return f'<div class="progress"><span style="width:{share:.1%}"></span></div>'


def table_html(headings: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A plain table; cells are text."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{text_html(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    table = f'<table class="table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scrolled" tabindex="0" role="region" aria-label="Table">{table}</div>'


def build_signal() -> gr.Textbox:
    """A text that nobody sees, for its ``change``; that of a gr.State is not heard when set outside the queue."""
    return gr.Textbox(visible="hidden")


def explain_this(text: str) -> None:
    """The closed panel that says what one is looking at."""
    with gr.Accordion("What am I looking at?", open=False):
        gr.Markdown(text, latex_delimiters=[{"left": "$", "right": "$", "display": False}])


def format_percent(probability: float) -> str:
    """Two significant digits: 39 %, 4.2 %, 0.31 %, <0.01 %."""
    percent = 100 * probability
    if percent >= 10:
        return f"{percent:.0f} %"
    if percent >= 1:
        return f"{percent:.1f} %"
    return f"{percent:.2f} %" if percent >= 0.01 else "<0.01 %"


def describe_estimate(estimate: dict | None, is_difference: bool = False) -> str:
    """Value and interval of a share in percent: 91.2 % [90.4, 92.0]; a dash where it is not defined."""
    if estimate is None or estimate["value"] is None:
        return "–"
    sign = "+" if is_difference else ""
    text = f"{100 * estimate['value']:{sign}.1f} %"
    if estimate.get("low") is None:
        return text
    return f"{text} [{100 * estimate['low']:{sign}.1f}, {100 * estimate['high']:{sign}.1f}]"


def format_count(number: float) -> str:
    """3,210 or 4.7 million."""
    return f"{number / 1e6:.1f} million" if number >= 1e6 else f"{number:,.0f}"
