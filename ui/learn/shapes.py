"""Shapes and parameters: layers in a row, what each makes, costs and sees; two comparisons; a quiz."""

import json
import re

from lab.learning.stacks import describe_stacks, draw_questions
from ui.learn.bench import Bench, browser_bench
from ui.learn.link import build_link
from ui.services import Action, Services
from ui.widgets.events import Values
from ui.workbench import Workbench

LONGEST_STACK = 2000
"""Letters of a link."""
STACK = re.compile(r"\w*|[1-9]\d{0,3}(,[1-9]\d{0,3}){2} [\w(),;= ]*", re.ASCII)


def build_shapes(services: Services, bench: Workbench) -> Bench:
    """Lays it out; the browser does the arithmetic, and asks for questions when it has none left."""
    tables = describe_stacks()
    stage = browser_bench("shapes", json.dumps(tables), parts=("stack.js", "quiz.js", "link.js"), asks=[ask_quiz])
    link = build_link("stack", stage)

    def show(values: Values, action: Action) -> Values:
        """The stack of a link."""
        return {stage: json.dumps(tables | {"link": values[link]})}

    return Bench(show, [link], [stage], linked={"stack": (link, read_stack)})


def read_stack(text: str) -> str:
    """A preset, or a shape and layers, "3,32,32 conv(6,5) relu", which the bench itself understands.

    Raises:
        ValueError: Other text.
    """
    if len(text) > LONGEST_STACK or not STACK.fullmatch(text):
        raise ValueError(text)
    return text


def ask_quiz(asked: object) -> list[dict]:
    """Questions about random stacks, of one ``kind`` where that is asked for."""
    kind = asked.get("kind") if isinstance(asked, dict) else None
    return [question.to_json() for question in draw_questions(kind if isinstance(kind, str) else None)]
