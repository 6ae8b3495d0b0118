"""The tables of the Runs panel: all trainings, and what came out of those that are compared."""

import re
from collections.abc import Collection, Mapping, Sequence

from markupsafe import Markup

from analysis.grammar import count
from lab.runs.compare import NOT_SET, Comparison, RunRow
from models.runs.run import UNFINISHED
from ui.train.results.names import name_data, name_network, name_setting, name_value
from ui.widgets.html import format_percent, join_html, note_html, row_html, sentence_html, table_html

MAX_NOTE = 80
"""Characters of a note in the table."""
HEADINGS = (
    *("compare", "name", "state", "data", "network", "parameters"),
    *("validation", "test", "seconds", "seed", "notes"),
)

# Gradio replaces the whole table when it changes: what had the focus and how far it was scrolled are put back.
ON_LOAD = """
let focused = null, left = 0;
element.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-run]");
    if (button) trigger("select", {choose: button.dataset.run});
});
element.addEventListener("change", (event) => {
    const box = event.target.closest("input[data-run]");
    if (!box) return;
    const boxes = [...element.querySelectorAll("input[data-run]")];  // all: an earlier one may still be on its way
    trigger("input", {ticked: Object.fromEntries(boxes.map((each) => [each.dataset.run, each.checked]))});
    if (box.checked && box.closest("[data-full]")) box.checked = false;
});
element.addEventListener("focusin", (event) => {
    const {tagName, dataset} = event.target;
    focused = dataset.run ? `${tagName}[data-run="${dataset.run}"]` : null;
});
element.addEventListener("focusout", (event) => { if (event.relatedTarget) focused = null; });
element.addEventListener("scroll", (event) => { left = event.target.scrollLeft; }, true);
watch("value", () => {
    const table = element.querySelector(".scrolled");
    if (table) table.scrollLeft = left;
    if (focused && !element.contains(document.activeElement)) {
        element.querySelector(focused)?.focus({preventScroll: true});
    }
});
"""
CSS = """
button[data-run] { background: none; border: 0; box-shadow: none; color: var(--link-text-color); min-height: 2rem;
  min-width: 5rem; overflow-wrap: anywhere; padding: 0; text-align: left; text-decoration: underline; }
input[data-run] { border: 1px solid var(--body-text-color-subdued); height: 1.2rem; width: 1.2rem; }
button[data-run]:focus-visible, input[data-run]:focus-visible { outline: 3px solid var(--color-accent); }
td:first-child { text-align: center !important; }
td:last-child { max-width: 24rem; min-width: 14rem; overflow-wrap: anywhere; }
td:last-child:empty { min-width: 0; }
tr[aria-current=true] td { background: var(--background-fill-secondary); }
tr[aria-current=true] button[data-run] { font-weight: 700; }
tr[aria-current=true] td:first-child { box-shadow: inset 4px 0 var(--color-accent); }
.scrolled { max-height: none; }
"""


def runs_html(
    rows: Sequence[RunRow],
    waiting: Mapping[str, int],
    chosen: str | None,
    compared: Collection[str],
    *,
    is_full: bool = False,
) -> Markup:
    """All trainings of a page; a name is a button that chooses the run, and a box takes it into the comparison.

    Args:
        rows: The runs.
        waiting: Name of a waiting run -> how many jobs are before it.
        chosen: The run that is looked at.
        compared: Names whose boxes are ticked.
        is_full: Whether no other box can be ticked.
    """
    box = Markup('<input type="checkbox" data-run="{0}" aria-label="Compare {0}"{1}/>')
    button = Markup('<button type="button" data-run="{0}" title="Choose this run">{0}</button>')
    body = []
    for row in rows:
        cells = (
            box.format(row.name, " checked" if row.name in compared else ""),
            button.format(row.name),
            *(_describe_state(row, waiting), *_describe_outcome(row), _shorten(row.notes)),
        )
        body.append(row_html(cells, Markup(' aria-current="true"') if row.name == chosen else Markup("")))
    head = (Markup('<th scope="col">{}</th>').format(heading) for heading in HEADINGS)
    return table_html(head, body, "All trainings", Markup(" data-full") if is_full else Markup(""))


def comparison_html(comparison: Comparison) -> Markup:
    """The finding in words, the results, and the settings in which the runs differ."""
    rows = comparison.rows
    results = [
        (
            row.name,
            row.state,
            *map(describe_share, (row.best_val_accuracy, row.last_val_accuracy, row.test_accuracy)),
            *_describe_size(row),
        )
        for row in rows
    ]
    headings = ("run", "state", "best validation", "last validation", "test", "parameters", "seconds", "seed")
    parts = [sentence_html(describe_comparison(comparison)), table_html(headings, results)]
    named = [(key, [name_value(key, value) for value in values]) for key, values in comparison.settings]
    settings = [(name_setting(key), *values) for key, values in named if len(set(values)) > 1]
    if settings:
        parts.append(table_html(("setting that differs", *(row.name for row in rows)), settings))
    else:
        parts.append(note_html("All settings are the same."))
    return join_html(parts)


def describe_comparison(comparison: Comparison) -> str:
    """The best run and its lead in points, and whether the numbers can be compared at all."""
    measured = [
        (row.best_val_accuracy, row.name, row.val_pictures)
        for row in comparison.rows
        if row.best_val_accuracy is not None
    ]
    if not measured:
        return "None of these runs has measured a validation accuracy yet."
    (best, first, pictures), *others = sorted(measured, key=lambda found: -found[0])
    text = f"Best validation accuracy: {first}, {describe_share(best, pictures)}"
    if others:
        second, name, _ = others[0]
        lead = 100 * (best - second)
        text += f", {lead:.1f} points above {name}" if lead else f", as {name}"
    text += "."
    if comparison.is_same_validation is False:
        text += " But they were not measured on the same validation pictures."
    return text


def describe_share(share: float | None, pictures: int | None = None) -> str:
    """A share in percent with one decimal, of so many pictures where that is told; a dash where it is not known."""
    of = f" of {count(pictures, 'picture')}" if pictures else ""
    return NOT_SET if share is None else format_percent(share, 1) + of


def _describe_state(row: RunRow, waiting: Mapping[str, int]) -> str:
    if row.name not in waiting or row.state not in UNFINISHED:
        return row.state
    before = waiting[row.name]
    return f"{row.state}, {count(before, 'job')} before it" if before else f"{row.state}, next"


def _describe_outcome(row: RunRow) -> tuple[str, ...]:
    parameters, seconds, seed = _describe_size(row)
    accuracies = map(describe_share, (row.last_val_accuracy, row.test_accuracy))
    data, network = name_data(row.data), name_network(row.architecture)
    return (data or NOT_SET, network or NOT_SET, parameters, *accuracies, seconds, seed)


def _describe_size(row: RunRow) -> tuple[str, str, str]:
    parameters = NOT_SET if row.parameters is None else f"{row.parameters:,}"
    seconds = NOT_SET if row.seconds is None else f"{row.seconds:,.0f}" if row.seconds >= 10 else f"{row.seconds:.1f}"
    return parameters, seconds, NOT_SET if row.seed is None else str(row.seed)


def _shorten(notes: str) -> str:
    text = re.sub(r"\s+", " ", notes).strip()
    return text if len(text) <= MAX_NOTE else f"{text[: MAX_NOTE - 1]}…"
