"""Check the lecture: every claim of the notes as a card; one says what one expects, and then it is checked."""

import json
import time
from typing import Any

import gradio as gr

from analysis.errors import UserError
from lab.learning.claim import SECTIONS, VERDICTS
from lab.learning.claims import CLAIMS, LONG, check_claim, describe_claim
from ui.learn.bench import Bench, browser_bench
from ui.services import Action, Services
from ui.widgets.errors import answers_errors
from ui.widgets.events import PRIVATE, Values
from ui.widgets.html import explain_this, one_of
from ui.workbench import Workbench

EXPLANATION = """
Each card is a sentence of the lecture notes that can be checked. Say first what you expect; then the program
measures, here and now, and compares what it found with what is claimed, number by number. *Holds*: all of them agree.
*Does not hold*: one does not. *Cannot be told here*: something is missing, such as weights, or an interval reaches to
both sides.
So that you need not believe the check, it is run once more with something broken, and must then come to the opposite.
What is claimed of *training* takes minutes: those cards read the newest finished comparison, with its 95 % intervals.
Brackets behind a share are its 95 % interval (Wilson). What you expected stays in this tab of your browser.
"""
_HAND_ON = "watch('value', () => window.convscopeClaimChecked?.(JSON.parse(props.value || '{}')));"


def build_claims(services: Services, bench: Workbench) -> Bench:
    """Lays out the list and the open card, and wires what checks a claim."""
    stage = browser_bench("claims")
    explain_this(EXPLANATION)
    link = gr.Textbox("", visible="hidden", elem_id="link-claim")
    answer = gr.HTML("", html_template="", js_on_load=_HAND_ON, elem_id="claims-answer", padding=False)
    stage.release(None, None, link, js="() => window.convscopeClaim")

    def show(values: Values, action: Action) -> Values:
        """The list, and which claim is open; nothing is checked unasked."""
        return {stage: json.dumps(_TABLES | {"open": values[link] or ""})}

    @answers_errors(lambda message: _write(problem=message), lambda message: _write(problem=message))
    def check(event: gr.EventData, request: gr.Request, progress: gr.Progress = gr.Progress()) -> str:
        """Checks the claim that was named."""
        asked = event._data if isinstance(event._data, dict) else {}
        name = asked.get("name")
        if not isinstance(name, str):
            raise UserError("Name the claim that is to be checked.")
        with services.act(request, progress, "learn-claim") as action:
            return _write(**check_claim(services.lab, name, action.report("Checking")).to_json())

    manner: dict[str, Any] = {**PRIVATE, "show_progress": "minimal", "show_progress_on": stage}
    stage.submit(check, None, answer, **manner, concurrency_limit=None, trigger_mode="multiple")
    return Bench(show, [link], [stage], linked={"claim": (link, one_of(CLAIMS))})


def _write(**document: object) -> str:
    """For the browser; the time makes each answer a new one."""
    return json.dumps(document | {"made": time.time()})


_TABLES = {
    "claims": [describe_claim(name) for name in CLAIMS],
    "sections": SECTIONS,
    "verdicts": VERDICTS,
    "long": LONG,
}
