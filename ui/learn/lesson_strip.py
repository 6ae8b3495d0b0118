"""The strip that leads through a lesson: it stays in view below whatever tab a step opens (``assets/learn``)."""

import json
import time
from pathlib import Path

import gradio as gr

from analysis.errors import UserError
from lab.learning.answers import MAX_NAME, keep_answer
from lab.learning.lessons import MAX_ANSWER, judge
from models.problems import MAYBE_PROBLEMS
from ui.services import Services
from ui.widgets.errors import answers_errors, describe_error
from ui.widgets.events import HIDDEN

ASSETS = Path(__file__).parents[2] / "assets" / "learn"
SHOWN = ("sample", "model", "dx", "dy", "boundary", "padding")
"""Names of the address that an answer brings along: what is on the screen when it is given."""


def build_lesson_strip(services: Services) -> gr.HTML:
    """The strip. It opens the lesson and the step of the address; without them nothing is to be seen.

    It raises ``submit``, with ``lesson, step, answer, name, shown``, for an answer; what :func:`answer` says of it
    becomes its value, JSON as text.
    """

    def open_lesson(name: object) -> dict:
        """A lesson as the browser needs it, or ``problem``."""
        try:
            return services.shelf.get(name).to_json(str(name))
        except MAYBE_PROBLEMS as error:
            if (message := describe_error(error)) is None:
                raise
            return {"problem": message}

    strip = gr.HTML(
        "{}",
        html_template=(ASSETS / "lesson_strip.html").read_text(encoding="utf-8"),
        js_on_load=(ASSETS / "lesson_strip.js").read_text(encoding="utf-8"),
        server_functions=[open_lesson],
        elem_id="lesson",
        padding=False,
    )

    @answers_errors(lambda message: _write(problem=message), lambda message: _write(problem=message))
    def answer(event: gr.EventData, request: gr.Request, progress: gr.Progress = gr.Progress()) -> str:
        """Compares an answer with what is computed now, and keeps it for the owner."""
        asked = event._data if isinstance(event._data, dict) else {}
        name, step, given, typed = (asked.get(each) for each in ("lesson", "step", "answer", "name"))
        if not isinstance(given, str) or len(given) > MAX_ANSWER or not isinstance(typed, str):
            raise UserError(f"An answer is a text of at most {MAX_ANSWER} letters.")
        lesson = services.shelf.get(name)
        with services.watch(request, progress, "Looking at the answer", "lesson") as report:
            judged = judge(services.lab, lesson.get_step(step), given, _read_shown(asked.get("shown")), report)
        root, measured = services.lab.runs_root, str(judged.value)
        is_kept = keep_answer(root, str(name), int(str(step)), given, measured, judged.is_right, typed[:MAX_NAME])
        return _write(step=step, right=judged.is_right, says=judged.sentence, kept=is_kept)

    strip.submit(answer, None, strip, **HIDDEN)
    return strip


def _read_shown(sent: object) -> dict[str, str]:
    """What is on the screen, out of what the browser says."""
    given = sent if isinstance(sent, dict) else {}
    return {
        name: given[name] for name in SHOWN if isinstance(given.get(name), str) and len(given[name]) <= MAX_ANSWER
    }


def _write(**document: object) -> str:
    """For the browser; the time makes each answer a new one."""
    return json.dumps(document | {"made": time.time()})
