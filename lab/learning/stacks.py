"""What a page needs to know of stacks of layers to do their arithmetic itself, and questions about them."""

import secrets

from analysis.convolution import quiz
from analysis.convolution.layers import KINDS, LIMITS
from analysis.convolution.presets import PRESETS
from lab.learning.convolution import ask_all

AT_ONCE = 6


def describe_stacks() -> dict:
    """JSON-ready: the kinds of layers with their numbers, what those may be, the presets, the notes' questions."""
    kinds = {
        name: {"title": kind.title, "numbers": kind.numbers, "needs_map": kind.needs_map}
        for name, kind in KINDS.items()
    }
    presets = {
        name: {"title": each.title, "shape": each.shape, "layers": each.text, "about": each.about}
        for name, each in PRESETS.items()
    }
    questions = [question.to_json() for question in quiz.list_notes()]
    return {"kinds": kinds, "limits": LIMITS, "presets": presets, "questions": questions}


def draw_questions(kind: str | None = None) -> list[quiz.Question]:
    """New questions about random stacks: of one kind, or of all in turn."""
    kinds = [kind] if kind in quiz.KINDS else [*quiz.KINDS]
    seed = secrets.randbelow(2**31)
    return [question for i in range(AT_ONCE // len(kinds)) for question in ask_all(seed + i, kinds)]
