"""Matched arms: networks that differ in one thing, trained on the same data with the same seeds, side by side."""

from collections.abc import Callable, Sequence
from pathlib import Path

import gradio as gr
from markupsafe import Markup

from analysis.errors import UserError
from analysis.figures.curves import read_number
from analysis.figures.training import plot_seed_bands
from lab.comparisons.claims import PRESETS, configure_preset
from lab.comparisons.config import ArmsConfig
from lab.comparisons.report import MEASURES, QUESTIONS, write_csv
from lab.comparisons.variations import VARIATIONS, find_question, vary
from lab.documents import read_document
from models.data.datasets import DATASETS
from models.runs.run import UNFINISHED, Run
from models.training.config import TrainingConfig
from ui.services import Services
from ui.widgets.downloads import ResultFiles
from ui.widgets.errors import answers_errors, shows_errors
from ui.widgets.html import empty_html, explain_this, format_count, note_html, sentence_html, table_html
from ui.widgets.job_view import JobView, build_job_view

OWN = "own"
MAX_SEEDS = 5
PLOTS = {"val_accuracy": "arms-validation", "train_accuracy": "arms-training"}
"""Measure of a chart -> its elem_id."""
ALWAYS = ("val_accuracy", "test_accuracy", "train_accuracy", "gap", "steps", "seconds")
"""Columns of the table; others where they were measured."""
BOUNDS = ("at least", "at most")
EMPTY = (
    "No comparison yet. Choose a claim, or choose what to vary, and start: each arm is trained with several seeds, "
    "and curves, a table with intervals and a verdict appear here."
)
EXPLANATION = """
All **arms** of a seed see the same pictures in the same order and begin with the same random numbers; only what is
compared differs. Another **seed** draws everything anew: the split, the order, the first weights. So a difference is
taken seed by seed, and its 95 % interval (Student's t) says what these seeds can show and what may be chance: with
one seed there is none, with three it is wide. The bands in the charts reach from the lowest seed to the highest.
**Training accuracy** in the table is measured after the training on pictures as they are, without dropout; in the
chart it is the running mean of the training itself. The **gap** is training minus validation accuracy. **Steps**
count until an arm has the accuracy that all arms of that seed come to. They are found by validation within the epochs
on at most 1,000 pictures, which the chart shows, and lie between two measurements: that distance is part of the
interval. A dash: an arm does not come clearly above guessing. "At most": it had the accuracy when first measured.
**Shift consistency** is the share of pairs of shifts (up to 3 pixels each way) that get the same answer.
"""


