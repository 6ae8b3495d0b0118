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
from ui.shift.kept_result import KeptResult
from ui.widgets.chart import Chart
from ui.widgets.downloads import ResultFiles, name_file
from ui.widgets.errors import shows_errors, warn
from ui.widgets.events import HIDDEN, Update, Values, Work
from ui.widgets.html import empty_html, format_percent, note_html, notes_html, open_picture, sentence_html, table_html
from ui.workbench import Workbench

UPDATE_SECONDS = 0.7
"""A chart that is redrawn more often flickers."""
HEADINGS = ("model", "class without a shift", "kept at", "consistency", "all H×W")
CSV_COLUMNS = ("model", "boundary", "twin", "dx", "dy", "class", "probability", "margin", "near_tie")
EMPTY = (
    "Press a button: the picture is moved to every place up to the largest shift, and the map shows what the "
    "model makes of it there. Models chosen under “Compare with” get a map beside it, on the same scale. The "
    "circular twin, the same weights with padding that wraps around, follows all circular shifts in a single pass."
)
DEFINITION = (
    "Shift consistency = the probability that two different shifts, drawn at random from the map, give the same "
    "class: Σ n_c (n_c − 1) / (K (K − 1)), where n_c of the K shifts give class c."
)


def build_shift_map_panel(services: Services, bench: Workbench, controls: ShiftControls) -> KeptResult:
    """Lays out the panel and wires it."""
    return _ShiftMap(services, bench, controls).wire()


