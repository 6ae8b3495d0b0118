"""Where whatever a browser or another program sends comes in, and what goes wrong in an event goes out."""

import copy
import json
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from gradio.blocks import BlockContext, BlockFunction
from gradio.components import Component
from gradio.components.api_component import Api
from gradio.events import EventData
from gradio.state_holder import SessionState

from analysis.errors import UserError
from models.access import OWNER, acting, viewer
from models.settings import show_value
from models.terminal import printable
from ui.rights import find_role
from ui.visitors import Visitors
from ui.widgets.errors import BUG, describe_error, refuse, refuse_call

ROLE_WORDS = {
    "owner": "You are the owner of this page: everything on it is yours to see and to change.",
    "look": "You are a visitor: look at the samples, and at what the owner shows.",
    "try": "You are a visitor: try the samples and pictures of your own, and look at what the owner shows.",
    "train": "You are a visitor: try pictures of your own, and train networks, which only you and the owner see. "
    "When visitors’ runs take too much room, the oldest are deleted.",
}
"""Role -> what whoever has it is told."""
MAX_DEPTH = 8
"""Lists within tables within lists: files come three deep."""

_log = logging.getLogger(__name__)


def is_clean(value: object, depth: int = 0) -> bool:
    """Whether there is nothing in a value from outside that breaks what it goes into.

    That is half characters (lone surrogates, which no answer could carry), numbers that are not finite, and depth.
    """
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        return depth < MAX_DEPTH and all(is_clean(each, depth + 1) for each in value)
    return True


