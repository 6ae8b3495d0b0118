"""The layer meter: how well every layer moves along with the picture, and what keeps it from it."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from itertools import pairwise

import gradio as gr
from markupsafe import Markup

from analysis.equivariance.align import ROUNDING
from analysis.equivariance.causes import CAUSES, NO_ERROR
from analysis.equivariance.meter import ALIKE, LayerMeter, count_notes
from analysis.equivariance.own_error import OwnError
from analysis.figures.shift import plot_meter
from lab.results import MeterReading
from lab.shifts import measure_picture
from lab.spreadsheet import to_csv
from ui.services import Services
from ui.shift.controls import ShiftControls
from ui.shift.kept_result import KeptResult
from ui.widgets.chart import Chart
from ui.widgets.downloads import ResultFiles, name_file
from ui.widgets.events import Values
from ui.widgets.html import (
    describe_shift,
    empty_html,
    format_percent,
    note_html,
    notes_html,
    open_picture,
    row_html,
    sentence_html,
    table_html,
)
from ui.workbench import Workbench

EMPTY = (
    "Press the button: every layer is asked how well its maps move along with the picture at the shift chosen above "
    "(equivariance), what error it brings in of its own, and whether its stride, its padding or new content at the "
    "border is to blame."
)
UNMOVED = (
    "Nothing has moved: at the shift 0, 0 every layer gives the same maps as before, and every error is 0. Move the "
    "picture first, by dragging it or with the sliders dx and dy; then press the button."
)
COLUMNS = {
    "name": ("layer", "", "{}"),
    "own": ("own error", "What the layer brings in itself: only its own input moves, by whole cells", "{:.2g}"),
    "own_cause": ("because of", "What makes the own error", "{}"),
    "error": ("error", "Of all layers up to here: aligned relative error, channels centred", "{:.2g}"),
    "cause": ("main cause", "Whichever of the three errors on the right is largest", "{}"),
    "stride_error": ("by stride", "What strides alone do, where cells see nothing but the picture", "{:.2g}"),
    "padding_error": ("by padding", "What padding adds, against real surroundings in its place", "{:.2g}"),
    "new_content_error": ("by new content", "What invented pixels add, against real ones", "{:.2g}"),
    "stride": ("stride", "Input pixels per cell", "{}"),
    "receptive_field": ("sees, px", "Side of the receptive field in input pixels", "{}"),
    "valid_fraction": ("valid", "Cells that see neither padding nor invented pixels", "{:.0%}"),
    "unaligned": ("unaligned", "The error if the maps were not expected to move", "{:.2g}"),
    "skill": ("skill", "1 - error / unaligned: the part of the change that is motion", "{:.2f}"),
    "cosine": ("cosine", "Between the centred maps", "{:.3f}"),
    "phase_spread": (
        "phase spread",
        "How much pooled features depend on the phase, against other pictures",
        "{:.2g}",
    ),
}
"""What a row says -> heading, explanation, format; from the eleventh on only where all are asked for."""
TWO_SHIFTS = (
    "Lines: the error of all layers up to there. A layer of stride s has cells of s × s pixels, so its maps can "
    "follow a shift by s pixels exactly (by one cell: in phase), but one by 1 px only in between (out of phase). "
    "In phase strides do nothing, so that an error there comes from padding or new content; out of phase they add "
    "theirs. Bars: the own error of the layer alone; colour and pattern say what makes it. Names are shown at the "
    "pointer."
)
LARGER = (
    "Marked “> error”: a cause that does more by itself than all together. Causes can work against each other, as "
    "when black pixels move in where black padding was; and what strides do is taken only over the cells that see "
    "nothing but the picture, which may have more error than the others."
)
ALL_COLUMNS = Markup('<label><input type="checkbox" class="all-columns"> All columns</label>')


def build_layer_meter_panel(services: Services, bench: Workbench, controls: ShiftControls) -> KeptResult:
    """Lays out the panel and wires it."""
    with gr.Row(elem_classes="controls"):
        start = gr.Button("Measure every layer", variant="primary", elem_id="meter-start", min_width=230, scale=0)
    finding = gr.HTML(empty_html(EMPTY), elem_id="meter-finding")
    plot = Chart(elem_id="meter-plot", visible=False)
    rows = gr.HTML(elem_id="meter-table", js_on_load=_FOLLOW)
    files = ResultFiles(services, "meter", {"csv": "Layers (CSV)", "json": "Layers (JSON)"})

    def clear(message: str) -> tuple:
        return empty_html(message), gr.update(value=None, visible=False), "", *files.withdraw()

    dx, dy, boundary, padding = controls.dx, controls.dy, controls.boundary, controls.padding
    looks_at = [bench.model, dx, dy, boundary, padding]
    result = KeptResult(services, bench, "layer-meter", looks_at, [finding, plot, rows, *files.outputs], clear, EMPTY)

    def measure(values: Values, request: gr.Request, progress: gr.Progress = gr.Progress()) -> tuple:
        """Measures every layer at the shift of the controls."""
        if not (values[dx] or values[dy]):
            said = Markup('<div data-shift="0,0">{}</div>').format(empty_html(UNMOVED))  # until the picture moves
            return said, *clear("")[1:], result.find_subject(values)
        with result.act(values, request, progress) as action:
            reading = measure_picture(
                services.lab,
                open_picture(services, bench.find_picture(values), action),
                values[bench.model],
                *(float(values[dx]), float(values[dy]), values[boundary]),
                twin=values[padding] == "circular",
                progress=action.report("Measuring layers"),
                loading=action.report("Downloading weights"),
            )
        found = {own.name: own.find(reading.dx, reading.dy) for own in reading.own}
        figure = gr.update(value=plot_meter(reading.layers, reading.phases, found), visible=True)
        stem = name_file("layer-meter", bench.name_picture(values), reading.model.name)
        offered = files.offer(stem, csv=_write_csv(reading), json=reading.to_json())
        return _describe(reading), figure, _show_rows(reading), *offered, result.find_subject(values)

    result.wire_start(start, measure, set())
    return result


def _describe(reading: MeterReading) -> Markup:
    measured = [meter for meter in reading.layers if meter.error is not None]
    where = describe_shift(reading.dx, reading.dy)
    if not measured:
        return empty_html(f"{where}: {reading.model.name} has no layer that can be compared.")
    last = measured[-1]
    known = [meter.cause for meter in measured if meter.cause is not None]
    causes = [cause for cause in known if cause != "none"]
    most, others = _describe_own(reading)
    text = f"{where}: {most} With all layers together, the error at the last one, {last.name}, is {last.error:.2g}."
    rest = others + _describe_rise(reading, measured)
    if last.skill is not None:
        share = format_percent(max(last.skill, 0.0), 0)
        rest += f" Of how the maps of {last.name} change, moving them along explains {share}."
    if causes:
        cause = max(set(causes), key=causes.count)
        layers = f"{len(known)} layers" + ("" if len(known) == len(measured) else " whose causes are measured")
        rest += f" In {causes.count(cause)} of {layers} the largest cause is {cause}."
    network = "The circular twin: every padded operation wraps around. " if reading.is_twin else ""
    note = (
        f"{network}Own error: the layer gets the input that the network makes of this picture, moved by one of its "
        "cells, and its output is compared with what it was, moved along; nothing before it counts. Errors are "
        "relative to maps whose channels are centred on their mean over the samples. "
        "0 is perfect equivariance; about 1.4 is what two unrelated pictures show."
    )
    html = Markup('<div data-shift="{:g},{:g}">{}{}{}{}</div>')
    parts = sentence_html(text), note_html(rest), note_html(note), notes_html(reading.notes)
    return html.format(reading.dx, reading.dy, *parts)


def _describe_own(reading: MeterReading) -> tuple[str, str]:
    """Which layer does most by itself at this shift, and why; which ones come next."""
    ranking = reading.rank_own()
    if not ranking:
        return "no layer brings in an error of its own.", ""
    (most, error, cause), *others = ranking
    distance = most.find_distance(reading.dx, reading.dy)
    text = (
        f"{most.name} brings in the most error of its own, {error:.2g} when its input alone moves by {distance} px, "
        f"because {most.explain(cause)}."
    )
    names = [f"{own.name} with {size:.2g}" + (f" ({why})" if why else "") for own, size, why in others[:3]]
    more = f"Then come {', '.join(names)}. " if names else ""
    num_unknown = sum(own.error is None for own in reading.own)
    if num_unknown:
        more += f"Of {num_unknown} of {len(reading.own)} layers the own error is not known. "
    return text, more


def _describe_rise(reading: MeterReading, meters: Sequence[LayerMeter]) -> str:
    """Where the error grows most on the way down the network, and how much of that is the layer's own."""
    errors = [meter.error or 0.0 for meter in meters]
    rises = [error - before for before, error in pairwise([0.0, *errors])]
    place = rises.index(max(rises))
    if rises[place] < NO_ERROR:
        return ""
    name, cause = meters[place].name, meters[place].cause
    why = "" if cause in (None, "none") else f"; of the causes up to there, {cause} weighs most"
    own = {each.name: each.find(reading.dx, reading.dy) for each in reading.own}.get(name, (None, None))
    if own[1] == "none":
        why += ". It adds nothing of its own: what comes in from before weighs more in its maps"
    elif own[0] is not None:
        why += f". Its own error is {own[0]:.2g}; the rest comes in from before"
    return (
        f"All layers together: the error grows most at {name}, from {errors[place] - rises[place]:.2g} to "
        f"{errors[place]:.2g}{why}."
    )


