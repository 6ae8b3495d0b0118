"""The self-check: identities that must hold exactly, measured on the chosen model and picture."""

import gradio as gr
from markupsafe import Markup

from analysis.self_check.identities import IdentityResult
from lab.shifts import check_model
from ui.services import Services
from ui.shift.controls import ShiftControls
from ui.shift.kept_result import KeptResult
from ui.widgets.downloads import ResultFiles
from ui.widgets.events import Values
from ui.widgets.html import empty_html, open_picture, row_html, sentence_html, table_html
from ui.workbench import Workbench

EMPTY = (
    "Press the button: about twenty identities that mathematics promises are measured on this model and picture. "
    "If one fails, do not trust the numbers on this page; controls have to fail, or the test would see nothing."
)
NO_BREAK = "\u2011"
"""A hyphen that a line does not end with."""
NO_BREAK_SPACE = "\u00a0"
MARKS = {True: "passed", False: "failed", None: "does not apply"}
HEADINGS = ("", "what", "error", "limit", "outcome", "how")


def build_self_check_panel(services: Services, bench: Workbench, controls: ShiftControls) -> KeptResult:
    """Lays out the panel and wires it."""
    with gr.Row(elem_classes="controls"):
        start = gr.Button("Run the self-check", variant="primary", elem_id="check-start", min_width=230, scale=0)
    report_view = gr.HTML(empty_html(EMPTY), elem_id="check-result")
    files = ResultFiles(services, "check", {"json": "Self-check (JSON)"})

    def clear(message: str) -> tuple:
        return empty_html(message), *files.withdraw()

    result = KeptResult(services, bench, "self-check", [bench.model], [report_view, *files.outputs], clear, EMPTY)

    def check(values: Values, request: gr.Request, progress: gr.Progress = gr.Progress()) -> tuple:
        """Runs every identity that says something about the model."""
        model = values[bench.model]
        with result.act(values, request, progress) as action:
            found = check_model(
                services.lab,
                model,
                open_picture(services, bench.find_picture(values), action),
                progress=action.report("Checking identities"),
                loading=action.report("Downloading weights"),
            )
        offered = files.offer("self-check", json=[each.to_json() for each in found])
        return _show(model, found), *offered, result.find_subject(values)

    result.wire_start(start, check, set())
    return result


def _show(model: str, results: tuple[IdentityResult, ...]) -> Markup:
    measured = [result for result in results if result.passed is not None]
    failed = [result for result in measured if not result.passed]
    text = f"{model}: {len(measured) - len(failed)} of {len(measured)} checks passed"
    text += f"; failed: {', '.join(result.identity for result in failed)}." if failed else "."
    table = table_html(HEADINGS, map(_show_row, results), "All identities")
    return sentence_html(text, "bad" if failed else "good") + table


def _show_row(result: IdentityResult) -> Markup:
    error = "–" if result.error is None else "0, to the last bit" if result.error == 0 else f"{result.error:.1e}"
    sign = ">" if result.is_negative_control else "≤"
    limit = "0" if result.tolerance == 0 else f"{result.tolerance:.0e}".replace("-", NO_BREAK)
    control = " (must break)" if result.is_negative_control else ""
    outcome = MARKS[result.passed]
    cells = (
        *(result.identity, f"{result.title}{control}", error),
        *(f"{sign}{NO_BREAK_SPACE}{limit}", outcome, result.note),
    )
    return row_html(cells, Markup(' class="{}"').format(outcome.split()[0]))