def check_clean(name: str, value: object) -> None:
    """Raises UserError, which names the setting, unless a value is clean."""
    if not is_clean(value):
        raise UserError(f"{name} must be readable text or a finite number.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53


def _is_choice(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _is_list(is_entry: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or (isinstance(value, list) and all(map(is_entry, value)))


def _is_file(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("path"), str)


KINDS: dict[type[gr.components.Component], tuple[Callable[[object], bool], str]] = {
    gr.Slider: (_is_number, "a number"),
    gr.Number: (lambda value: value is None or _is_number(value), "a number"),
    gr.Checkbox: (lambda value: value is None or isinstance(value, bool), "true or false"),
    gr.CheckboxGroup: (_is_list(_is_choice), "a list of choices"),
    gr.Dropdown: (_is_choice, "a choice"),
    gr.Radio: (_is_choice, "a choice"),
    gr.Textbox: (lambda value: value is None or isinstance(value, str), "a text"),
    gr.Button: (lambda value: value is None or isinstance(value, str), "a text"),
    gr.HTML: (lambda value: value is None or isinstance(value, str), "a text"),
    gr.File: (
        lambda value: value is None or _is_file(value) or (isinstance(value, list) and all(map(_is_file, value))),
        "an uploaded file",
    ),
    gr.Image: (lambda value: value is None or _is_file(value), "an uploaded picture"),
    gr.Audio: (lambda value: value is None or _is_file(value), "an uploaded recording"),
}
"""Kind of component -> whether a value can be one of its, and what that is; of other kinds every clean value can."""


def check_inputs(components: Sequence[Component | BlockContext], values: Sequence[object]) -> None:
    """Refuses what no control of the page can send; what it means is checked where it is used.

    Raises:
        UserError: Names the setting.
    """
    if len(values) < len(components):
        raise UserError(f"{len(components)} values are needed here, not {len(values)}.")
    for component, value in zip(components, values, strict=False):
        if (
            not isinstance(component, Component) or component.stateful or isinstance(component, Api)
        ):  # the server's own; see ui.api
            continue
        name = getattr(component, "label", None) or component.get_block_name()
        check_clean(name, value)
        kinds = (gr.CheckboxGroup,) if getattr(component, "multiselect", False) else type(component).__mro__
        for is_one, words in (KINDS[kind] for kind in kinds if kind in KINDS):
            if not is_one(value):
                raise UserError(f"{name} must be {words}, not {show_value(value)}.")


def read_position(event: EventData, places: Sequence) -> int:
    """Which of the places a click names.

    Raises:
        UserError: None of them.
    """
    position = event._data.get("index") if isinstance(event._data, dict) else None
    if isinstance(position, int) and 0 <= position < len(places):
        return position
    raise UserError("There is nothing any more where you clicked; click again.")


class Page(gr.Blocks):
    """Blocks whose events check who asks and what comes in, and end with a sentence whatever goes wrong.

    ``visitors`` says who asks; without it, everybody is the owner.
    """

    visitors: Visitors | None = None

    def write_role(self) -> str:
        """What whoever asks may do, in a word and a sentence, as JSON; nothing where everybody may do everything."""
        if self.visitors is None or self.visitors.role is None:
            return ""
        return json.dumps({"role": viewer().role, "says": ROLE_WORDS[viewer().role]})

    async def preprocess_data(
        self, block_fn: BlockFunction, inputs: list[Any], *args: Any, **kwargs: Any
    ) -> list[Any]:
        """Refuses what no control can send; what gradio itself has against a value is no bug either."""
        check_inputs(block_fn.inputs, inputs)
        if self.visitors is not None and not viewer().is_owner:
            self.visitors.check_files(viewer(), inputs)
        try:
            return await super().preprocess_data(block_fn, inputs, *args, **kwargs)
        except gr.Error:
            raise
        except ValueError as error:  # InvalidPathError, ComponentProcessingError, pydantic's ValidationError
            raise UserError("A value that was sent does not fit this page; load the page again.") from error

    async def postprocess_data(
        self, block_fn: BlockFunction, predictions: Any, state: SessionState | None
    ) -> list[Any]:
        """The answer; notes whose the files in it are."""
        shown = await self._show(block_fn, predictions, state)
        if self.visitors is not None and not viewer().is_owner:
            self.visitors.give_files(viewer(), shown)
        return shown

    async def _show(self, block_fn: BlockFunction, predictions: Any, state: SessionState | None) -> list[Any]:
        """Leaves alone what a handler does not name: gradio would make each such component anew, 1 ms for each.

        A handler that names nothing changes nothing. Gradio takes ``{}`` for the value of a single output; so it is
        in answers of the API alone.
        """
        outputs = block_fn.outputs
        named: dict[Any, Any] | None = None
        if isinstance(predictions, dict) and not any(isinstance(block, Api) for block in outputs):
            named = {} if predictions == gr.skip() else predictions
        elif isinstance(predictions, list | tuple) and len(predictions) == len(outputs) > 1:
            named = dict(zip(outputs, predictions, strict=True))
        if not outputs or named is None or not named.keys() <= {*outputs}:  # what gradio does well, or refuses
            return await super().postprocess_data(block_fn, predictions, state)
        changed = {block: value for block, value in named.items() if not _is_skip(value)}
        shown: dict[Any, Any] = {block: None for block in outputs if block.stateful}
        if changed:
            part = copy.copy(block_fn)
            part.outputs = [*changed]
            shown |= zip(changed, await super().postprocess_data(part, changed, state), strict=True)
        return [shown.get(block, gr.skip()) for block in outputs]

    async def process_api(self, block_fn: BlockFunction | int, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Refuses what whoever asks may not do. Lets an event end with a message; only bugs are news for the log."""
        function = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        try:
            who = OWNER
            if self.visitors is not None:
                who = self.visitors.who(kwargs.get("request"))
                who.check(find_role(function.fn))
                self.visitors.check_session(who, kwargs.get("session_hash"))
            with acting(who):
                return await super().process_api(function, *args, **kwargs)
        except Exception as error:
            if isinstance(error, gr.Error) and not error.print_exception:  # ours
                raise
            end = refuse_call if function.api_visibility == "public" else refuse
            end(describe_any(error, function.api_name or function.name))
            raise


def _is_skip(value: object) -> bool:
    return isinstance(value, dict) and value == gr.skip()


def describe_any(error: Exception, event: str | None) -> str:
    """What a visitor is told of an error in an event; of a bug the log says more."""
    if isinstance(error, gr.Error):  # a component's, about what was sent
        return str(error.message)
    message = describe_error(error)
    if message is None:
        _log.error("A bug in the event %s:", printable(event), exc_info=error)
    return message or BUG
