"""What the view of a run's errors says and shows: sentences, captions, maps, the change between two runs."""

from functools import partial

import gradio as gr
from markupsafe import Markup

from analysis.confusion import Confusion
from analysis.errors import UserError
from analysis.figures.classes import plot_confusion_difference
from analysis.figures.overlay import render_map
from analysis.grammar import count
from lab.runs.mistakes import ErrorView, PictureContrast, open_errors
from models.runs.run import UNFINISHED, Run
from ui.services import Services
from ui.widgets.html import (
    describe_estimate,
    empty_html,
    figure_html,
    format_percent,
    join_html,
    note_html,
    scale_html,
    sentence_html,
)

ANY = -1
"""Stands for any class in a list of classes."""
MAX_PICTURES = 24
MAX_PAIRS = 12
SIDE = 224
CORRECTED = "Corrections of training pictures change what is trained on; those of others only what is measured."
MATRIX = "The matrix above is that of the validation pictures."


def describe_errors(run: Run, found: Confusion) -> Markup:
    """The accuracy with its interval, and what is confused most."""
    wrong = len(found) - found.num_correct
    right = describe_estimate(found.accuracy.to_json(), in_words=True)
    pictures = count(len(found), "validation picture")
    text = f"{run.name}: {right} of {pictures} right, {wrong:,} wrong; mean loss {found.mean_loss:.3g}."
    for pair in found.most_confused(1):
        true, predicted = found.categories[pair.true], found.categories[pair.predicted]
        text += f" Most often, {true} is taken for {predicted} ({count(pair.count, 'time')})."
    return sentence_html(text)


def list_pairs(found: Confusion) -> list[tuple[str, str]]:
    """The pairs of classes that are confused most, as choices of a list; :func:`read_pair` reads their values."""
    names = found.categories
    return [
        (
            f"{names[pair.true]} → {names[pair.predicted]}: {pair.count} ({format_percent(pair.share, 0)})",
            f"{pair.true} {pair.predicted}",
        )
        for pair in found.most_confused(MAX_PAIRS)
    ]


def read_pair(pair: str | None) -> tuple[int, int]:
    """The true and the predicted class of a choice; any classes where nothing is chosen."""
    true, _, predicted = (pair or f"{ANY} {ANY}").partition(" ")
    return int(true), int(predicted)


def explain_no_pictures(run: Run, part: str) -> str:
    """Why a run has no test or training pictures to show."""
    if run.state in UNFINISHED:
        kept = "those with the largest losses are kept" if part == "training" else "they are asked about"
        return f"No {part} pictures yet: {kept} when the training is over."
    return (
        f"{run.name} ({run.state}) has kept no {part} pictures: it ended early, or was made by a version that kept "
        "none."
    )


def list_pictures(view: ErrorView, true: int | None, predicted: int | None) -> tuple[Markup, list, tuple[int, ...]]:
    """A heading, the pictures of two classes with captions, and which pictures these are.

    Args:
        view: What the network got wrong.
        true: A class; None or ``ANY`` for all.
        predicted: The same.
    """
    true, predicted = (None if chosen in (None, ANY) else chosen for chosen in (true, predicted))
    found = view.select(true, predicted)
    text = _describe_pictures(view, len(found), true, predicted)
    if len(found) > MAX_PICTURES:
        text += f"; the first {MAX_PICTURES} are shown"
    text = f"{text}." if view.part == "validation" else f"{text}. {MATRIX}"
    chosen = tuple(found[:MAX_PICTURES])
    return sentence_html(text), [(view.draw(index), _caption(view, index)) for index in chosen], chosen


def _describe_pictures(view: ErrorView, number: int, true: int | None, predicted: int | None) -> str:
    names = view.confusion.categories
    if true is None and predicted is None:
        found = view.confusion
        wrong = f" ({len(found) - found.num_correct:,} of {len(found):,} are wrong)" if view.part == "test" else ""
        return f"The {view.part} pictures with the largest losses{wrong}"
    kind = "" if true is None else f" of {names[true]}"
    said = "" if predicted is None else " recognised" if predicted == true else f" taken for {names[predicted]}"
    text = f"{count(number, f'{view.part} picture')}{kind}{said}, largest loss first"
    return text if view.part != "training" else f"Of the {len(view.confusion)} that are kept, {text}"


def _caption(view: ErrorView, index: int) -> str:
    found, names = view.confusion, view.confusion.categories
    true, predicted = names[found.labels[index]], names[found.predicted[index]]
    said = predicted if true == predicted else f"{true} → {predicted}"
    return f"{said} {format_percent(float(found.probability[index]), 0)}, loss {found.losses[index]:.2f}"


def draw_contrast(view: ErrorView, index: int, maps: PictureContrast) -> Markup:
    """A picture large, with the maps of two classes and of their difference on one scale."""
    names = view.confusion.categories
    predicted, other = names[maps.predicted], names[maps.other]
    role = "second best" if maps.predicted == view.confusion.labels[index] else "true"
    draw = partial(render_map, sign="signed", scale=maps.scale, size=SIDE)
    remarks = [f". {remark}" if remark else "" for remark in maps.remarks]
    drawn = (
        (view.draw(index, SIDE), "What the network sees"),
        (draw(maps.difference), f"{predicted} minus {other}"),
        (draw(maps.for_predicted), f"For {predicted} (predicted){remarks[0]}"),
        (draw(maps.for_other), f"For {other} ({role}){remarks[1]}"),
    )
    figures = join_html(figure_html(picture, caption, caption) for picture, caption in drawn)
    note = "Red speaks for the class that is named, or named first; blue against it. All maps are on one scale."
    text = view.describe(index)
    shown = Markup('<div class="triple quadruple">{}</div>').format(figures)
    return sentence_html(f"{text[0].upper()}{text[1:]}.") + shown + scale_html(maps.scale) + note_html(note)


def compare_errors(services: Services, run: Run, view: ErrorView, other: str | None) -> tuple[Markup, dict]:
    """A sentence, and the difference of two runs' matrices; or why there is none.

    Args:
        services: Where the other run is.
        run: The run that is shown.
        view: Its errors.
        other: Name of the run it is compared with, or nothing.
    """
    hidden = gr.update(value=None, visible=False)
    if not other:
        return Markup(""), hidden
    try:
        before = services.jobs.read(other)
        earlier, now = open_errors(before).confusion, view.confusion
        change = now.difference(earlier)
    except UserError as error:
        return empty_html(str(error)), hidden
    text = "; ".join(
        f"{each.name}: {describe_estimate(found.accuracy.to_json(), in_words=True)} of {count(len(found), 'picture')}"
        for each, found in ((before, earlier), (run, now))
    )
    unfinished = [f"{each.name} is still training." for each in (before, run) if each.state in UNFINISHED]
    note = f"Below: the pictures in each cell of {run.name} minus those of {before.name}. "
    if run.config.get("corrections") != before.config.get("corrections"):
        note += CORRECTED
    figure = gr.update(value=plot_confusion_difference(change, now.categories), visible=True)
    return sentence_html(" ".join([f"{text}.", *unfinished])) + note_html(note), figure
