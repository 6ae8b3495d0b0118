"""What a visitor sees when an action cannot be done."""

import functools
from collections.abc import Callable

import gradio as gr
import torch

from analysis.errors import AnalysisError, Cancelled
from models.errors import ModelsError

EXPECTED = (ModelsError, AnalysisError)


def shows_errors(handler: Callable) -> Callable:
    """Turns expected errors into a message on the page; everything else is a bug and stays one."""

    @functools.wraps(handler)
    def call(*args, **kwargs):
        try:
            return handler(*args, **kwargs)
        except Cancelled:
            gr.Info("Cancelled.")
            return gr.skip()
        except EXPECTED as error:
            raise gr.Error(str(error), title="That did not work") from error
        except torch.OutOfMemoryError as error:
            raise gr.Error("The device has too little memory for this; try a smaller model.") from error

    return call