def _show_rows(reading: MeterReading) -> Markup:
    head = (Markup('<th title="{}">{}</th>').format(hint, title) for title, hint, _ in COLUMNS.values())
    found = {own.name: own.find(reading.dx, reading.dy) for own in reading.own}
    rows, is_any_larger = [], False
    for meter in reading.layers:
        own, why = found.get(meter.name, (None, None))
        # Rounding alone is no error, and has no cause.
        said = {"own": 0.0 if why == "none" else own, "own_cause": "" if why == "none" else why}
        values = asdict(meter) | said
        values |= {name: 0.0 for name in CAUSES.values() if 0 < (values[name] or 0.0) < ROUNDING}
        cells = {name: _format(values[name], form) for name, (_, _, form) in COLUMNS.items()}
        for name in CAUSES.values():
            if (meter.error or 0.0) * (1 + ALIKE) + ROUNDING < (values[name] or 0.0):
                is_any_larger = True
                cells[name] = Markup('{} <small title="{}">> error</small>').format(cells[name], meter.note)
        marks = Markup(' title="{}" data-row="{}"').format(meter.note, meter.name)
        rows.append(row_html(cells.values(), marks))
    above = notes_html([TWO_SHIFTS, *[LARGER] * is_any_larger])
    return above + ALL_COLUMNS + table_html(head, rows, "All layers") + notes_html(count_notes(reading.layers))


