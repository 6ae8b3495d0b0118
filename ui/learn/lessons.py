"""The lessons that there are, and what a class has answered."""

from pathlib import Path

import gradio as gr
from markupsafe import Markup

from analysis.errors import Progress
from lab.learning.answers import delete_answers, write_answers
from lab.learning.lessons import Lesson
from ui.learn.bench import Bench
from ui.services import Action, Services
from ui.widgets.downloads import MadeFile
from ui.widgets.errors import inform, shows_errors
from ui.widgets.events import PRIVATE, Values
from ui.widgets.html import join_html, list_html, note_html, sentence_html
from ui.widgets.question import ask_first
from ui.workbench import Workbench

CARD = Markup(
    '<li class="card"><h2>{}</h2><p>{}</p><p class="note">{} steps, about {} minutes</p>'
    '<a class="begin" href="?{}">Begin<span class="beyond-view"> {}</span></a></li>'
)


def build_lessons(services: Services, bench: Workbench) -> Bench:
    """Lays out the list; a lesson itself runs in the strip below the page."""
    listed = gr.HTML(elem_id="lessons-list")
    with gr.Row(elem_classes="controls for-the-owner"):
        save = gr.Button("Answers of the class (CSV)", size="sm", min_width=200, scale=0, elem_id="lessons-csv")
        delete = gr.Button("Delete all answers", size="sm", min_width=150, scale=0, elem_id="lessons-delete")
        question = ask_first(delete, listed, "Delete what everybody has answered? It cannot be brought back.")
        file = MadeFile(services, "lessons-file")

    def show(values: Values, action: Action) -> Values:
        """The lessons as their files are now."""
        lessons, problems = services.shelf.list()
        return {listed: show_lessons(lessons, problems)}

    def make(_: str, progress: Progress) -> tuple[Path, str]:
        text = write_answers(services.lab.runs_root)
        path = services.new_file("lesson-answers.csv")
        path.write_text(text, encoding="utf-8")
        return path, "what was answered, one line each; without names, unless somebody typed one."

    @shows_errors
    def forget() -> None:
        """Deletes the answers."""
        delete_answers(services.lab.runs_root)
        inform("The answers are deleted.")

    file.wire(save, "Writing the answers", make, listed)
    question.select(forget, None, None, **PRIVATE)
    return Bench(show, outputs=[listed])


def show_lessons(lessons: dict[str, Lesson], problems: list[str]) -> Markup:
    """A card for each lesson, and what is wrong with files that are none."""
    cards = join_html(
        CARD.format(each.title, each.about, len(each.steps), each.minutes, each.write_link(name, 1), each.title)
        for name, each in lessons.items()
    )
    count = f"{len(lessons)} lessons" if len(lessons) != 1 else "One lesson"
    html = sentence_html(f"{count}: each leads through the page step by step, and asks what you expect.")
    html += Markup('<ul class="cards lessons">{}</ul>').format(cards)
    html += note_html("A lesson of your own is a small JSON file: docs/lessons.md says how.")
    return html + list_html("Files that are no lessons", problems) if problems else html
