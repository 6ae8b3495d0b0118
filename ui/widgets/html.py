"""Pieces of the page that several tabs use.

HTML is of the type ``Markup``, which escapes whatever is put into it and is no ``Markup`` itself. Text that comes
from outside also tells nothing of where things are on the server.
"""

import base64
import re
from collections.abc import Callable, Iterable, Sequence

import gradio as gr
import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray
from PIL import Image

from analysis.errors import UserError
from analysis.network.predict import Prediction
from models.access import LACKS
from ui.services import Action, Services
from ui.widgets.errors import hide_paths


def open_picture(services: Services, path: str | None, action: Action) -> Image.Image:
    """The workbench's picture; the visitor can cancel while a large one is decoded, or waits for its turn.

    Raises:
        UserError: There is none.
    """
    if path is None:
        raise UserError("Choose a picture on the left: upload one, take one, paste one, or click a sample.")
    return services.lab.open_image(path, action.report("Opening the picture"))


def one_of(choices: Iterable[str]) -> Callable[[str], str]:
    """Reads a value of a link that must be one of ``choices``."""
    allowed = frozenset(choices)

    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(text)
        return text

    return read


def text_html(value: object) -> Markup:
    """Text from outside, as it can stand in the page; what is HTML already stays."""
    return value if isinstance(value, Markup) else escape(hide_paths(str(value)))


def join_html(pieces: Iterable[str]) -> Markup:
    """Pieces one after the other, without anything between them."""
    return Markup("").join(pieces)


def png_uri(picture: NDArray[np.uint8]) -> str:
    """A ``data:`` URI with the lossless picture ``(H, W, 3)`` RGB."""
    import cv2

    _, encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return "data:image/png;base64," + base64.b64encode(encoded.tobytes()).decode()


def figure_html(picture: NDArray[np.uint8], caption: str, alt: str, style: str = "") -> Markup:
    """A picture with a caption below; ``alt`` says what it shows to those who do not see it."""
    css = Markup(' style="{}"').format(style) if style else ""
    html = Markup('<figure class="picture"><img{} src="{}" alt="{}"><figcaption>{}</figcaption></figure>')
    return html.format(css, png_uri(picture), alt, caption)


def bars_html(predictions: Sequence[Prediction], mark: int | None = None) -> Markup:
    """Best classes as bars from 0 to 100 %; the class ``mark`` is emphasised."""
    row = Markup(
        '<li{}><span class="name">{}</span>'
        '<span class="track"><span class="fill" style="width:{:.1%}"></span></span>'
        '<span class="value">{}</span></li>'
    )
    marked = Markup(' class="marked"')
    rows = (
        row.format(marked if p.index == mark else "", p.category, p.probability, format_percent(p.probability))
        for p in predictions
    )
    return Markup('<ol class="bars">{}</ol>').format(join_html(rows))


def sentence_html(text: str, tone: str = "") -> Markup:
    """The finding in words, above the pictures. ``tone``: ``good``, ``bad`` or nothing."""
    return Markup('<p class="finding {}" role="status">{}</p>').format(tone, text_html(text))


def explain_lack(role: str) -> None:
    """Says why a part of the page is not there for whoever lacks a role; the style sheet shows it to them alone."""
    gr.HTML(note_html(LACKS[role]), elem_classes=f"lacks-{role}", padding=False)


def note_html(text: str) -> Markup:
    """A remark below a result."""
    return Markup('<p class="note">{}</p>').format(text)


def notes_html(notes: Iterable[str]) -> Markup:
    """Remarks below a result, one line each."""
    return join_html(map(note_html, notes))


def list_html(summary: str, lines: Iterable[str]) -> Markup:
    """A closed list with a heading."""
    entries = join_html(Markup("<li>{}</li>").format(text_html(line)) for line in lines)
    return Markup('<details class="note"><summary>{}</summary><ul>{}</ul></details>').format(summary, entries)


def describe_shift(dx: float, dy: float) -> str:
    """In words: Shifted 3 px right and 2 px up."""
    parts = [f"{abs(d):g} px {names[d > 0]}" for d, names in ((dx, ("left", "right")), (dy, ("up", "down"))) if d]
    return "Shifted " + " and ".join(parts) if parts else "Not shifted"


def empty_html(text: str) -> Markup:
    """What stands where a result will be, and how to get one."""
    return Markup('<p class="empty">{}</p>').format(text_html(text))


