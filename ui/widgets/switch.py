"""Groups of controls that are there with certain values of another control, shown without asking the server."""

import json
from collections.abc import Collection, Mapping

import gradio as gr

from ui.widgets.events import Block, Field, Update, Values


class Switch:
    """Shows groups with certain values of a control.

    Args:
        control: The control.
        groups: What is shown -> the values it is shown with.
    """

    def __init__(self, control: Field, groups: Mapping[Block, Collection]):
        self.control, self.groups = control, groups
        for group, values in groups.items():
            group.visible = control.value in values
        if isinstance(control, gr.File):
            raise TypeError("A file is no choice.")
        control.input(None, control, list(groups), js=_SHOW.format(json.dumps(list(map(list, groups.values())))))

    def show(self, value: object) -> Values:
        """The same where the control is set by code."""
        return {group: gr.update(visible=value in values) for group, values in self.groups.items()}


def merge(*many: Values) -> Values:
    """Updates of several kinds of the same components in one; values of their own count as updates of the value."""
    merged: dict[Block, Update] = {}
    for updates in many:
        for part, update in updates.items():
            kind = update if isinstance(update, dict) and "__type__" in update else gr.update(value=update)
            merged[part] = merged.get(part, {}) | kind
    return dict(merged)


_SHOW = """(value) => {}.map(
    (values) => ({{__type__: "update", visible: values.includes(value)}})
)"""
