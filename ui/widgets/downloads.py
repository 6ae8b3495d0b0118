"""Files for download: buttons that appear with a result, and buttons that make a file when they are clicked."""

import re
from collections.abc import Callable
from json import dumps
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from analysis.errors import Progress
from ui.services import Services
from ui.widgets.errors import clears_on_errors
from ui.widgets.events import PRIVATE, Block

VIEW = "download"


class ResultFiles:
    """Buttons that save a result as files, out of sight while there is none.

    Args:
        services: Where files are kept.
        prefix: Of the buttons' ids, such as "map" for ``map-csv``.
        titles: Ending of a file's name -> what is on its button.
        first: A button that is not rendered yet, to stand before the others.

    Attributes:
        outputs: What :meth:`offer` and :meth:`withdraw` give the values of.
    """

    def __init__(self, services: Services, prefix: str, titles: dict[str, str], first: gr.Button | None = None):
        self._services, self._endings = services, list(titles)
        with gr.Row(elem_classes="controls", visible=False) as row:
            if first is not None:
                first.render()
            buttons = [
                gr.DownloadButton(title, size="sm", min_width=110, elem_id=f"{prefix}-{ending}")
                for ending, title in titles.items()
            ]
        self.outputs: list[Block] = [row, *buttons]

    def offer(self, stem: str, *, csv: str = "", json: object = None) -> tuple:
        """Shows the buttons of the files that there are: a table as text, and a document."""
        texts = {"csv": csv, "json": "" if json is None else dumps(json, allow_nan=False)}
        named = [(f"{stem}.{ending}", texts[ending]) for ending in self._endings]
        paths = [self._services.write_file(name, text) if text else None for name, text in named]
        return gr.update(visible=True), *(gr.update(value=path, visible=path is not None) for path in paths)

    def withdraw(self) -> tuple:
        """Hides them, and forgets their files."""
        return gr.update(visible=False), *[None] * len(self._endings)


class MadeFile:
    """What is said about a file that a click has made, and a button that saves it again.

    Attributes:
        outputs: Its components: for browsers that save nothing that was not clicked, the last is a button.
    """

    def __init__(self, services: Services, prefix: str):
        self._services = services
        self._note = gr.HTML(elem_id=f"{prefix}-note")
        self._save = gr.DownloadButton(
            "Save again", size="sm", visible=False, elem_id=f"{prefix}-save", min_width=200, scale=0
        )
        self.outputs: list[gr.components.Component] = [self._note, self._save]

    def forget(self) -> tuple:
        """The values of the outputs that say nothing."""
        return "", gr.update(value=None, visible=False)

    def wire(
        self,
        button: gr.Button,
        doing: str,
        make: Callable[[Any, Progress], tuple[Path, str]],
        source: gr.components.Component,
    ) -> None:
        """A click on a button makes a file and saves it.

        Args:
            button: The button.
            doing: What is being done, for the bar.
            make: Called with the value of ``source`` and a progress callback; gives the file, and what it is.
            source: What the file is made of.
        """

        @clears_on_errors(lambda _: self.forget())
        def prepare(value: Any, request: gr.Request, progress: gr.Progress = gr.Progress()) -> tuple:
            """Makes the file."""
            with self._services.watch(request, progress, doing, VIEW) as report:
                report(0, 3)
                path, word = make(value, report)
            size = _format_size(path.stat().st_size)
            label = f"Save {path.name} again ({size})"
            note = Markup('<p class="note" role="status">{}, {}: {}</p>').format(path.name, size, word)
            return note, gr.update(value=str(path), visible=True, label=label)

        made = button.click(prepare, source, self.outputs, show_progress_on=self._note, **PRIVATE)
        made.success(None, self._save, None, js=_SAVE)


def name_file(*parts: str) -> str:
    """A name for a file, without its ending, out of what the file is about: the method, the picture, the model."""
    return "-".join(re.sub(r"[^\w.+-]+", "_", part) for part in parts)[:150]


def _format_size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:.0f} KB"


# An address of this server, so that the browser saves it under the name it is given.
_SAVE = """(file) => {
    if (!file) return;
    const link = document.createElement("a");
    link.href = file.url;
    link.download = file.orig_name ?? "";
    link.click();
}"""
