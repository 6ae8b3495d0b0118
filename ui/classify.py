"""What is in the picture? One model or several side by side, one picture or many files."""

from pathlib import Path

import gradio as gr
from markupsafe import Markup, escape

from analysis.errors import UserError
from analysis.figures.drawing import draw_pixels
from analysis.grammar import count
from lab.session import Classification, FileResult
from lab.spreadsheet import to_csv
from models.data.samples import find_fitting, get_sample
from ui.services import Action, Services
from ui.widgets.downloads import ResultFiles, name_file
from ui.widgets.errors import hide_paths, shows_errors
from ui.widgets.events import PRIVATE, Tab, Values
from ui.widgets.html import (
    bars_html,
    empty_html,
    explain_this,
    figure_html,
    format_count,
    format_percent,
    join_html,
    note_html,
    notes_html,
    open_picture,
    row_html,
    sentence_html,
    table_html,
)
from ui.workbench import Workbench

MAX_FILES = 500
SEEN_SIDE = 224
COLUMNS = ["file", "model", "class", "probability", "second", "third", "ms", "problem"]
"""Of the file for download."""
HEADINGS = ["file", "first guess", "second", "third", "ms"]
FEW_CLASSES = 12
OFFERED = 5
NEXT = Markup(
    '<div class="pad next"><button type="button" data-open="explain">Why? See what it looks at</button>'
    '<button type="button" data-open="shift">Always? Move the picture</button></div>'
)
EXPLANATION = """
A classifier turns the picture into one number per class (*logits*) and then into probabilities that add up to 1:
$p_k = e^{f_k} / \\sum_j e^{f_j}$ (softmax). The bars are the five largest, on one scale from 0 to 100 %.
A high bar means "this rather than my other classes", not "this is certainly true": a model that has never seen
coins must still choose. *ms* is the time of one forward pass on this computer, without preparing the picture.
"""


def build_classify_tab(services: Services, bench: Workbench) -> Tab:
    """Lays out the tab and wires what happens inside it."""
    result = gr.HTML(empty_html("Choose a picture on the left."), elem_id="classify-result")
    with gr.Accordion("Many pictures at once", open=False):
        files = gr.File(
            file_count="multiple", label=f"Up to {MAX_FILES} picture files", height=140, elem_id="batch-files"
        )
        run = gr.Button("Classify these files", variant="primary", elem_id="batch-run")
        table = gr.HTML(elem_id="batch-table")
        download = ResultFiles(services, "batch", {"csv": "Download as CSV"})
    explain_this(EXPLANATION)

    def classify(values: Values, action: Action) -> Values:
        """Classifies the picture with the model and those it is compared with, as far as they are here."""
        services.lab.models.check(values[bench.model])
        picture = open_picture(services, bench.find_picture(values), action)
        missing = [spec.name for spec in bench.list_missing(services, values)]
        here = [name for name in bench.list_models(values) if name not in missing]
        report = action.report("Opening the model")
        found = [services.lab.classify(picture, name, progress=report) for name in here]
        waiting = notes_html(f"{name} waits for its download; the sidebar asks for it." for name in missing)
        return {result: _show(found, values[bench.sample]) + waiting}

    @shows_errors
    def classify_batch(
        paths: list[str] | None, model: str, request: gr.Request, progress: gr.Progress = gr.Progress()
    ) -> tuple:
        """Classifies every file; a broken one gets a line that says so."""
        if not paths:
            raise UserError("Choose some picture files first.")
        if len(paths) > MAX_FILES:
            raise UserError(f"{len(paths)} files are more than {MAX_FILES}; choose fewer.")
        with services.watch(request, progress, "Classifying files") as report:
            found = list(services.lab.classify_files(paths, model, 3, report))
        sheet = to_csv(COLUMNS, (_row(result, model) for result in found))
        return _show_files(found, model), *download.offer(name_file("classes", model), csv=sheet)

    outputs = [table, *download.outputs]
    run.click(classify_batch, [files, bench.model], outputs, **PRIVATE)
    return Tab(
        classify,
        (),
        [result],
        lambda message: {result: empty_html(message)},
        looks_at=[bench.image, bench.model, bench.compare],
        is_kept=True,
    )


