"""Which pixels speak for a class, what the layers respond to, and the first filters."""

from pathlib import Path

import gradio as gr
import numpy as np
from markupsafe import Markup
from torch import Tensor

from analysis.attribution.methods import METHODS
from analysis.attribution.overlay import COLORMAPS, measure_scale, render_map, render_overlay
from analysis.figures.drawing import draw_filters as draw_kernels
from analysis.figures.drawing import draw_pixels
from lab.session import Explanation
from ui.services import Services
from ui.widgets.errors import clears_on_errors, shows_errors
from ui.widgets.html import (
    Tab,
    empty_html,
    explain_this,
    figure_html,
    format_percent,
    grid_html,
    note_html,
    notes_html,
    one_of,
    open_picture,
    scale_html,
    sentence_html,
)
from ui.workbench import Workbench

AUTO = "auto"
SIDE = 448
SIGNS = {
    "Strength, either sign": "absolute",
    "For the class": "positive",
    "Against the class": "negative",
    "Both signs (red for, blue against)": "signed",
}
MAPS_PER_PAGE = 48
MAP_SIDE = 112
MAX_FILTERS = 256
LIKELY_FIRST = 5
DEFAULT_METHOD = "grad_cam"
EXAMPLES = {
    "Where is the evidence?": ("grad_cam", "positive"),
    "What adds up to the difference in score?": ("integrated_gradients", "signed"),
    "What if a patch is covered?": ("occlusion", "signed"),
}
EXPLANATION = """
Every method gives each pixel a **signed** number: positive speaks for the class, negative against it. The overlay
colours it over the picture, and the line encloses the strongest tenth of the pixels. Colours end at the 99.5th
percentile, so one bright pixel cannot hide the rest. What is explained is the logit $f_k(x)$ of the chosen class,
before softmax. An explanation tells what the *model* uses, which need not be what is true about the picture.
"""


