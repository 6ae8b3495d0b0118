"""The map of all shifts: what the class does wherever the picture moves, for one model or several."""

import time
from collections.abc import Iterator, Sequence

import gradio as gr
from markupsafe import Markup

from analysis.errors import UserError
from analysis.figures.shift import COLORINGS, MAX_COLUMNS, Panel, plot_shift_maps
from analysis.shift.move import BOUNDARIES
from lab.results import PictureMap
from lab.shifts import MAX_SHIFT, map_all_circular_shifts, map_picture
from lab.spreadsheet import to_csv
from ui.services import Services
from ui.shift.controls import ShiftControls, find_limit
from ui.widgets.downloads import ResultFiles
from ui.widgets.errors import clears_on_errors, shows_errors, warn
from ui.widgets.html import empty_html, format_percent, note_html, notes_html, open_picture, sentence_html, table_html
from ui.workbench import Workbench

VIEW = "shift-map"
UPDATE_SECONDS = 0.7
"""A chart that is redrawn more often flickers."""
HEADINGS = ("model", "class without a shift", "kept at", "consistency", "all H×W")
CSV_COLUMNS = ("model", "boundary", "twin", "dx", "dy", "class", "probability", "margin", "near_tie")
EMPTY = (
    "Press a button: the picture is moved to every place up to the largest shift, and the map shows what the "
    "model makes of it there. Models chosen under “Compare with” get a map beside it, on the same scale."
)
DEFINITION = (
    "Shift consistency = the probability that two different shifts, drawn at random from the map, give the same "
    "class: Σ n_c (n_c − 1) / (K (K − 1)), where n_c of the K shifts give class c."
)