def _show(results: list[Classification], sample: str) -> Markup:
    """The finding in words, what it is worth, and where to look next.

    Args:
        results: Of the model, and of those that it is compared with.
        sample: The name of the sample that is shown; nothing where it is a picture of one's own.
    """
    first = results[0]
    best = first.predictions[0]
    text = f"{first.model.name} sees: {best.category}, {format_percent(best.probability)}."
    if len(results) > 1:
        others = (f"{r.model.name}: {r.predictions[0].category}" for r in results[1:])
        text += f" The others: {', '.join(others)}."
    notes = dict.fromkeys(note for result in results for note in result.notes)
    cards = Markup('<div class="cards">{}</div>').format(join_html(map(_card, results)))
    return sentence_html(text) + _doubt(first, sample) + notes_html(notes) + cards + NEXT


def _doubt(result: Classification, sample: str) -> Markup:
    """What a model with few classes can say at all; with samples that fit, where the one shown does not."""
    classes, fitting = result.model.categories, find_fitting(result.model.trained_on)
    is_strange = bool(sample) and bool(fitting) and get_sample(sample) not in fitting
    if not is_strange and len(classes) > FEW_CLASSES:
        return Markup("")
    known = ", ".join(classes[:FEW_CLASSES]) + (", …" if len(classes) > FEW_CLASSES else "")
    text = f"Whatever it is shown, it must answer with one of its {count(len(classes), 'class')}: {known}."
    if not is_strange:
        return note_html(text)
    button = Markup('<button type="button" data-show="{}">{}</button>')
    buttons = join_html(button.format(each.name, each.title) for each in fitting[:OFFERED])
    html = Markup('<div class="doubt"><p>{}</p><div class="pad">{}</div></div>')
    return html.format(f"This picture is nothing that {result.model.name} knows. {text} Samples that fit:", buttons)


def _card(result: Classification) -> Markup:
    facts = f"{result.ms:.0f} ms, {format_count(result.model.num_params)} parameters"
    side = result.pixels.shape[-1]
    seen = figure_html(
        draw_pixels(result.pixels, size=SEEN_SIDE),
        f"as it sees it, {side}×{side}",
        "The picture at input size",
    )
    return Markup(
        '<section class="card"><h2>{}</h2><p class="note">{}</p><div class="seen">{}{}</div></section>'
    ).format(result.model.name, facts, seen, bars_html(result.predictions))


def _show_files(results: list[FileResult], model: str) -> Markup:
    """How many could be read, and what the model sees in each; what needs a look comes first."""
    broken = [result for result in results if result.problem]
    text = f"{model}: {count(len(results) - len(broken), 'picture')} classified"
    text += f", {count(len(broken), 'file')} not." if broken else "."
    rows = map(_show_file, sorted(results, key=lambda result: not result.problem))
    return sentence_html(text, "bad" if broken else "") + table_html(HEADINGS, rows, "What is in each file")


def _show_file(result: FileResult) -> Markup:
    name = Path(result.path).name
    if result.problem:
        text = result.problem if name in result.problem else f"{name}: {result.problem}"
        row = Markup('<tr class="failed"><td colspan="{}">{}</td></tr>')
        return row.format(len(HEADINGS), hide_paths(text))
    guesses = [f"{p.category}, {format_percent(p.probability)}" for p in result.predictions] + ["", ""]
    notes = notes_html(result.notes)
    return row_html([name, escape(guesses[0]) + notes, *guesses[1:3], f"{result.ms:.0f}"])


def _row(result: FileResult, model: str) -> list:
    name = Path(result.path).name
    if result.problem:
        return [name, model, "", "", "", "", "", result.problem]
    first, *others = result.predictions
    runners_up = [f"{p.category} {format_percent(p.probability)}" for p in others] + ["", ""]
    figures = [first.category, round(first.probability, 4), *runners_up[:2], round(result.ms, 1)]
    return [name, model, *figures, " ".join(result.notes)]
