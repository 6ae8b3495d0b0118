"""Random changes of the training pictures: how strong each one is, and what it does to the chosen data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import gradio as gr
from markupsafe import Markup

from models.data.augment.augment import TRANSFORMS, AugmentConfig, default_config, preview
from models.data.datasets import DATASETS, OWN_PICTURES
from ui.services import Action, Services
from ui.train.settings.data import DataPanel, Look, name_values
from ui.train.settings.data_preview import draw_grid
from ui.widgets.errors import answers_errors
from ui.widgets.events import Field, Values
from ui.widgets.html import empty_html, figure_html

MIN_SIDE = 84
"""Smaller pictures are enlarged in whole pixels."""
VERSIONS = 8
"""Pictures in a row of the preview, the original included."""
MODES = {"off": "Off", "suited": "What suits the data set", "own": "My own strengths"}
KEY = "augment.{}"
EMPTY = "Here you will see what the changes do to pictures of the chosen data."
NO_PICTURES = "Press “Look at the data” first: here you will see what happens to your pictures."


@dataclass(frozen=True)
class AugmentPanel:
    """The part of the page where the augmentation is chosen.

    Attributes:
        fields: ``augment`` (a key of ``MODES``), and for each transform ``augment.<name>``, its strength from 0 to 1,
            which counts where ``augment`` is "own".
        read: Values by key -> the argument ``augment`` of ``TrainingConfig``: False, True (what suits the data set)
            or an ``AugmentConfig``.
        fit: Values by component -> the sliders that the mode decides, where they are others.
        look: What the strengths do to pictures of the data.
        again: Another drawing is wanted.
        reset: Nothing is to be changed.
        seed: Of the drawings.
    """

    fields: dict[str, Field]
    read: Callable[[Mapping], dict]
    fit: Callable[[Values], Values]
    look: Look
    again: gr.Button
    reset: gr.Button
    seed: gr.State


def build_augment_panel(services: Services, data: DataPanel) -> AugmentPanel:
    """Lays out the panel and wires it."""
    fields: dict[str, Field] = {}
    with gr.Row(elem_classes="controls"):
        fields["augment"] = gr.Radio(
            [(title, name) for name, title in MODES.items()],
            value="off",
            label="Random changes in training",
            elem_id="augment-mode",
            min_width=320,
            scale=3,
        )
        again = gr.Button("Draw again", size="md", min_width=140, scale=0, elem_id="augment-again")
        reset = gr.Button("Reset", size="md", min_width=90, scale=0, elem_id="augment-reset")
    strip = gr.HTML(empty_html(EMPTY), elem_id="augment-preview")
    sliders, notes = [], []
    with gr.Row(elem_classes="controls"):
        for name, transform in TRANSFORMS.items():
            with gr.Column(min_width=250):
                sliders.append(gr.Slider(0, 1, 0, step=0.05, label=transform.title, elem_id=f"augment-{name}"))
                notes.append(gr.HTML(_describe(name, 0, 0), padding=False, elem_id=f"augment-{name}-note"))
    seed = gr.State(0)
    fields |= dict(zip(map(KEY.format, TRANSFORMS), sliders, strict=True))
    settings: dict[str, Field] = fields | data.fields

    @answers_errors(lambda message: {strip: empty_html(message)})
    def show(values: Values, action: Action) -> Values:
        """What the strengths do to three pictures of the data set."""
        named = name_values(settings, values)
        config, side = _read_strengths(named), data.find_kind(named).image_size
        described: Values = dict(zip(notes, describe_strengths(config, side), strict=True))
        return {strip: _draw(data, named, config, values[seed]), **described}

    def fit(values: Values) -> Values:
        """The sliders that go with the mode."""
        named = name_values(settings, values)
        if named["augment"] == "own":
            return {}
        wanted = _read_strengths(named).to_dict().values()
        return {slider: new for slider, new in zip(sliders, wanted, strict=True) if new != values[slider]}

    look = Look(show, [*settings.values(), seed], [strip, *notes])
    return AugmentPanel(fields, read_augment, fit, look, again, reset, seed)


def read_augment(values: Mapping) -> dict:
    """The argument ``augment`` of ``TrainingConfig``: off is False, and so are strengths that are all 0."""
    if values["augment"] == "own":
        return {"augment": _read_strengths(values) or False}
    return {"augment": values["augment"] == "suited"}


def suited_strengths(dataset: str) -> AugmentConfig:
    """What suits a data set: what a training does where ``augment`` is True."""
    return default_config(DATASETS.get(dataset, OWN_PICTURES).augmentations)


def describe_strengths(config: AugmentConfig, side: int) -> list[Markup]:
    """For each transform, what its strength means for pictures of ``side`` pixels, as HTML."""
    return [_describe(name, strength, side) for name, strength in config.to_dict().items()]


def _read_strengths(values: Mapping) -> AugmentConfig:
    if values["augment"] == "suited":
        return suited_strengths(values["dataset"])
    if values["augment"] == "off":
        return AugmentConfig()
    return AugmentConfig(**{name: values[KEY.format(name)] for name in TRANSFORMS})


def _draw(data: DataPanel, values: Mapping, config: AugmentConfig, seed: int) -> Markup:
    pictures = data.find_pictures(values)
    if pictures is None:
        return empty_html(NO_PICTURES)
    rows = [list(row) for row in preview(pictures, config, seed, VERSIONS)]
    active = [TRANSFORMS[name].title.lower() for name, strength in config.to_dict().items() if strength]
    what = f"changed by {', '.join(active)}" if active else "unchanged: nothing is on"
    caption = f"Left: {len(rows)} training pictures. Right of each: {VERSIONS - 1} versions, {what}."
    return figure_html(draw_grid(rows, MIN_SIDE), caption, caption, style="max-width:100%;width:auto")


def _describe(name: str, strength: float, side: int) -> Markup:
    transform = TRANSFORMS[name]
    meaning = transform.describe(strength, side) if strength else "Off"
    html = Markup('<p class="note" style="margin-top:-0.4rem"><strong>{}.</strong> {}</p>')
    return html.format(meaning[0].upper() + meaning[1:], transform.explanation)
