"""The convolution under one's hands: the picture as numbers, the kernels of the notes, and those of any model."""

import json
from dataclasses import asdict
from typing import Any

import gradio as gr

from analysis.convolution.kernels import KERNELS
from analysis.errors import UserError
from lab.learning.kernels import KernelLayer, list_kernels, read_kernel
from ui.learn.bench import Bench, browser_bench
from ui.learn.link import build_link, read_controls
from ui.learn.pictures import write_pictures
from ui.services import Action, Services
from ui.widgets.errors import shows_errors
from ui.widgets.events import HIDDEN, Values
from ui.widgets.html import explain_this
from ui.workbench import Workbench

PARTS = ("convolve.js", "cells.js", "link.js", "convolution_view.js")
PLAIN: dict[str, object] = {
    "length": 3, "stride": 1, "padding": 0, "mode": "zeros", "dilation": 1, "filters": 1, "groups": 1,
    "flip": "", "transposed": False, "channels": 1, "kernel": "vertical_edges",
}  # fmt: skip
"""The controls of the bench, as they are to begin with; those that an example does not name."""
EDGE = [[10, 10, 10, 0, 0, 0]] * 6
STRIPES = [[(column - row) % 4 for column in range(1, 8)] for row in range(7)]
EXAMPLES: dict[str, dict[str, object]] = {
    "edge": {"title": "Edge, 6 x 6", "source": "grid", "input": EDGE, "at": [0, 0, 1]},
    "stride": {
        "title": "Stride, 7 x 7",
        "source": "grid",
        "input": STRIPES,
        "kernel": [[2, 0, 1], [0, 1, 2], [1, 0, 2]],
        "stride": 2,
        "at": [0, 0, 0],
    },
    "six": {"title": "6 filters", "source": "picture", "side": 32, "channels": 3, "length": 5, "filters": 6},
    "ten": {
        "title": "10, padded",
        "source": "picture",
        "side": 32,
        "channels": 3,
        "length": 5,
        "filters": 10,
        "padding": 2,
    },
}
"""Of the notes: 0 30 30 0; 15 and then 17; 28 x 28 x 6; 32 x 32 x 10 with 760 parameters."""
SIGNAL = [0, 0, 0, 0, 4, 4, 4, 4, 4, 4, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 9, 0, 0]
"""A step, a ramp and a spike."""
STACK = [
    [[10 * (1 < row < 4 and at < column < at + 3) for column in range(8)] for row in range(6)] for at in range(5)
]
"""A square that moves one cell to the right from slice to slice."""
MOVING = [[[0, 0, 0], [0, sign, 0], [0, 0, 0]] for sign in (-1, 0, 1)]
"""What has come since the slice before last: zero where nothing moves."""
EXPLANATION = """
A kernel is laid on the input; what lies on each other is multiplied, and the products and the bias are added up:
$y[i, j] = b + \\sum_c \\sum_{u, v} w[c, u, v] \\, x[c, iS - P + uD, jS - P + vD]$. That is *cross-correlation*,
which networks call convolution; *true convolution* turns the kernel around first, and only it is associative. A
filter is as deep as its input (or as its group of channels), so it gives one map. A *transposed* layer spreads each
cell of the input over the kernel instead. (Dumoulin & Visin 2016.) The input is the middle square of the picture,
each cell the mean of the pixels in it, from 0 to 255; grey is $0.299 R + 0.587 G + 0.114 B$. On a signal a kernel of
the notes does what it does to a picture whose every row is that signal; on a stack it looks at one slice.
"""
DEEPEST = 4
"""A filter of as many channels is taken as a whole; of a deeper one a single channel."""


def build_convolution(services: Services, bench: Workbench) -> Bench:
    """Lays it out; all is computed in the browser, and a model is asked for kernels alone."""
    stage = browser_bench("convolution", parts=PARTS)
    explain_this(EXPLANATION)
    link = build_link("conv", stage)
    taken = gr.HTML("{}", html_template="", js_on_load=_HAND_ON, elem_id="convolution-taken")

    def show(values: Values, action: Action) -> Values:
        """The picture as numbers, and the name of the model whose kernels can be taken."""
        pictures = write_pictures(services, bench, values, action)
        told = {"pictures": pictures, "model": values[bench.model], "link": values[link]}
        return {stage: json.dumps(_TABLES | told)}

    @shows_errors
    def take_kernel(
        values: Values, event: gr.EventData, request: gr.Request, progress: gr.Progress = gr.Progress()
    ) -> str:
        """A kernel of the model: of the layer, filter and channel that were asked for, else the first one."""
        layer, number, channel = _read_place(event._data)
        model = values[bench.model]
        with services.act(request, progress, "learn-kernel") as action:
            layers = list_kernels(services.lab, model, action.report("Downloading weights"))
            if not layers:
                raise UserError(f"{model} has no convolution over pictures.")
            chosen = next((each for each in layers if each.name == layer), layers[0])
            kernels = read_kernel(services.lab, model, chosen.name, number)  # (channels, rows, columns)
        if chosen.channels > DEEPEST:
            if not 0 <= channel < chosen.channels:
                raise UserError(f"{chosen.name} has the channels 0 to {chosen.channels - 1}, not {channel}.")
            kernels = kernels[channel : channel + 1]
        found = {"layer": chosen.name, "size": chosen.size, "kernels": kernels.flatten(1).tolist()}
        return json.dumps(
            found
            | {"layers": [_describe(each) for each in layers], "filters": chosen.filters, "channels": chosen.channels}
        )

    latest: dict[str, Any] = {**HIDDEN, "trigger_mode": "multiple", "concurrency_limit": None}
    stage.submit(take_kernel, {*bench.inputs}, taken, **latest)
    return Bench(show, [link], [stage], linked={"conv": (link, read_controls)})


def _read_place(data: Any) -> tuple[str, int, int]:
    """Layer, filter and channel of an event.

    Raises:
        UserError: No name and whole numbers.
    """
    try:
        return str(data["layer"]), int(data["filter"]), int(data["channel"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError("Filter and channel must be whole numbers.") from error


def _describe(layer: KernelLayer) -> list[str]:
    rows, columns = layer.size
    return [layer.name, f"{layer.name}: {layer.filters} of {rows} x {columns} x {layer.channels}"]


_TABLES = {
    "kernels": [asdict(kernel) | {"name": name} for name, kernel in KERNELS.items()],
    "examples": {name: PLAIN | example for name, example in EXAMPLES.items()},
    "inputs": {"grid": EDGE, "signal": SIGNAL, "stack": STACK},
    "starts": {"signal": [1, 0, -1], "stack": MOVING},
}
_HAND_ON = "watch('value', () => window.convscopeKernel?.(JSON.parse(props.value)));"