def build_shift_map_panel(services: Services, bench: Workbench, controls: ShiftControls, load: dict) -> None:
    """Lays out the panel and wires it.

    Args:
        services: The lab and what goes with it.
        bench: The sidebar.
        controls: Of the Shift tab.
        load: The event listener (as keyword arguments) that shows the shift of the controls.
    """
    with gr.Row(elem_classes="controls"):
        reach = gr.Slider(
            1,
            MAX_SHIFT,
            8,
            step=1,
            label="Largest shift in pixels",
            info="At most a quarter of the network's input.",
            elem_id="map-reach",
            min_width=200,
        )
        color_by = gr.Dropdown(
            [(coloring.title, name) for name, coloring in COLORINGS.items()],
            value="probability",
            label="Colour shows",
            elem_id="map-color",
            min_width=180,
        )
        fast = gr.Checkbox(
            False, label="Fast preview", info="bfloat16, not for reporting", elem_id="map-fast", min_width=200
        )
    with gr.Row(elem_classes="controls"):
        start = gr.Button("Map all shifts", variant="primary", elem_id="map-start", min_width=150)
        all_shifts = gr.Button("All circular shifts at once (circular twin)", elem_id="map-all", min_width=260)
    finding = gr.HTML(empty_html(EMPTY), elem_id="map-finding")
    plot = gr.Plot(show_label=False, elem_id="map-plot", visible=False)
    gr.HTML(js_on_load=_CLICKS)
    picked = gr.Button("Show the chosen shift", elem_id="map-load", elem_classes="beyond-view")
    png = gr.Button("Map (PNG)", size="sm", min_width=110, elem_id="map-png", render=False)
    files = ResultFiles(services, "map", {"csv": "Map (CSV)", "json": "Map (JSON)"}, first=png)
    kept, about = gr.State(()), gr.State(None)
    outputs = [finding, plot, *files.outputs, kept, about]

    def show(maps, color_by, marked, subject, *, is_done: bool) -> tuple:
        has_files = is_done and not any(shown.map.is_preview for shown in maps)
        figure = plot_shift_maps([_to_panel(shown) for shown in maps], color_by, marked)
        shape = f"maps-{min(len(maps), MAX_COLUMNS)}"
        chart = gr.update(value=figure, visible=True, elem_classes=[shape])
        offered = files.withdraw()
        if has_files:
            sheet = to_csv(CSV_COLUMNS, _list_cells(maps))
            offered = files.offer("shift-map", csv=sheet, json=[shown.to_json() for shown in maps])
        return _describe(maps, is_done), chart, *offered, tuple(maps), subject

    def clear(message: str) -> tuple:
        return empty_html(message), gr.update(value=None, visible=False), *files.withdraw(), (), None

    @clears_on_errors(clear)
    def compute(
        image,
        model,
        compare,
        dx,
        dy,
        boundary,
        padding,
        reach,
        color_by,
        fast,
        request: gr.Request,
        progress=gr.Progress(),
    ):
        """Maps the shifts of one model after the other; the charts fill up as cells arrive."""
        subject = _subject(image, model, compare, boundary, padding)
        picture = open_picture(services, image, request, progress)
        maps: list[PictureMap] = []
        shown_at = 0.0
        with (
            services.watch(request, progress, "Moving the picture", VIEW, subject=subject) as report,
            services.watch(request, progress, "Downloading weights") as loading,
        ):
            names = list(dict.fromkeys([model, *(compare or [])]))
            reach = min(int(reach), find_limit(services.lab, *names))
            for name in names:
                maps.append(None)
                settings = {"twin": padding == "circular", "fast_preview": fast}
                for part in map_picture(
                    services.lab, picture, name, reach, boundary, **settings, progress=report, loading=loading
                ):
                    maps[-1] = part
                    if time.monotonic() - shown_at > UPDATE_SECONDS and not part.map.is_complete:
                        yield show(maps, color_by, (dx, dy), subject, is_done=False)
                        shown_at = time.monotonic()
        yield show(maps, color_by, (dx, dy), subject, is_done=True)

    @clears_on_errors(clear)
    def compute_all(
        image,
        model,
        compare,
        dx,
        dy,
        boundary,
        padding,
        reach,
        color_by,
        request: gr.Request,
        progress=gr.Progress(),
    ) -> tuple:
        """Maps the circular twins, every shift at once."""
        subject = _subject(image, model, compare, boundary, padding)
        picture = open_picture(services, image, request, progress)
        maps, problems = [], []
        with (
            services.watch(request, progress, "Following all shifts at once", VIEW, subject=subject) as report,
            services.watch(request, progress, "Downloading weights") as loading,
        ):
            names = list(dict.fromkeys([model, *(compare or [])]))
            reach = min(int(reach), find_limit(services.lab, *names))
            for name in names:
                try:
                    maps.append(
                        map_all_circular_shifts(services.lab, picture, name, reach, progress=report, loading=loading)
                    )
                except UserError as error:
                    problems.append(f"{name}: {error}")
        if not maps:
            raise UserError(" ".join(problems))
        for problem in problems:
            warn(problem)
        return show(maps, color_by, (dx, dy), subject, is_done=True)

    @shows_errors
    def recolor(maps, color_by, dx, dy):
        """Draws the maps at hand again."""
        if not maps:
            return gr.skip()
        return gr.update(value=plot_shift_maps([_to_panel(shown) for shown in maps], color_by, (dx, dy)))

    def forget(image, model, compare, boundary, padding, about, request: gr.Request):
        """Clears a map that no longer belongs to what is chosen."""
        subject = _subject(image, model, compare, boundary, padding)
        services.supersede(request, VIEW, subject)
        return gr.skip() if about in (None, subject) else clear(EMPTY)

    private = {"api_visibility": "private"}
    chosen = [bench.image, bench.model, bench.compare, controls.dx, controls.dy, controls.boundary, controls.padding]
    start.click(compute, [*chosen, reach, color_by, fast], outputs, **private)
    all_shifts.click(compute_all, [*chosen, reach, color_by], outputs, **private)
    color_by.input(recolor, [kept, color_by, controls.dx, controls.dy], plot, show_progress="hidden", **private)
    png.click(None, None, None, js=_SAVE_PNG)
    picked.click(None, None, [controls.dx, controls.dy], js="() => window.convscopeShift").then(**load).then(
        recolor, [kept, color_by, controls.dx, controls.dy], plot, show_progress="hidden", **private
    )
    changes = [component.change for component in (bench.image, bench.model, bench.compare)]
    changes += [controls.boundary.input, controls.padding.input]
    looks_at = [bench.image, bench.model, bench.compare, controls.boundary, controls.padding, about]
    gr.on(changes, forget, looks_at, outputs, show_progress="hidden", **private)


def _subject(image, model, compare, boundary, padding) -> tuple:
    """What a map is about: it is stale once one of these changes."""
    return image, model, tuple(compare or ()), boundary, padding


def _to_panel(shown: PictureMap) -> Panel:
    return Panel(shown.model.name, shown.map, shown.model.categories, shown.stride)


