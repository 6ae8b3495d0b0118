"""The address of the page: it follows what is looked at, and a link restores that."""

from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from analysis.errors import UserError
from models.data.samples import get_sample
from models.registry import Registry
from models.settings import show_value
from ui.widgets.html import one_of

Readers = dict[str, Callable[[str], object]]
"""Name in the address -> what makes a value of its text; ValueError, or UserError that says why, if there is none."""


def build_address() -> gr.HTML:
    """Nothing to see: the query that it is given becomes that of the address."""
    return gr.HTML("", html_template="", js_on_load=_FOLLOW, elem_id="address")


def list_readers(registry: Registry, tabs: Collection[str]) -> Readers:
    """What every address may say."""
    return {
        "sample": lambda name: get_sample(name).name,
        "model": lambda name: registry.get(name).name,
        "compare": lambda names: [registry.get(name).name for name in names.split(",")],
        "tab": one_of(tabs),
    }


def read_query(params: Mapping[str, str], readers: Readers) -> tuple[dict[str, Any], list[str]]:
    """The parts of an address that mean something here, and what is wrong with the others."""
    wanted: dict[str, Any] = {}
    problems = []
    for key, read in readers.items():
        if key not in params:
            continue
        try:
            wanted[key] = read(params[key])
        except UserError as error:
            problems.append(str(error))
        except ValueError:
            problems.append(f"{key} cannot be {show_value(params[key])}.")
    return wanted, problems


def write_query(parts: Mapping[str, object]) -> str:
    """The query of an address; what is empty is left out."""
    return urlencode({key: _write(value) for key, value in parts.items() if value not in ("", None, [])}, safe=",/@")


def _write(value: object) -> object:
    if isinstance(value, list):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else value


# Another tab, picture or model is a step that the browser's Back button takes back; a setting is not.
_FOLLOW = """
const STEPS = ["tab", "sample", "model"];
const read = () => new URLSearchParams(location.search);
let isFirst = true;
watch("value", () => {
    const now = read(), opened = document.querySelector("#tabs [role=tab][aria-selected=true]")?.id.split("-")[1];
    const wasOpened = isFirst && opened && !now.has("tab");  // a tab, while the page was made
    const query = wasOpened ? props.value.replace(/^tab=[^&]*/, "tab=" + opened) : props.value;
    const next = new URLSearchParams(query);
    const isStep = !isFirst && STEPS.some((key) => next.get(key) !== now.get(key));
    isFirst = false;
    if (query !== location.search.slice(1)) history[isStep ? "pushState" : "replaceState"](null, "", "?" + query);
});
window.addEventListener("popstate", () => location.reload());
"""

# The address says all, except for a picture of one's own. The clipboard exists on https and localhost only.
COPY_LINK = """async (sample) => {
    const note = sample ? "" : " It cannot hold your own picture.";
    let said = "The link is in the clipboard.";
    try { await navigator.clipboard.writeText(location.href); }
    catch { said = "Copy the link from the address bar."; }
    window.convscopeSay(said + note);
}"""