def _format(value: object, form: str) -> str:
    return "–" if value is None else form.format(value)


def _write_csv(reading: MeterReading) -> str:
    rules = {"model": reading.model.name, "dx": reading.dx, "dy": reading.dy}
    rules |= {"boundary": reading.boundary, "twin": reading.is_twin}
    own = {each.name: {f"own_{name}": value for name, value in asdict(each).items()} for each in reading.own}
    columns = [field.name for field in fields(LayerMeter)]
    columns = [*rules, *columns, *(f"own_{field.name}" for field in fields(OwnError) if field.name != "name")]
    rows = ({**own.get(meter.name, {}), **rules, **asdict(meter)} for meter in reading.layers)
    return to_csv(columns, rows)


# The row of the layer that is chosen in the picture of the network is marked, and a click on a row chooses its layer.
_FOLLOW = """
let chosen = null;
const mark = () => {
    for (const row of element.querySelectorAll("tr[data-row]")) {
        row.classList.toggle("chosen", row.dataset.row === chosen);
        if (row.dataset.row === chosen) row.closest(".scrolled").scrollTop = row.offsetTop - 60;
    }
};
document.addEventListener("layer-chosen", ({detail}) => {
    if (detail.network === "shift-network") { chosen = detail.layer; mark(); }
});
element.addEventListener("click", (event) => {
    const detail = event.target.closest("tr[data-row]")?.dataset.row;
    if (detail) document.getElementById("shift-network")?.dispatchEvent(new CustomEvent("choose-layer", {detail}));
});
watch("value", mark);
"""
