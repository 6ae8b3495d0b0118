"""Lessons: small JSON files that lead through the page step by step, and the answers to their questions.

Answers are computed when they are needed (:mod:`lab.learning.measures`); where a lesson also states one, its check
compares the two.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, Self
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError, model_validator

from analysis.errors import Progress, UserError, no_progress
from lab.learning.measures import MEASURES, Value, list_arguments, measure
from lab.session import Lab
from models.ordinary_files import is_ordinary, read_bounded, short_name
from models.settings import check_choice

FOLDER = Path(__file__).parents[2] / "assets" / "lessons"
NAME = re.compile(r"[\w-]{1,60}")
MAX_BYTES = 2**17
MAX_LESSONS = 50
MAX_ANSWER = 200
"""Characters of an answer that is typed."""
TABS = ("classify", "shift", "explain", "evaluate", "train", "learn")
HIDEABLE = ("sidebar", "models", "pictures", "tabs", "header", "settings", "benches")
"""What a step can hide; ``assets/learn/lesson_strip.css`` says which parts of the page these are."""

Words = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
Title = Annotated[str, StringConstraints(min_length=1, max_length=120)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Question(_Part):
    """A question of a step.

    Attributes:
        kind: ``number`` and ``choice`` have a right answer; with ``predict`` one says what one expects, and sees it.
        choices: Key -> text of each; of a prediction without choices a number is asked for.
        answer: A number, or the key of a choice.
        measure: A key of ``MEASURES``, which decides; ``answer`` is then only what the check compares.
        of: Arguments of the measure; others are those of what is on the screen.
        tolerance: How far a number may be from the right one.
        because: What is said after the answer.
    """

    kind: Literal["number", "choice", "predict"]
    ask: Words
    choices: dict[str, Title] = Field(default={}, max_length=8)
    answer: float | str | None = None
    measure: Literal[tuple(MEASURES)] | None = None  # type: ignore[valid-type]  # of a table
    of: dict[str, JsonValue] = {}
    tolerance: float = Field(default=0, ge=0, allow_inf_nan=False)
    unit: str = Field(default="", max_length=20)
    because: str = Field(default="", max_length=2000)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kind == "choice" and len(self.choices) < 2:
            raise ValueError("a choice needs two choices or more")
        if self.kind == "number" and self.choices:
            raise ValueError("a number has no choices")
        if self.measure is None and (self.answer is None or self.kind == "predict"):
            raise ValueError("measure is missing" if self.kind == "predict" else "answer or measure is missing")
        if self.answer is not None and not self.is_possible(self.answer):
            raise ValueError("answer must be the key of a choice" if self.choices else "answer must be a number")
        taken = list_arguments(self.measure) if self.measure else []
        if unknown := [name for name in self.of if name not in taken]:
            raise ValueError(f"{self.measure or 'no measure'} does not take {unknown[0][:40]}")
        return self

    def is_possible(self, value: Value) -> bool:
        """Whether it can be an answer."""
        return value in self.choices if self.choices else isinstance(value, int | float) and math.isfinite(value)

    def write(self, value: Value) -> str:
        """An answer as it is read: the text of a choice, or a number with its unit."""
        if isinstance(value, str):
            return self.choices.get(value, value)
        number = f"{value:,.0f}" if abs(value - round(value)) < 1e-9 else f"{value:,.4g}"
        return f"{number} {self.unit}".strip().replace("-", "−")

    def read(self, text: str) -> Value:
        """What somebody has answered. Raises UserError: no choice, or no number."""
        if self.choices:
            return check_choice("The answer", text, self.choices)
        try:
            number = float(text[:MAX_ANSWER].replace(",", "").replace("−", "-").removesuffix(self.unit).strip())
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise UserError("Answer with a number, such as 760 or 0.5.")
        return number

    def agrees(self, given: Value, value: Value) -> bool:
        """Whether an answer is the right one."""
        if isinstance(given, str) or isinstance(value, str):
            return given == value
        return abs(given - value) <= self.tolerance + 1e-9 * max(1, abs(value))

    def find(self, lab: Lab, shown: Mapping[str, object], progress: Progress = no_progress) -> Value:
        """The right answer, computed now. Raises UserError: it cannot be computed, or is none of the choices."""
        if self.measure is None:
            assert self.answer is not None
            return self.answer
        value = measure(lab, self.measure, self.of, shown, progress)
        if not self.is_possible(value):
            raise UserError(f"What was measured, {value}, is none of the answers that this question has.")
        return value


class Step(_Part):
    """One step: what is read, what the page shows, and what is asked.

    Attributes:
        settings: Of the tab, with the names and values of a link.
        hide: Some of ``HIDEABLE``.
    """

    text: Words
    tab: Literal[TABS]  # type: ignore[valid-type]  # of a table
    settings: dict[str, str | int | float] = Field(default={}, max_length=20)
    hide: tuple[Literal[HIDEABLE], ...] = ()  # type: ignore[valid-type]  # of a table
    question: Question | None = None


class Lesson(_Part):
    """A lesson; ``about`` says in a sentence what it is for."""

    title: Title
    minutes: int = Field(ge=1, le=600)
    about: str = Field(default="", max_length=300)
    steps: tuple[Step, ...] = Field(min_length=1, max_length=40)

    def get_step(self, number: object) -> Step:
        """A step by its number, from 1 on. Raises UserError: there is none."""
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= len(self.steps):
            raise UserError(f"“{self.title}” has steps 1 to {len(self.steps)}.")
        return self.steps[number - 1]

    def write_link(self, name: str, number: int) -> str:
        """The query that opens a step of the lesson of this name."""
        step = self.get_step(number)
        return urlencode({"lesson": name, "step": number, "tab": step.tab, **step.settings}, safe=",/@")

    def to_json(self, name: str) -> dict:
        """What a browser needs to lead through it; answers are not in it."""
        asked = {"kind", "ask", "choices", "unit"}
        steps = [
            step.model_dump(include={"text", "hide"})
            | {"link": self.write_link(name, number)}
            | {"question": step.question and step.question.model_dump(include=asked)}
            for number, step in enumerate(self.steps, 1)
        ]
        return {"name": name, "title": self.title, "minutes": self.minutes, "steps": steps}


@dataclass(frozen=True)
class Judged:
    """What has come of an answer: what is right, and a sentence that says so."""

    value: Value
    is_right: bool
    sentence: str


def judge(
    lab: Lab,
    step: Step,
    text: str,
    shown: Mapping[str, object] = MappingProxyType({}),
    progress: Progress = no_progress,
) -> Judged:
    """Compares an answer with what is computed now.

    Args:
        shown: What is on the screen, by the names of a link; by default what the step shows.

    Raises:
        UserError: The step asks nothing, it is no answer, or the right one cannot be computed.
    """
    question = step.question
    if question is None:
        raise UserError("Nothing is asked here.")
    given = question.read(text)
    value = question.find(lab, step.settings | dict(shown), progress)
    is_right, right = question.agrees(given, value), question.write(value)
    if question.kind == "predict":
        said = f"You expected {question.write(given)}, and so it is." if is_right else ""
        said = said or f"You expected {question.write(given)}; here it is {right}."
    else:
        said = f"Right: {right}." if is_right else f"Not {question.write(given)}: {right}."
    return Judged(value, is_right, f"{said} {question.because}".strip())


def check_lesson(lab: Lab, lesson: Lesson) -> list[tuple[int, str, bool]]:
    """Computes all answers: the number of each step with a question, what came out, and whether that holds."""
    found = []
    for number, step in enumerate(lesson.steps, 1):
        if (question := step.question) is None:
            continue
        try:
            value = question.find(lab, step.settings)
        except UserError as error:
            found.append((number, str(error), False))
            continue
        holds = question.answer is None or question.agrees(question.answer, value)
        text = question.write(value) if question.measure else f"{question.write(value)} (stated, not computed)"
        if not holds and question.answer is not None:
            text = f"the lesson says {question.write(question.answer)}, measured is {question.write(value)}"
        found.append((number, text, holds))
    return found


def read_lesson(path: Path) -> Lesson:
    """A lesson from its file. Raises UserError, in one line with file and place: it is broken."""
    data = read_bounded(path, MAX_BYTES)
    try:
        return Lesson.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part + 1) if isinstance(part, int) else part for part in first["loc"])
        problem = str(first["msg"]).removeprefix("Value error, ")
        raise UserError(f"{short_name(path)}: {f'{place}: ' if place else ''}{problem}.") from None


@dataclass(frozen=True)
class Shelf:
    """The lessons that there are: those that come along, and those in a folder of one's own, which come first.

    Files are read when they are asked for, so that a lesson can be written while the page runs.
    """

    own: Path | None = None

    def list(self) -> tuple[dict[str, Lesson], list[str]]:
        """The lessons by name, and what is wrong with others."""
        found: dict[str, Lesson] = {}
        problems = []
        for name, path in self._find().items():
            try:
                found[name] = read_lesson(path)
            except UserError as error:
                problems.append(str(error))
        return found, problems

    def get(self, name: object) -> Lesson:
        """A lesson by its name. Raises UserError: there is none, or it is broken."""
        paths = self._find()
        if not isinstance(name, str) or name not in paths:
            raise UserError(f"There is no such lesson; there are {', '.join(paths)}.")
        return read_lesson(paths[name])

    def _find(self) -> dict[str, Path]:
        """File of each name; of two with one name, the own one."""
        folders = [folder for folder in (self.own, FOLDER) if folder is not None]
        paths: dict[str, Path] = {}
        for folder in folders:
            for path in sorted(folder.glob("*.json")):
                if NAME.fullmatch(path.stem) and is_ordinary(path) and len(paths) < MAX_LESSONS:
                    paths.setdefault(path.stem, path)
        return paths
