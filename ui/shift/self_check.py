"""The self-check: identities that must hold exactly, measured on the chosen model and picture."""

import gradio as gr
from markupsafe import Markup

from analysis.grammar import count
from analysis.self_check.identities import IDENTITIES, IdentityResult
from lab.shifts import check_model
from ui.services import Services
from ui.shift.controls import ShiftControls
from ui.shift.kept_result import KeptResult
from ui.widgets.downloads import ResultFiles, name_file
from ui.widgets.events import Values
from ui.widgets.html import empty_html, list_html, note_html, open_picture, row_html, sentence_html, table_html
from ui.workbench import Workbench

EMPTY = (
    "Press the button: about twenty identities that mathematics promises are measured on this model and picture. "
    "If one fails, do not trust the numbers on this page; controls have to fail, or the test would see nothing."
)
EXPLANATION = (
    "An identity must hold up to rounding: its error stays within the limit. A control must break one: its error "
    "goes beyond the limit, or the comparison would see nothing. Codes such as I2 are those of the documentation."
)
NO_BREAK = "\u2011"
"""A hyphen that a line does not end with."""
OUTCOMES = {
    (True, False): "holds",
    (False, False): "does not hold",
    (True, True): "breaks, as it must",
    (False, True): "does not break, but must",
}
"""(Passed, is a control) -> what is said of it."""
HEADINGS = ("what", "outcome", "error", "limit", "how")
GROUPS = {(identity.name, identity.title): identity.control_of or identity.name for identity in IDENTITIES}
"""A control stands below the identity that it must break."""


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
        stem = name_file("self-check", bench.name_picture(values), model)
        offered = files.offer(stem, json=[each.to_json() for each in found])
        return _show(model, found), *offered, result.find_subject(values)

    result.wire_start(start, check, set())
    return result


def _show(model: str, results: tuple[IdentityResult, ...]) -> Markup:
    """The finding, every check that says something about the model, and those that do not with the reason."""
    measured = [result for result in results if result.passed is not None]
    failed = [result.title for result in measured if not result.passed]
    text = f"{model}: {len(measured) - len(failed)} of {len(measured)} checks passed"
    text += f"; failed: {'; '.join(failed)}." if failed else "."
    groups = {result.identity: [result] for result in measured if not result.is_negative_control}
    for result in measured:
        if result.is_negative_control:
            groups.setdefault(GROUPS[result.identity, result.title], []).append(result)
    rows = (_show_row(result) for group in groups.values() for result in group)
    table = table_html(HEADINGS, rows, "Identities and controls")
    others = [f"{result.title} ({result.identity}): {result.note}" for result in results if result.passed is None]
    unmeasured = list_html(f"{count(len(others), 'check')} that this model says nothing about", others)
    tone = "bad" if failed else "good"
    return sentence_html(text, tone) + note_html(EXPLANATION) + table + (unmeasured if others else "")


def _show_row(result: IdentityResult) -> Markup:
    is_control, passed = result.is_negative_control, bool(result.passed)
    error = "0, to the last bit" if result.error == 0 else f"{result.error:.1e}"
    limit = "0" if result.tolerance == 0 else f"{result.tolerance:.0e}"
    title = Markup("{}{} <small>{}</small>").format("Control: " if is_control else "", result.title, result.identity)
    sign = f"{'>' if is_control else '≤'}\u00a0"
    cells = (
        *(title, OUTCOMES[passed, is_control], error.replace("-", NO_BREAK)),
        *(sign + limit.replace("-", NO_BREAK), result.note),
    )
    kinds = [*(["control"] if is_control else []), "passed" if passed else "failed"]
    return row_html(cells, Markup(' class="{}"').format(" ".join(kinds)))