class _ShiftMap:
    def __init__(self, services: Services, bench: Workbench, controls: ShiftControls):
        self.services, self.bench, self.controls = services, bench, controls
        with gr.Row(elem_classes="controls"):
            self.reach = gr.Slider(
                1,
                MAX_SHIFT,
                8,
                step=1,
                label="Largest shift in pixels",
                info="At most a quarter of the network's input.",
                elem_id="map-reach",
                min_width=200,
            )
            self.color_by = gr.Dropdown(
                [(coloring.title, name) for name, coloring in COLORINGS.items()],
                value="probability",
                label="Colour shows",
                elem_id="map-color",
                min_width=180,
            )
            self.fast = gr.Checkbox(
                False, label="Fast preview", info="bfloat16, not for reporting", elem_id="map-fast", min_width=200
            )
        with gr.Row(elem_classes="controls"):
            self.start = gr.Button("Map all shifts", variant="primary", elem_id="map-start", min_width=150)
            self.all_shifts = gr.Button(
                "All circular shifts at once (circular twin)", elem_id="map-all", min_width=260
            )
        finding = gr.HTML(empty_html(EMPTY), elem_id="map-finding")
        self.plot = Chart(elem_id="map-plot", visible=False)
        gr.HTML(js_on_load=_CLICKS)
        self.png = gr.Button("Map (PNG)", size="sm", min_width=110, elem_id="map-png", render=False)
        self.files = ResultFiles(services, "map", {"csv": "Map (CSV)", "json": "Map (JSON)"}, first=self.png)
        self.kept = gr.State(())
        looks_at = [bench.model, bench.compare, controls.boundary, controls.padding]
        outputs = [finding, self.plot, *self.files.outputs, self.kept]
        self.result = KeptResult(services, bench, "shift-map", looks_at, outputs, self.clear, EMPTY)

    def wire(self) -> KeptResult:
        """Wires what happens."""
        shift = [self.controls.dx, self.controls.dy]
        self.result.wire_start(self.start, self.compute, {*shift, self.reach, self.color_by, self.fast})
        self.result.wire_start(self.all_shifts, self.compute_all, {*shift, self.reach, self.color_by})
        recolor: Work = {
            "fn": shows_errors(_recolor),
            "inputs": [self.kept, self.color_by, *shift],
            "outputs": self.plot,
        }
        self.color_by.input(**recolor, **HIDDEN)
        self.png.click(None, None, None, js=_SAVE_PNG)
        return self.result

    def compute(self, values: Values, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Iterator[tuple]:
        """Maps the shifts of one model after the other; the charts fill up as cells arrive."""
        done: list[PictureMap] = []
        shown_at = 0.0
        with self.result.act(values, request, progress) as action:
            picture = open_picture(self.services, self.bench.find_picture(values), action)
            names, reach = self.find_models(values)
            for name in names:
                parts = map_picture(
                    *(self.services.lab, picture, name, reach, values[self.controls.boundary]),
                    twin=values[self.controls.padding] == "circular",
                    fast_preview=values[self.fast],
                    progress=action.report("Moving the picture"),
                    loading=action.report("Downloading weights"),
                )
                for part in parts:
                    if time.monotonic() - shown_at > UPDATE_SECONDS and not part.map.is_complete:
                        yield self.show([*done, part], values, is_done=False)
                        shown_at = time.monotonic()
                done.append(part)
        yield self.show(done, values, is_done=True)

    def compute_all(self, values: Values, request: gr.Request, progress: gr.Progress = gr.Progress()) -> tuple:
        """Maps the circular twins, every shift at once."""
        maps, problems = [], []
        with self.result.act(values, request, progress) as action:
            picture = open_picture(self.services, self.bench.find_picture(values), action)
            names, reach = self.find_models(values)
            for name in names:
                try:
                    maps.append(
                        map_all_circular_shifts(
                            *(self.services.lab, picture, name, reach),
                            progress=action.report("Following all shifts at once"),
                            loading=action.report("Downloading weights"),
                        )
                    )
                except UserError as error:
                    problems.append(f"{name}: {error}")
        if not maps:
            raise UserError(" ".join(problems))
        for problem in problems:
            warn(problem)
        return self.show(maps, values, is_done=True)

    def find_models(self, values: Values) -> tuple[list[str], int]:
        """The models to map, and how far their pictures are moved."""
        names = self.bench.list_models(values)
        return names, min(int(values[self.reach]), find_limit(self.services.lab, *names))

    def show(self, maps: Sequence[PictureMap], values: Values, *, is_done: bool) -> tuple:
        """The values of the outputs; files are only made of what is done, and no preview."""
        marked = values[self.controls.dx], values[self.controls.dy]
        figure = plot_shift_maps([_to_panel(shown) for shown in maps], values[self.color_by], marked)
        chart = gr.update(value=figure, visible=True, elem_classes=[f"maps-{min(len(maps), MAX_COLUMNS)}"])
        offered = self.files.withdraw()
        if is_done and not any(shown.map.is_preview for shown in maps):
            sheet = to_csv(CSV_COLUMNS, _list_cells(maps))
            names = (shown.model.name for shown in maps)
            stem = name_file("shift-map", self.bench.name_picture(values), *names)
            offered = self.files.offer(stem, csv=sheet, json=[shown.to_json() for shown in maps])
        return _describe(maps, is_done), chart, *offered, tuple(maps), self.result.find_subject(values)

    def clear(self, message: str) -> tuple:
        """The values of the outputs where there is no map."""
        return empty_html(message), gr.update(value=None, visible=False), *self.files.withdraw(), ()


def _recolor(maps: tuple[PictureMap, ...], color_by: str, dx: float, dy: float) -> Update:
    """Draws the maps at hand again."""
    if not maps:
        return gr.skip()
    return gr.update(value=plot_shift_maps([_to_panel(shown) for shown in maps], color_by, (dx, dy)))


def _to_panel(shown: PictureMap) -> Panel:
    return Panel(shown.model.name, shown.map, shown.model.categories, shown.stride)


def _describe(maps: Sequence[PictureMap], is_done: bool) -> Markup:
    """The finding in words, and a table of the models."""
    first = maps[0]
    text = (
        f"Up to {first.map.distances[-1]} px in every direction, {first.model.name} keeps {first.category} at "
        f"{format_percent(first.map.share_kept)} of the shifts; "
        f"shift consistency {format_percent(first.map.consistency, 1)}."
    )
    if not is_done:
        done, total = int(maps[-1].map.is_computed.sum()), maps[-1].map.is_computed.numel()
        text = (
            f"{maps[-1].model.name}: {done} of {total} shifts so far. The colours between them are their neighbours'."
        )
    rows = (
        (
            *(m.model.name, m.category, format_percent(m.map.share_kept)),
            *("" if share is None else format_percent(share, 1) for share in (m.map.consistency, m.all_shifts)),
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
                category = shown.model.categories[int(index)]
                rules = [shown.model.name, shown.boundary, shown.is_twin]
                yield [*rules, dx, dy, category, float(f"{probability:.6g}"), float(f"{margin:.6g}"), tie]


# Plotly's own click, on whichever chart is in the panel: gradio replaces the chart whenever it changes. The stage
# shows the shift; on the keyboard, the arrows move it while the chart has the focus.
_CLICKS = """
let hadFocus = false;  // the chart that is replaced takes the focus away with it
document.addEventListener("focusin", (event) => { hadFocus = !!event.target.closest("#map-plot"); });
const listen = () => {
    const chart = document.querySelector("#map-plot .js-plotly-plot");
    if (!chart || chart.dataset.heard || !chart.on) return;
    chart.dataset.heard = "yes";
    chart.tabIndex = 0;
    if (hadFocus) chart.focus({preventScroll: true});
    chart.setAttribute("role", "group");
    chart.setAttribute("aria-label", "Map of all shifts; click a cell, or use the arrow keys, to show that shift");
    chart.on("plotly_click", (event) => {
        const point = event.points.find((candidate) => candidate.data.type === "heatmap");
        if (point) window.convscopeMoveTo(point.x, point.y);
    });
};
const steps = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
document.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step || !event.target.closest("#map-plot")) return;
    event.preventDefault();
    const [dx, dy] = window.convscopeShift().map(Math.round);
    window.convscopeMoveTo(dx + step[0], dy + step[1]);
});
document.addEventListener("shift-moved", ({detail: [dx, dy]}) => {
    const chart = document.querySelector("#map-plot .js-plotly-plot");
    const shown = chart?.data?.findIndex((trace) => trace.name === "shown") ?? -1;
    if (shown >= 0) window.Plotly?.restyle(chart, {x: [[dx]], y: [[dy]]}, [shown]);
});
new MutationObserver(listen).observe(document.body, {childList: true, subtree: true});
listen();
"""
# The chart, and plotly with it, may still be on its way when the button is pressed.
_SAVE_PNG = """async () => {
    for (let tries = 0; tries < 100; tries += 1) {
        const chart = document.querySelector("#map-plot .js-plotly-plot");
        if (chart && window.Plotly) {
            const sample = document.querySelector("#samples [aria-pressed=true]")?.dataset.name ?? "picture";
            const models = chart.layout.annotations.map(({text}) => text.replace(/[^\\w.-]+/g, "_"));
            const filename = ["shift-map", sample, ...models].join("-");
            await window.Plotly.downloadImage(chart, {format: "png", filename, scale: 2});
            return;
        }
        await new Promise((resolve) => setTimeout(resolve, 200));
    }
}"""
