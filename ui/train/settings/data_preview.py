"""A data set as HTML: how much of what there is, what to beware of, and pictures of each class."""

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from torch import Tensor

from analysis.grammar import count
from lab.data_overview import SHOWN_SKIPPED, DataOverview
from ui.widgets.html import join_html, list_html, note_html, png_uri, sentence_html

MAX_CLASSES_SHOWN = 40
MAX_SIDE = 64
"""Larger pictures are reduced: forty classes of them are on one page."""
MIN_SIDE = 56
"""Smaller pictures are enlarged in whole pixels."""
GAP = 2
_MEAN_GAP = 10
_BACKGROUND = 128


def describe_overview(overview: DataOverview, title: str) -> Markup:
    """The finding in words, then the warnings, then the files that were left out."""
    sizes = {split: sum(counts) for split, counts in overview.counts.items()}
    channels, height, width = overview.class_means.shape[1:]
    kind = "grey" if channels == 1 else "colour"
    text = (
        f"{title}: {count(len(overview.categories), 'class')}, {count(sizes['train'], 'picture')} for training, "
        f"{sizes['validation']:,} for validation, {sizes['test']:,} for the test; {width} × {height} pixels, {kind}."
    )
    warnings = (Markup('<p class="finding bad">{}</p>').format(warning) for warning in overview.warnings)
    return sentence_html(text) + join_html(warnings) + list_skipped(overview.skipped)


def list_skipped(skipped: tuple[str, ...]) -> Markup:
    """A closed list of the files that were left out, the first ones of many."""
    if not skipped:
        return Markup("")
    more = [f"and {len(skipped) - SHOWN_SKIPPED} more"] if len(skipped) > SHOWN_SKIPPED else []
    return list_html(f"{count(len(skipped), 'file', 'were')} left out", [*skipped[:SHOWN_SKIPPED], *more])


def draw_classes(overview: DataOverview) -> Markup:
    """For each class its mean picture and examples; of very many classes the first."""
    row = Markup(
        '<figure class="picture"><figcaption><strong>{}</strong>, {:,} for training'
        '</figcaption><img style="max-width:100%;width:auto" src="{}" alt="{}"></figure>'
    )
    rows = []
    for number, category in enumerate(overview.categories[:MAX_CLASSES_SHOWN]):
        examples = overview.preview.images[overview.preview.labels == number]
        pictures = [overview.class_means[number], *examples]
        alt = f"{category}: the mean of its training pictures, then {count(len(examples), 'example')}"
        rows.append(row.format(category, overview.counts["train"][number], png_uri(_draw_row(pictures)), alt))
    hidden = len(overview.categories) - MAX_CLASSES_SHOWN
    more = note_html(f"{count(hidden, 'more class', 'are')} not shown.") if hidden > 0 else ""
    note = note_html(
        "Left: the mean of all training pictures of the class, what a template would look like. "
        "Then examples, spread over the class."
    )
    style = "display:grid;gap:0.6rem 1.6rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,560px),1fr))"
    return note + Markup('<div style="{}">{}</div>').format(style, join_html(rows)) + more


def _draw_row(pictures: list[Tensor]) -> NDArray[np.uint8]:
    """The mean, a wider gap, and the examples; see :func:`draw_grid`."""
    mean, *examples = ([_fit(picture)] for picture in pictures)
    left = draw_grid([mean])
    if not examples:
        return left
    right = draw_grid([[picture for (picture,) in examples]])
    gap = np.full((left.shape[0], _MEAN_GAP, 3), _BACKGROUND, dtype=np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def draw_grid(rows: list[list[Tensor]], min_side: int = MIN_SIDE) -> NDArray[np.uint8]:
    """Pictures ``(1 or 3, H, W)`` uint8 of one size side by side, as ``(H', W', 3)`` RGB.

    Small ones are enlarged in whole pixels to about ``min_side``.
    """
    height, width = rows[0][0].shape[1:]
    factor = max(1, round(min_side / max(height, width)))
    high, wide = height * factor + GAP, width * factor + GAP
    size = (len(rows) * high - GAP, max(map(len, rows)) * wide - GAP, 3)
    canvas = np.full(size, _BACKGROUND, dtype=np.uint8)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            levels = picture.expand(3, -1, -1).permute(1, 2, 0).numpy()
            enlarged = levels.repeat(factor, axis=0).repeat(factor, axis=1)
            top, left = row * high, column * wide
            canvas[top : top + high - GAP, left : left + wide - GAP] = enlarged
    return canvas


def _fit(picture: Tensor) -> Tensor:
    """A picture with at most ``MAX_SIDE`` pixels a side."""
    from torchvision.transforms.v2.functional import resize

    height, width = picture.shape[1:]
    if max(height, width) <= MAX_SIDE:
        return picture
    share = MAX_SIDE / max(height, width)
    return resize(picture, [max(1, round(height * share)), max(1, round(width * share))], antialias=True)
