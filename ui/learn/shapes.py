"""Shapes and parameters: layers in a row, what each makes, costs and sees; two comparisons; a quiz."""

import json

from lab.learning.stacks import describe_stacks, draw_questions
from ui.learn.bench import Bench, browser_bench
from ui.services import Services
from ui.workbench import Workbench


def build_shapes(services: Services, bench: Workbench) -> Bench:
    """Lays it out; the browser does the arithmetic, and asks for questions when it has none left."""
    browser_bench("shapes", json.dumps(describe_stacks()), parts=("stack.js", "quiz.js"), asks=[ask_quiz])
    return Bench()


def ask_quiz(asked: object) -> list[dict]:
    """Questions about random stacks, of one ``kind`` where that is asked for."""
    kind = asked.get("kind") if isinstance(asked, dict) else None
    return [question.to_json() for question in draw_questions(kind if isinstance(kind, str) else None)]