def _describe(maps: Sequence[PictureMap], is_done: bool) -> Markup:
    """The finding in words, and a table of the models."""
    first = maps[0]
    text = (
        f"Up to {first.map.distances[-1]} px in every direction, {first.model.name} keeps {first.category} at "
        f"{format_percent(first.map.share_kept)} of the shifts; shift consistency {first.map.consistency:.1%}."
    )
    if not is_done:
        done, total = int(maps[-1].map.is_computed.sum()), maps[-1].map.is_computed.numel()
        text = (
            f"{maps[-1].model.name}: {done} of {total} shifts so far. The colours between them are their neighbours'."
        )
    rows = (
        (
            *(m.model.name, m.category, format_percent(m.map.share_kept)),
            *(f"{m.map.consistency:.1%}", "" if m.all_shifts is None else f"{m.all_shifts:.1%}"),
        )
        for m in maps
    )
    rule = BOUNDARIES[first.boundary]
    network = "Circular twins: every padded operation wraps around. " if first.is_twin else ""
    ties = max(float(m.map.is_tie.double().mean()) for m in maps)
    tied = f"{format_percent(ties)} of the shifts are near-ties, which count as no change. " if ties else ""
    preview = Markup("<strong>Fast preview in bfloat16: not for reporting.</strong> ") if first.map.is_preview else ""
    note = (
        f"{tied}{network}{rule.title}: {rule.explanation} Red lines: another class. Dotted: whole cells of "
        f"the deepest layer (stride {first.stride}). Click a cell to show that shift above. {DEFINITION}"
    )
    remarks = notes_html(dict.fromkeys(note for m in maps for note in m.notes))
    return sentence_html(text) + table_html(HEADINGS, rows) + note_html(preview + note) + remarks


def _list_cells(maps: Sequence[PictureMap]) -> Iterator[list]:
    """A row of the CSV for each shift of each map."""
    for shown in maps:
        arrays = (shown.map.top1, shown.map.probability, shown.map.margin, shown.map.is_tie)
        for i, dy in enumerate(shown.map.distances):
            for j, dx in enumerate(shown.map.distances):
                index, probability, margin, tie = (array[i, j].item() for array in arrays)
                category = shown.model.categories[index]
                rules = [shown.model.name, shown.boundary, shown.is_twin]
                yield [*rules, dx, dy, category, float(f"{probability:.6g}"), float(f"{margin:.6g}"), tie]


# Plotly's own click, on whichever chart is in the panel: gradio replaces the chart whenever it changes. On the
# keyboard, the arrows move the shift that is shown while the chart has the focus.
_CLICKS = """
const load = (dx, dy) => {
    window.convscopeShift = [dx, dy];
    document.getElementById("map-load").click();
};
let hadFocus = false;  // the chart that is replaced takes the focus away with it
document.addEventListener("focusin", (event) => { hadFocus = !!event.target.closest("#map-plot"); });
const listen = () => {
    const chart = document.querySelector("#map-plot .js-plotly-plot");
    if (!chart || chart.dataset.heard || !chart.on) return;
    chart.dataset.heard = "yes";
    document.getElementById("map-load").tabIndex = -1;
    chart.tabIndex = 0;
    if (hadFocus) chart.focus({preventScroll: true});
    chart.setAttribute("role", "group");
    chart.setAttribute("aria-label", "Map of all shifts; click a cell, or use the arrow keys, to show that shift");
    chart.on("plotly_click", (event) => {
        const point = event.points.find((candidate) => candidate.data.type === "heatmap");
        if (point) load(point.x, point.y);
    });
};
const steps = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
document.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step || !event.target.closest("#map-plot")) return;
    event.preventDefault();
    const value = (axis) => Number(document.querySelector(`#shift-${axis} input[type=range]`).value);
    load(Math.round(value("dx")) + step[0], Math.round(value("dy")) + step[1]);
});
new MutationObserver(listen).observe(document.body, {childList: true, subtree: true});
listen();
"""
# The chart, and plotly with it, may still be on its way when the button is pressed.
_SAVE_PNG = """async () => {
    for (let tries = 0; tries < 100; tries += 1) {
        const chart = document.querySelector("#map-plot .js-plotly-plot");
        if (chart && window.Plotly) {
            await window.Plotly.downloadImage(chart, {format: "png", filename: "shift-map", scale: 2});
            return;
        }
        await new Promise((resolve) => setTimeout(resolve, 200));
    }
}"""