def build_explain_tab(services: Services, bench: Workbench) -> Tab:
    """Lays out the tab and wires what happens inside it."""
    method = gr.State(DEFAULT_METHOD)
    with gr.Row(elem_classes="methods"):
        buttons = {
            name: gr.Button(m.title, size="sm", min_width=130, elem_id=f"method-{name}")
            for name, m in METHODS.items()
        }
    obstacles = gr.HTML(elem_id="explain-obstacles")
    with gr.Row(elem_classes="controls"):
        target = gr.Dropdown(
            [("Predicted class", AUTO)],
            value=AUTO,
            label="Explain the class",
            elem_id="explain-target",
            min_width=220,
        )
        sign = gr.Dropdown(
            list(SIGNS.items()), value="positive", label="Show evidence", elem_id="explain-sign", min_width=200
        )
        opacity = gr.Slider(0, 1, 0.5, step=0.05, label="Opacity", elem_id="explain-opacity", min_width=160)
        colors = gr.Dropdown(
            list(COLORMAPS), value=next(iter(COLORMAPS)), label="Colours", elem_id="explain-colors", min_width=120
        )
    view = gr.HTML(empty_html("Choose a picture on the left."), elem_id="explain-view")
    with gr.Row(elem_classes="controls"):
        picture_file = gr.DownloadButton("Overlay (PNG)", size="sm", interactive=False, elem_id="explain-png")
        raw_file = gr.DownloadButton("Signed map (npy)", size="sm", interactive=False, elem_id="explain-npy")
    with gr.Accordion("Feature maps of a layer", open=False) as features_panel:
        with gr.Row(elem_classes="controls"):
            layer = gr.Dropdown([], label="Layer", elem_id="features-layer", min_width=260)
            page = gr.Number(1, precision=0, minimum=1, label=f"Page of {MAPS_PER_PAGE} channels", min_width=120)
        features = gr.HTML(elem_id="features-view")
    with gr.Accordion("Filters of the first layer", open=False) as filters_panel:
        filters = gr.HTML(elem_id="filters-view")
    with gr.Row(elem_classes="controls"):
        examples = {title: gr.Button(title, size="sm", min_width=200) for title in EXAMPLES}
    explain_this(EXPLANATION)
    open_panels = gr.State(())

    settings = [method, target, sign, opacity, colors]
    outputs = [view, picture_file, raw_file]

    def rank(image, model, request, progress) -> list[int]:
        """The most probable classes first."""
        if image is None:
            return []
        picture = open_picture(services, image, request, progress)
        return [p.index for p in services.lab.classify(picture, model, LIKELY_FIRST).predictions]

    def show(image, model, method, target, sign, opacity, colors, request, progress, is_refresh=False) -> tuple:
        if image is None:
            idle = gr.update(interactive=False)
            return empty_html("Choose a picture on the left, then a method above."), idle, idle
        picture = open_picture(services, image, request, progress)
        watch = services.watch
        with (
            watch(request, progress, METHODS[method].title, "explain", is_refresh) as report,
            watch(request, progress, "Downloading weights") as loading,
        ):
            result = services.lab.explain(
                picture, model, method, _read_target(target), progress=report, loading=loading
            )
        return _show_explanation(services, result, sign, opacity, colors)

    def clear(message: str) -> tuple:
        return empty_html(message), gr.update(interactive=False), gr.update(interactive=False)

    @clears_on_errors(clear)
    def explain(image, model, method, target, sign, opacity, colors, request: gr.Request, progress=gr.Progress()):
        """Computes the map of the chosen method, or redraws the one at hand."""
        return show(image, model, method, target, sign, opacity, colors, request, progress)

    @clears_on_errors(lambda message: (*[gr.skip()] * (len(METHODS) + 7), *clear(message)))
    def refresh(
        image,
        model,
        tab,
        panels,
        method,
        target,
        sign,
        opacity,
        colors,
        request: gr.Request,
        progress=gr.Progress(),
    ):
        """Fits methods, classes and layers to the model, then explains."""
        if tab != "explain":
            return gr.skip()
        with services.watch(request, progress, "Downloading weights") as report:
            layers = [item.name for item in services.lab.layers(model, report) if item.is_feature_map]
        reasons = services.lab.obstacles(model)
        method = method if method not in reasons else next(name for name in METHODS if name not in reasons)
        likely = rank(image, model, request, progress)
        choices = _list_classes(services.lab.registry.get(model).categories, likely)
        # The class is sent only where it has to change: the visitor may have chosen another one in the meantime.
        asked, target = target, target if target in [value for _, value in choices] else AUTO
        shown = show(image, model, method, target, sign, opacity, colors, request, progress, is_refresh=True)
        layer = services.lab.default_layer(model) or (layers or [None])[-1]
        return (
            *_mark(method, reasons),
            _list_obstacles(reasons),
            method,
            gr.update(choices=choices, **({} if target == asked else {"value": target})),
            gr.update(choices=layers, value=layer),
            1,
            show_features(image, model, layer, 1, panels, request, progress),
            show_filters(model, panels),
            *shown,
        )

    def show_features(image, model, layer, page, panels, request: gr.Request, progress=gr.Progress()):
        """Draws one page of the channels of a layer on one colour scale, if its panel is open."""
        if "features" not in panels or image is None or not layer:
            return ""
        maps = services.lab.extract(open_picture(services, image, request, progress), model, layer)
        return _show_features(maps, layer, int(page or 1))

    def show_filters(model, panels):
        """Draws the kernels of the first convolution, if their panel is open."""
        if "filters" not in panels:
            return ""
        pictures = draw_kernels(services.lab.first_filters(model)[:MAX_FILTERS])
        return grid_html((np.kron(p, np.ones((8, 8, 1), np.uint8)), str(i)) for i, p in enumerate(pictures))

    private = {"api_visibility": "private"}
    compute = {"fn": explain, "inputs": [bench.image, bench.model, *settings], "outputs": outputs, **private}
    for name, button in buttons.items():
        button.click(
            lambda name=name: (name, *_mark(name)), None, [method, *buttons.values()], queue=False, **private
        ).then(**compute)
    gr.on([target.input, sign.input, opacity.release, colors.input], **compute, trigger_mode="always_last")
    draw_features = {
        "fn": shows_errors(show_features),
        "inputs": [bench.image, bench.model, layer, page, open_panels],
        "outputs": features,
        **private,
    }
    draw_filters = {
        "fn": shows_errors(show_filters),
        "inputs": [bench.model, open_panels],
        "outputs": filters,
        **private,
    }
    gr.on([layer.input, page.input], **draw_features)
    for name, panel, draw in (("features", features_panel, draw_features), ("filters", filters_panel, draw_filters)):
        panel.expand(lambda panels, name=name: (*panels, name), open_panels, open_panels, **private).then(**draw)
        panel.collapse(
            lambda panels, name=name: tuple(p for p in panels if p != name), open_panels, open_panels, **private
        )
    for title, button in examples.items():
        button.click(
            lambda values=EXAMPLES[title]: (values[0], values[1], *_mark(values[0])),
            None,
            [method, sign, *buttons.values()],
            queue=False,
            **private,
        ).then(**compute)
    return Tab(
        refresh,
        [bench.image, bench.model, bench.tab, open_panels, *settings],
        [*buttons.values(), obstacles, method, target, layer, page, features, filters, *outputs],
        looks_at=[bench.image, bench.model],
        linked={"method": (method, one_of(METHODS)), "show": (sign, one_of(SIGNS.values()))},
    )


