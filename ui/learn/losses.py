"""Losses and normalisation: each part runs in the browser; a batch out of a layer and autograd are asked for."""

import json

import gradio as gr

from analysis.errors import UserError
from lab.learning.batches import differentiate, take_batch
from ui.learn.bench import Bench, browser_bench
from ui.services import Action, Services
from ui.widgets.errors import shows_errors
from ui.widgets.events import HIDDEN, Values
from ui.widgets.html import one_of
from ui.widgets.switch import Switch
from ui.workbench import Workbench

PARTS = {
    "scores": "Softmax and SVM",
    "divergence": "KL divergence",
    "penalties": "L1 and L2",
    "batch_norm": "Batch norm",
    "norm_cells": "Which cells",
    "dropout": "Dropout",
}
"""Name of a part, in the address and of its files -> title."""


def build_losses(services: Services, bench: Workbench) -> Bench:
    """Lays out the parts, of which the chosen one is shown, and wires what needs a model."""
    titles = [(title, name) for name, title in PARTS.items()]
    part = gr.Radio(titles, value="scores", show_label=False, label="Part", container=False, elem_id="learn-part")
    parts, groups = {}, {}
    for name in PARTS:
        with gr.Column() as group:
            parts[name] = browser_bench(name, asks=[ask_autograd] if name == "batch_norm" else [])
        groups[group] = [name]
    switch, batch = Switch(part, groups), parts["batch_norm"]

    @shows_errors
    def take(
        values: Values, event: gr.EventData, request: gr.Request, progress: gr.Progress = gr.Progress()
    ) -> Values:
        """Takes a batch out of a layer of the model."""
        layer = (event._data or {}).get("layer", "")
        with services.act(request, progress, "learn-batch") as action:
            found = take_batch(services.lab, values[bench.model], str(layer), action.report("Downloading weights"))
        said = (
            f"{values[bench.model]}, layer {found.layer}: the middle cell of those channels that differ most "
            f"between the samples {', '.join(found.pictures)}."
        )
        names = [f"ch. {channel}" for channel in found.channels]
        shown = {"layers": found.layers, "layer": found.layer, "names": names, "batch": found.values.tolist()}
        return {batch: json.dumps(shown | {"said": said})}

    batch.submit(take, {bench.model}, [batch], **HIDDEN)

    def show(values: Values, action: Action) -> Values:
        """The part that a link has chosen."""
        return switch.show(values[part])

    return Bench(show, [part], [*groups], linked={"part": (part, one_of(PARTS))})


def ask_autograd(asked: object) -> dict:
    """The gradients of batch normalisation by autograd, or the ``problem``."""
    given = asked if isinstance(asked, dict) else {}
    try:
        return differentiate(*(given.get(name) for name in ("batch", "upstream", "gamma", "beta", "epsilon")))
    except UserError as error:
        return {"problem": str(error)}
