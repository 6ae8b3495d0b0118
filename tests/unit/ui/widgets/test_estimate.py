"""What stands beside a start button."""

import gradio as gr
import pytest

from analysis.errors import UserError
from lab.evaluation.outlook import Outlook
from ui.widgets.estimate import describe_outlook, tell_start


def test_the_time_the_pictures_and_the_models_are_told():
    assert describe_outlook(Outlook(1000, 11, 300.0, False), 1) == (
        "About 5 min if this machine does nothing else: 1,000 pictures, 11 views of each."
    )
    assert describe_outlook(Outlook(10, 9, 30.0, True), 3).startswith("At most about 30 s ")
    assert describe_outlook(Outlook(10, 9, 30.0, True), 3).endswith(", 3 models.")
    assert "downloaded first" in describe_outlook(Outlook(10, 9, None, False), 1)


def test_what_cannot_start_is_told_and_cannot_be_pressed():
    button, said = gr.Button(), gr.HTML()

    def fail(error: Exception) -> str:
        raise error

    shown = tell_start(button, said, lambda: "About <1 s.")
    assert shown[button]["interactive"] and "About &lt;1 s." in shown[said]
    shown = tell_start(button, said, lambda: fail(UserError("No cures in /srv/secret/place.")))
    assert not shown[button]["interactive"] and "No cures in place." in shown[said]
    with pytest.raises(ZeroDivisionError):
        tell_start(button, said, lambda: fail(ZeroDivisionError()))