def build_arms_panel(
    services: Services, base_config: Callable[..., TrainingConfig], form: Sequence[gr.components.Component]
) -> JobView:
    """Lays out the panel and wires it.

    Args:
        services: The lab and what goes with it.
        base_config: Makes what all arms share from the values of the page's form; may raise UserError.
        form: The components of these values.
    """
    with gr.Row(elem_classes="controls"):
        presets = [(preset.title, name) for name, preset in PRESETS.items()]
        preset = gr.Dropdown(
            [*presets, ("What I choose to vary", OWN)],
            value=next(iter(PRESETS)),
            label="Compare",
            elem_id="arms-preset",
            min_width=300,
            scale=3,
        )
        seeds = gr.Slider(1, MAX_SEEDS, ArmsConfig.seeds, step=1, label="Seeds", elem_id="arms-seeds", min_width=160)
        on_form = gr.Checkbox(
            False,
            label="Use the data of “Single run”",
            info="Instead of the claim's own",
            elem_id="arms-on-form",
            min_width=220,
        )
    with gr.Row(visible=False, elem_classes="controls") as own:
        names = [(variation.title, name) for name, variation in VARIATIONS.items()]
        varied = gr.Dropdown(names, value="dropout", label="What to vary", elem_id="arms-vary", min_width=220)
        values = gr.Dropdown(
            [],
            value=[],
            multiselect=True,
            allow_custom_value=True,
            label="Values",
            info="The first is what the others are compared with; type others",
            elem_id="arms-values",
            min_width=260,
            scale=2,
        )
        shifts = gr.Checkbox(
            False,
            label="Test on moved pictures",
            info="Up to 3 pixels each way",
            elem_id="arms-shifts",
            min_width=220,
        )
    note = gr.HTML(_describe_preset(next(iter(PRESETS))), elem_id="arms-note")
    with gr.Row(elem_classes="controls"):
        start = gr.Button("Start the comparison", variant="primary", elem_id="arms-start", min_width=280, scale=0)
    view = build_job_view(services, "arms", EMPTY, lambda: _build_result(services))
    explain_this(EXPLANATION)

    def choose(name):
        """Shows the claim, or what can be varied."""
        is_own = name == OWN
        text = gr.skip() if is_own else _describe_preset(name)  # what can be varied says more
        return gr.update(visible=is_own), gr.update(visible=not is_own), text

    @answers_errors(lambda message: (gr.update(choices=[], value=[]), gr.update(), empty_html(message)))
    def fit(name, chosen, *settings):
        """Offers the values that the chosen network can have, or says why there are none."""
        if name != OWN:
            return gr.skip(), gr.skip(), gr.skip()
        variation, base = VARIATIONS[chosen], base_config(*settings)
        if obstacle := variation.obstacle(base):
            raise UserError(f"{variation.title} cannot be varied here: {obstacle}")
        texts = list(variation.suggest(base))
        return gr.update(choices=texts, value=texts), variation.shifts, _describe_variation(chosen, variation.shifts)

    def restate(chosen, shifts, values):
        """Says what decides now; where there is nothing to start, the note says why."""
        return _describe_variation(chosen, shifts) if values else gr.skip()

    @shows_errors
    def begin(name, seeds, on_form, varied, values, shifts, *settings):
        """Starts the comparison in the background."""
        place = {
            "data_root": str(services.lab.data_root),
            "device": services.lab.models.device.type,
        }
        if name == OWN:
            config = vary(base_config(*settings), varied, values, int(seeds), shifts=bool(shifts))
        else:
            data = _find_data(base_config(*settings)) if on_form else {}
            config = configure_preset(name, int(seeds), {**place, **data})
        title = f"arms-{varied if name == OWN else name}"
        is_file = config.dataset not in DATASETS and Path(config.dataset).is_file()  # an upload, which may vanish
        run = services.jobs.start_program("arms", config.to_dict(), title, "dataset" if is_file else None)
        return gr.update(choices=view.choices(), value=run)

    quick = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    preset.change(choose, preset, [own, on_form, note], **quick)
    shifts.input(restate, [varied, shifts, values], note, **quick)
    gr.on([preset.change, varied.change], fit, [preset, varied, *form], [values, shifts, note], **quick)
    start.click(begin, [preset, seeds, on_form, varied, values, shifts, *form], view.run, api_visibility="private")
    return view


def _find_data(base: TrainingConfig) -> dict:
    """What the form says about the data."""
    return {"dataset": base.dataset, "image_size": base.image_size, "shapes": base.shapes}


def _describe_preset(name: str) -> Markup:
    preset = PRESETS[name]
    minutes = (
        "half a minute" if preset.minutes < 1 else f"{preset.minutes:g} minute{'s' if preset.minutes != 1 else ''}"
    )
    time = f"About {minutes} on two cores with {preset.seeds} seeds."
    return note_html(" ".join(filter(None, [preset.claim, preset.note, time])))


def _describe_variation(name: str, shifts: bool) -> Markup:
    question = QUESTIONS[find_question(VARIATIONS[name], shifts)].title.lower()
    return note_html(f"The other settings are those of “Single run”. The verdict is about: {question}.")


def _build_result(services: Services):
    finding = gr.HTML(elem_id="arms-finding")
    with gr.Row():
        plots = [
            gr.Plot(show_label=False, visible=False, elem_id=elem_id, min_width=300) for elem_id in PLOTS.values()
        ]
    table = gr.HTML(elem_id="arms-table")
    files = ResultFiles(services, "arms", {"json": "Everything (JSON)", "csv": "Every network (CSV)"})

    def show(run: Run | None) -> tuple:
        nothing = ("", *[gr.update(value=None, visible=False)] * len(plots), "", *files.withdraw())
        if run is None:
            return nothing
        try:
            config = ArmsConfig.from_dict(run.config)
        except UserError as error:
            return (empty_html(f"The settings of this run cannot be read: {error}"), *nothing[1:])
        figures = [plot_seed_bands(_read_curves(run, config, measure), measure) for measure in PLOTS]
        charts = [gr.update(value=figure, visible=figure is not None) for figure in figures]
        found = read_document(run)
        offered = files.offer(run.name, json=found, csv=_write_csv(found)) if found is not None else files.withdraw()
        return _describe(run, config), *charts, _tabulate(run, config), *offered

    return [finding, *plots, table, *files.outputs], show


def _write_csv(document: dict) -> str:
    try:
        return write_csv(document)
    except (KeyError, TypeError, AttributeError):  # a file that somebody has changed
        return ""