def grid_html(pictures: Iterable[tuple[NDArray[np.uint8], str]]) -> Markup:
    """Small pictures with labels, as many in a row as fit."""
    cells = join_html(figure_html(picture, label, label) for picture, label in pictures)
    return Markup('<div class="grid">{}</div>').format(cells)


def scale_html(limit: float, *, colors: str = "diverging") -> Markup:
    """A colour bar from ``-limit`` to ``limit`` (``diverging``) or from 0 to ``limit`` (any colour map)."""
    ends = (-limit, 0, limit) if colors == "diverging" else (0, limit)
    labels = join_html(Markup("<span>{:.3g}</span>").format(end) for end in ends)
    html = Markup('<div class="scale"><div class="bar {}"></div><div class="ends">{}</div></div>')
    return html.format(colors, labels)


def progress_html(share: float) -> Markup:
    """A bar, full at 1."""
    return Markup('<div class="progress"><span style="width:{:.1%}"></span></div>').format(share)


def table_html(
    headings: Iterable[str], rows: Iterable[Iterable[object]], label: str = "Table", attributes: Markup = Markup("")
) -> Markup:
    """A table that scrolls, by keyboard too.

    Args:
        headings: Text, or whole ``<th>`` elements.
        rows: Cells, which are text unless they are HTML; or whole rows, as :func:`row_html` makes them.
        label: What it is, for those who do not see it.
        attributes: More of the element around it; each begins with a space.
    """
    head = (text if isinstance(text, Markup) else Markup("<th>{}</th>").format(text) for text in headings)
    body = (row if isinstance(row, Markup) else row_html(row) for row in rows)
    return Markup(
        '<div class="scrolled" tabindex="0" role="region" aria-label="{}"{}>'
        '<table class="table"><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(label, attributes, join_html(head), join_html(body))


def row_html(cells: Iterable[object], attributes: Markup = Markup("")) -> Markup:
    """A row of a table, with attributes that each begin with a space; numbers stay on one line."""
    texts = (cell if isinstance(cell, Markup) else _WITHIN_NUMBERS.sub("\u00a0", str(cell)) for cell in cells)
    row = join_html(Markup("<td>{}</td>").format(text_html(text)) for text in texts)
    return Markup("<tr{}>{}</tr>").format(attributes, row)


_WITHIN_NUMBERS = re.compile(r"(?<=\d) (?=%)|(?<=\d,) (?=[-+]?\d)")


def explain_this(text: str) -> None:
    """The closed panel that says what one is looking at."""
    with gr.Accordion("What am I looking at?", open=False):
        gr.Markdown(text, latex_delimiters=[{"left": "$", "right": "$", "display": False}])


def format_percent(probability: float, decimals: int | None = None) -> str:
    """So many decimals, or else two significant digits: 39 %, 4.2 %, 0.31 %, <0.01 %."""
    percent = 100 * probability
    if decimals is not None:
        return f"{percent:.{decimals}f} %"
    if percent >= 10:
        return f"{percent:.0f} %"
    if percent >= 1:
        return f"{percent:.1f} %"
    return f"{percent:.2f} %" if percent >= 0.01 else "<0.01 %"


def find_doubt(num_classes: int) -> float:
    """The probability below which a best class is hardly more than a guess: 10 %, or 1.5 times that of guessing."""
    return max(0.1, 1.5 / num_classes)


def describe_estimate(estimate: dict | None, is_difference: bool = False, *, in_words: bool = False) -> str:
    """Value and 95 % interval of a share in percent: 91.2 % [90.4, 92.0]; a dash where it is not defined.

    Args:
        in_words: 91.2 % (95 % interval: 90.4 to 92.0 %), where no heading says what the brackets are.
    """
    if estimate is None or estimate["value"] is None:
        return "–"
    sign = "+" if is_difference else ""
    text = f"{100 * estimate['value']:{sign}.1f} %"
    if estimate.get("low") is None:
        return text
    low, high = (f"{100 * estimate[end]:{sign}.1f}" for end in ("low", "high"))
    return f"{text} (95 % interval: {low} to {high} %)" if in_words else f"{text} [{low}, {high}]"


def format_count(number: float) -> str:
    """3,210 or 4.7 million."""
    return f"{number / 1e6:.1f} million" if number >= 1e6 else f"{number:,.0f}"