def _mark(chosen: str, reasons: dict[str, str] | None = None) -> list:
    """Updates of the method buttons: the chosen one stands out, those with a reason against them are off."""
    updates = []
    for name in METHODS:
        update = {"variant": "primary" if name == chosen else "secondary"}
        if reasons is not None:
            update["interactive"] = name not in reasons
        updates.append(gr.update(**update))
    return updates


def _list_classes(categories: tuple[str, ...], likely: list[int]) -> list[tuple[str, str]]:
    """The predicted class, then the likely ones, then all others by number."""
    order = dict.fromkeys([*likely, *range(len(categories))])
    return [("Predicted class", AUTO), *((label, label) for label in (f"{categories[i]} ({i})" for i in order))]


def _read_target(label: str) -> int | None:
    """The index at the end of a label; the name before it keeps another model's class 5 from being taken."""
    return None if label == AUTO else int(label.rpartition("(")[2].rstrip(")"))


def _list_obstacles(reasons: dict[str, str]) -> Markup:
    return notes_html(f"{METHODS[name].title} is off: {reason}" for name, reason in reasons.items())


def _show_explanation(services: Services, result: Explanation, sign: str, opacity: float, colors: str) -> tuple:
    values, target = result.attribution.values, result.target
    method = METHODS[result.attribution.method]
    role = "the predicted class" if result.is_top1 else "not the predicted class"
    text = f"{method.title} for {target.category} ({format_percent(target.probability)}, {role})"
    text += f", {result.attribution.seconds:.1f} s."
    remarks = "".join(f" {remark}" for remark in result.attribution.remarks)
    scale = measure_scale(values, sign=sign)
    if result.attribution.is_flat or scale == 0:
        off = gr.update(interactive=False)
        return sentence_html(f"{text}{remarks} {_FLAT[sign]}", "bad"), off, off
    options = {"colormap": colors, "sign": sign, "scale": scale, "size": SIDE}
    overlay = render_overlay(result.pixels, values, opacity=opacity, **options)
    figures = (
        figure_html(draw_pixels(result.pixels), "What the network sees", "The picture at network input size")
        + figure_html(overlay, "Overlay; the line holds the strongest tenth", text)
        + figure_html(render_map(values, **options), "The map alone", text)
    )
    note = note_html(method.explanation) + notes_html(result.notes)
    bar = scale_html(scale) if sign == "signed" else scale_html(scale, colors=colors)
    files = (gr.update(value=str(path), interactive=True) for path in _write_files(services, result, overlay))
    return sentence_html(text + remarks) + Markup('<div class="triple">{}</div>').format(figures) + bar + note, *files


_FLAT = {
    "absolute": "The map is the same everywhere: this method finds no pixel that matters for this class.",
    "positive": "No pixel speaks for this class; choose another kind of evidence.",
    "negative": "No pixel speaks against this class; choose another kind of evidence.",
    "signed": "The map is the same everywhere: this method finds no pixel that matters for this class.",
}


def _write_files(services: Services, result: Explanation, overlay: np.ndarray) -> tuple[Path, Path]:
    from PIL import Image

    stem = f"{result.attribution.method}-{result.target.index}"
    picture, raw = services.new_file(f"{stem}.png"), services.new_file(f"{stem}.npy")
    Image.fromarray(overlay).save(picture)
    np.save(raw, result.attribution.values.numpy(), allow_pickle=False)
    return picture, raw


def _show_features(maps: Tensor, layer: str, page: int) -> Markup:
    num_pages = -(-len(maps) // MAPS_PER_PAGE)
    first = (min(max(page, 1), num_pages) - 1) * MAPS_PER_PAGE
    shown = maps[first : first + MAPS_PER_PAGE]
    limit = float(maps.abs().max())
    sign, colors = ("signed", "diverging") if float(maps.min()) < 0 else ("positive", "viridis")
    pictures = (
        (render_map(m[None], sign=sign, scale=limit or 1.0, size=MAP_SIDE, colormap="viridis"), f"{first + i}")
        for i, m in enumerate(shown)
    )
    size = " x ".join(map(str, maps.shape))
    text = f"{layer}: {size}. Channels {first} to {first + len(shown) - 1}, all on one colour scale."
    return sentence_html(text) + grid_html(pictures) + scale_html(limit, colors=colors)