def _describe(run: Run, config: ArmsConfig) -> Markup:
    """The verdict, and what was claimed."""
    claim = note_html(f"{config.title}. {config.claim}".strip())
    text, also = (str(run.status.get(name) or "") for name in ("sentence", "also"))
    return claim + (sentence_html(text) if text else "") + (note_html(also) if also else "")


def _read_curves(run: Run, config: ArmsConfig, measure: str) -> list[tuple[str, list[list[dict]]]]:
    """The points of each arm's seeds; one that is being trained stands apart, or the others would wait for it."""
    known = {(arm.name, seed) for arm in config.arms for seed in config.all_seeds}
    lines = [line for line in _read_points(run, measure) if _key(line) in known]
    curves = []
    for arm in config.arms:
        by_seed: dict[int, dict] = {}
        for line in lines:
            if line["arm"] == arm.name:  # by step: once, also after a restart
                by_seed.setdefault(line["seed"], {})[read_number(line, "step")] = line
        seeds = {seed: list(points.values()) for seed, points in by_seed.items()}
        last = lines[-1] if lines and run.state in UNFINISHED else {}
        current = last.get("seed") if last.get("arm") == arm.name else None
        others = [len(points) for seed, points in seeds.items() if seed != current]
        if current is not None and others and len(seeds[current]) < min(others):
            curves.append((f"{arm.title}, seed {current} so far", [seeds.pop(current)]))
        curves.append((arm.title, list(seeds.values())))
    return sorted(curves, key=lambda curve: curve[0].endswith("so far"))  # the colours of the arms stay


def _read_points(run: Run, measure: str) -> list[dict]:
    """The ends of epochs; of the validation accuracy what was measured often, if it was: it decides about steps."""
    if measure == "val_accuracy":
        often = [line for line in run.metrics if read_number(line, "sample_accuracy") is not None]
        if often:
            return [{**line, measure: line["sample_accuracy"]} for line in often]
    return [line for line in run.metrics if line.get("kind") == "epoch"]


def _key(line: dict) -> tuple | None:
    """Arm and seed that a line names."""
    arm, seed = line.get("arm"), line.get("seed")
    return (arm, seed) if isinstance(arm, str) and isinstance(seed, int) else None


def _tabulate(run: Run, config: ArmsConfig) -> Markup:
    """One row per arm: means over seeds with their intervals, and the difference that the verdict is about."""
    rows = {str(row.get("arm")): row for row in run.status.get("rows", ()) if isinstance(row, dict)}
    found = [(arm, rows[arm.name]) for arm in config.arms if arm.name in rows]
    if not found:
        return Markup("")
    columns = [name for name in MEASURES if name in ALWAYS or any(_read(row, name) for _, row in found)]
    decisive = QUESTIONS[config.question].measures[0]
    cells = [
        [
            arm.title,
            _show_difference(decisive, _read(row.get("differences"), decisive)),
            *(_show(name, _read(row, name)) for name in columns),
            format_count(read_number(row, "parameters") or 0),
            row.get("n"),
        ]
        for arm, row in found
    ]
    titles = [MEASURES[name].column for name in columns]
    change = f"{MEASURES[decisive].column}, change"
    table = table_html(["arm", change, *titles, "parameters", "seeds"], cells)
    arms = ", ".join(arm.name for arm in config.arms)
    names = f"Every network is a model: run/{run.name}-ARM-SEED, with ARM out of {arms}."
    return table + note_html(
        f"Means over seeds, in brackets their 95 % intervals; the change is from the first arm. {names}"
    )


def _read(values: object, name: str) -> dict | None:
    """``{mean, low, high}`` out of what a file says, or None."""
    found = values.get(name) if isinstance(values, dict) else None
    if not isinstance(found, dict) or read_number(found, "mean") is None:
        return None
    numbers = {end: read_number(found, end) for end in ("mean", "low", "high")}
    numbers["bound"] = found.get("bound") if found.get("bound") in BOUNDS else None
    return numbers if numbers["high"] is not None else numbers | {"low": None}


def _show(name: str, found: dict | None) -> str:
    return MEASURES[name].show_estimate(found) if found else "–"


def _show_difference(name: str, found: dict | None) -> str:
    if found is None:
        return "–"
    measure = MEASURES[name]
    text = f"{measure.show(found['mean'], '+')}{measure.change_unit}"
    if found.get("bound"):
        size = f"{measure.show(abs(found['mean']))}{measure.change_unit}"
        text = f"{found['bound']} {size} {measure.words[found['mean'] < 0]}"
    if found["low"] is None:
        return text
    return f"{text} [{measure.show(found['low'], '+')}, {measure.show(found['high'], '+')}]"
