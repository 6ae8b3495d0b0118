"""The answers of a class: a file below the runs root that the owner downloads, or deletes.

Nothing says whose an answer is but the random name of a browser, and a name if somebody has typed one.
"""

import threading
import time
from contextlib import suppress
from pathlib import Path

from analysis.errors import UserError
from lab.spreadsheet import to_csv
from models.access import viewer
from models.ordinary_files import read_start
from models.runs.files import append_line, read_lines

FILE = ".lesson-answers.jsonl"
"""In the runs root; no route serves it."""
MAX_BYTES = 8 * 2**20
MAX_EACH = 500
"""Answers of one browser."""
MAX_NAME = 60
COLUMNS = ("time", "browser", "name", "lesson", "step", "answer", "measured", "right")

_guard = threading.Lock()


def keep_answer(root: Path, lesson: str, step: int, answer: str, measured: str, is_right: bool, name: str) -> bool:
    """Adds an answer of whoever asks; says whether there was room for it.

    Args:
        root: The runs root.
        lesson: Its name.
        step: From 1 on.
        name: What was typed, or nothing.
    """
    path, browser = root / FILE, viewer().name
    line: dict[str, object] = {"time": time.strftime("%Y-%m-%d %H:%M:%S"), "browser": browser}
    line |= {"name": name.strip()[:MAX_NAME]}
    line |= {"lesson": lesson, "step": step, "answer": answer, "measured": measured, "right": is_right}
    with _guard:
        data = read_start(path, MAX_BYTES)
        if len(data) >= MAX_BYTES - 4096 or data.count(f'"browser": "{browser}"'.encode()) >= MAX_EACH:
            return False
        root.mkdir(parents=True, exist_ok=True)
        append_line(path, line)
    return True


def write_answers(root: Path) -> str:
    """All answers as CSV. Raises UserError: whoever asks is not the owner, or there are none."""
    viewer().check("owner")
    lines = read_lines(root / FILE, MAX_BYTES)
    if not lines:
        raise UserError("Nobody has answered a question of a lesson yet.")
    return to_csv(COLUMNS, lines)


def delete_answers(root: Path) -> None:
    """Deletes all answers. Raises UserError: whoever asks is not the owner."""
    viewer().check("owner")
    with _guard, suppress(FileNotFoundError):
        (root / FILE).unlink()
