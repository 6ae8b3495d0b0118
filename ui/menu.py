"""What the page offers beside its tabs: a view for a projector, a tour, a fresh start; all in the browser alone."""

from pathlib import Path

import gradio as gr

SCRIPT = (Path(__file__).parents[1] / "assets" / "menu.js").read_text(encoding="utf-8")


def build_menu() -> gr.HTML:
    """A button that opens the list of what can be done."""
    return gr.HTML(html_template=_TEMPLATE, js_on_load=SCRIPT, elem_id="menu", padding=False)


_TEMPLATE = """<details>
<summary>View</summary>
<div>
<button type="button" data-do="present" aria-pressed="false">Presentation</button>
<button type="button" data-do="tour">Tour in five steps</button>
<button type="button" data-do="reset">Reset this page</button>
</div>
</details>"""
