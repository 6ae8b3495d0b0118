"""The public endpoints, for ``gradio_client``, curl and MCP: the results of the lab as JSON."""

import functools
import inspect
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.context import LocalContext
from PIL import Image
from torch import Tensor

from analysis.attribution.baselines import BASELINES
from analysis.attribution.methods import METHODS
from analysis.convolution.convolve import MOST, PADDING_MODES
from analysis.convolution.pooling import POOLINGS
from analysis.convolution.stack import MAX_LETTERS, MAX_SIDE
from analysis.errors import Progress, UserError, no_progress
from analysis.features.classifiers import CLASSIFIERS
from analysis.features.kinds import KINDS
from analysis.losses.classification import LOSSES
from analysis.shift.move import BOUNDARIES
from lab.learning.claims import CLAIMS, check_claim, describe_claim
from lab.learning.convolution import ask_all, convolve_numbers, measure_layers, pool_numbers, read_input
from lab.learning.features import DEFAULT_LIMIT, MAX_LIMIT, measure_features, set_exam
from lab.learning.losses import measure_losses
from lab.learning.receptive_field import MOST_PICTURES, measure_field
from lab.learning.sound import MAX_SEED, find_detector, open_recording, scan_recording, scan_word
from lab.shifts import MAX_SHIFT, check_model, map_picture, measure_picture
from models.data.datasets import DATASETS
from models.data.images import open_image
from models.data.samples import get_sample
from models.registry import DEFAULT_MODEL
from models.settings import check_choice, check_flag, check_integer, check_number, show_value
from ui.entry import check_clean
from ui.services import Services
from ui.widgets.errors import hide_paths, says_errors
from ui.widgets.picture import check_picture_path, check_upload

Reader = Callable[[str, Any], Any]
SENT = {"image": dict | str, "picture": dict | str | None, "recording": dict | None}
"""Parameters of endpoints that clients send as something else than what the endpoint gets."""
MAX_NAME_LENGTH = 300
MAX_NUMBERS = 4096
"""Of an array in an answer; they take about 64 KB as JSON, and ten times that in memory. Longer ones are files."""
MAX_OPTIONS = 16
MAX_DISTANCE = 10_000.0
"""Pixels; what is too far for a model is refused there, with its size."""


def as_endpoint(services: Services, function: Callable) -> Callable:
    """Makes an endpoint of a function: it gets what ``PARAMETERS`` makes of the values that were sent.

    It is given up when its client leaves, if it takes ``progress``, which clients do not see; what it takes for a
    picture is what ``SENT`` says.
    """
    whole = inspect.signature(function)
    signature = whole.replace(parameters=[each for name, each in whole.parameters.items() if name != "progress"])

    @says_errors
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> object:
        given = signature.bind(*args, **kwargs).arguments
        for name, value in given.items():
            check_clean(name, value)
        request = LocalContext.request.get(None) or gr.Request()
        with services.act(request, gr.Progress()) as action:
            report = action.report("Opening the picture")
            opened: dict[str, Reader] = {
                "image": functools.partial(_open, progress=report),
                "picture": functools.partial(_open_any, report),
            }
            readers = PARAMETERS | opened
            values = {name: readers[name](name, value) for name, value in given.items()}
            if "model" in values:
                services.lab.models.fetch(values["model"], report)
            if "progress" in whole.parameters:
                values["progress"] = action.report("Computing")
            return function(**values)

    kinds = function.__annotations__.items()
    call.__annotations__ = {name: SENT.get(name, kind) for name, kind in kinds if name != "progress"}
    call.__signature__ = signature  # type: ignore[attr-defined]  # which functions may have
    return call


def add_endpoints(services: Services) -> None:
    """Adds one endpoint per command to the page that is being built."""
    lab, turns = services.lab, services.lab.models.turns
    endpoint = functools.partial(as_endpoint, services)
    send = functools.partial(_send_array, services)

    @endpoint
    def models() -> list:
        """Lists every model: name, source, num_params, num_classes, input_size, cached."""
        return [spec.summary() for spec in lab.registry.list_specs()]

    @endpoint
    def classify(
        image: Image.Image, model: str = DEFAULT_MODEL, top_k: int = 5, *, progress: Progress = no_progress
    ) -> dict:
        """Classifies an uploaded picture, or a sample by its name."""
        return {"model": model, **lab.classify(image, model, top_k, progress).to_json()}

    @endpoint
    def shift(
        image: Image.Image, model: str = DEFAULT_MODEL, dx: float = 3, dy: float = 0, boundary: str = "zero"
    ) -> dict:
        """Shifts a picture by network-input pixels and compares predictions and layers."""
        return lab.shift(image, model, dx, dy, boundary).to_json()

    @endpoint
    def explain(
        image: Image.Image,
        model: str = DEFAULT_MODEL,
        method: str = "saliency",
        target: int | str = -1,
        layer: str = "",
        contrast: str = "",
        baseline: str = "",
        options: dict | None = None,
        *,
        progress: Progress = no_progress,
    ) -> dict:
        """Attributes a class (index, -1: predicted, or name) to pixels; ``values`` is the signed map (C, H, W).

        ``contrast`` of two classes, A,B, explains A minus B; ``options`` are numbers by the names of the method's
        parameters. A map of more than 4096 numbers is a file for ``numpy.load``.
        """
        result = lab.explain(
            image,
            model,
            method,
            None if target == -1 else target,
            layer or None,
            progress=progress,
            options=options,
            contrast=contrast or None,
            baseline=baseline or None,
        )
        return {**result.to_json(), "values": send("values", result.attribution.values)}

    @endpoint
    def shift_map(
        image: Image.Image,
        model: str = DEFAULT_MODEL,
        max_shift: int = 8,
        boundary: str = "zero",
        twin: bool = False,
        *,
        progress: Progress = no_progress,
    ) -> dict:
        """Predicts at every shift of a picture up to max_shift pixels; rows are dy, columns dx."""
        *_, result = map_picture(lab, image, model, max_shift, boundary, twin=twin, progress=progress)
        return result.to_json()

    @endpoint
    def meter(
        image: Image.Image,
        model: str = DEFAULT_MODEL,
        dx: float = 1,
        dy: float = 0,
        boundary: str = "zero",
        twin: bool = False,
        *,
        progress: Progress = no_progress,
    ) -> dict:
        """Measures how well every layer moves along with a shifted picture, and what keeps it from it."""
        return measure_picture(lab, image, model, dx, dy, boundary, twin=twin, progress=progress).to_json()

    @endpoint
    def self_check(image: Image.Image, model: str = DEFAULT_MODEL, *, progress: Progress = no_progress) -> list:
        """Measures the identities that a model must fulfil, with controls that must fail."""
        return [result.to_json() for result in check_model(lab, model, image, progress=progress)]

    @endpoint
    def layers(model: str = DEFAULT_MODEL) -> list:
        """Lists the layers of a model: name, type, output_shape, num_params, stride, receptive_field."""
        return [layer.summary() for layer in lab.layers(model)]

    @endpoint
    def convolve(
        kernel: list | str = "mean",
        grid: list | None = None,
        picture: Image.Image | None = None,
        side: int | None = None,
        stride: int = 1,
        padding: int = 0,
        padding_mode: str = "zeros",
        dilation: int = 1,
        groups: int = 1,
        flip: bool = False,
        transposed: bool = False,
    ) -> dict:
        """Slides a kernel (numbers, or the name of one) over a signal, a grid, or the grey values of a picture.

        What has more than 4096 numbers is a file for ``numpy.load``.
        """
        settings = {"stride": stride, "padding": padding, "padding_mode": padding_mode, "dilation": dilation}
        settings |= {"groups": groups, "flip": flip, "transposed": transposed}
        with turns.take():
            return convolve_numbers(read_input(picture, grid, side=side), kernel, **settings).to_json(send)

    @endpoint
    def pool(
        grid: list | None = None,
        picture: Image.Image | None = None,
        side: int | None = None,
        kind: str = "max",
        window: int = 2,
        stride: int = 2,
    ) -> dict:
        """Pools a grid or the grey values of a picture: what a shift of a cell changes, and whether it is linear."""
        with turns.take():
            return pool_numbers(read_input(picture, grid, side=side), kind, window, stride).to_json(send)

    @endpoint
    def quiz(seed: int = 0) -> list:
        """Asks for the size, the parameters and the receptive field of random stacks, with the worked solutions."""
        return [question.to_json() for question in ask_all(seed)]

    @endpoint
    def stack(input: str, layers: str) -> list:
        """Lists what each layer of a stack such as "conv(6,5) relu" makes of a picture C,H,W, costs and sees."""
        return [row.to_json() for row in measure_layers(input, layers)]

    @endpoint
    def loss(scores: list, labels: list, kind: str = "softmax") -> dict:
        """Measures a loss of rows of scores (softmax, svm or kl): losses, probabilities and the gradient of each."""
        with turns.take():
            return measure_losses(scores, labels, kind).to_json(send)

    @endpoint
    def receptive_field(
        image: Image.Image,
        model: str = DEFAULT_MODEL,
        layer: str = "",
        pictures: int = MOST_PICTURES,
        *,
        progress: Progress = no_progress,
    ) -> dict:
        """Measures what the middle unit of a layer can see, and what moves it: theoretical, effective, in pixels."""
        field = measure_field(lab, image, model, layer or None, num_pictures=pictures, progress=progress)
        return field.to_json()

    @endpoint
    def features(
        data: str,
        kind: str = "hog",
        classifier: str = "linear",
        limit: int = DEFAULT_LIMIT,
        seed: int = 0,
        *,
        progress: Progress = no_progress,
    ) -> dict:
        """Classifies by features made by hand: accuracy, interval, seconds, shift_consistency."""
        exam = set_exam(data, str(lab.data_root), limit, seed)
        (measured,) = measure_features(exam, kind, [classifier], progress)
        return measured.summary()

    @endpoint
    def sound(recording: Path | None = None, seed: int = 0, *, progress: Progress = no_progress) -> dict:
        """Looks for a word in a recording, else in the one with this seed: at one place, and slid over time."""
        detector, accuracy = find_detector(0, progress)  # of one network, so that nobody has many trained
        with turns.take():
            if recording is None:
                scan = scan_word(detector, "word", seed)
            else:
                scan = scan_recording(detector, open_recording(recording))
        return scan.to_json(len(scan.places) // 2) | {"accuracy": accuracy.to_json()}

    @endpoint
    def lesson(name: str) -> dict:
        """Leads through a lesson: title, minutes, and steps with text, link and question, without the answers."""
        return services.shelf.get(name).to_json(name)

    @endpoint
    def claims() -> list:
        """Lists the claims of the lecture that can be checked: name, claim, section, seconds, and what it takes."""
        return [describe_claim(name) for name in CLAIMS]

    @endpoint
    def claim(name: str, *, progress: Progress = no_progress) -> dict:
        """Checks a claim of the lecture: the verdict (holds, fails, open), and each number beside what is claimed."""
        return check_claim(lab, name, progress).to_json()

    @endpoint
    def runs() -> list:
        """Lists the training runs: name, state, message, silence (since when one at work is unheard of), result."""
        shown = ("name", "state", "message", "silence", "result")
        return [
            {name: getattr(run, name) for name in shown} | {"message": hide_paths(run.message)}
            for run in services.jobs.list()
        ]

    looking = (models, classify, shift, shift_map, meter, self_check, explain, layers, runs)
    learning = (convolve, pool, stack, quiz, loss, receptive_field, features, sound, lesson, claims, claim)
    for call in (*looking, *learning):
        gr.api(call, api_name=call.__name__)


def _send_array(services: Services, name: str, values: Tensor) -> list | dict:
    """Lists of numbers, or the file that gradio serves, and that ``gradio_client`` downloads, in their place."""
    if values.numel() <= MAX_NUMBERS:
        return values.tolist()
    path = services.new_file(f"{name}.npy")
    np.save(path, values.numpy())
    return gr.FileData(path=str(path), orig_name=path.name).model_dump()


def _open(name: str, value: object, progress: Progress = no_progress) -> Image.Image:
    """A sample by name, or a file that was uploaded to this server; no other path on it can be read."""
    if isinstance(value, str):
        return open_image(get_sample(_read_name(name, value)).path, progress=progress)
    return open_image(check_picture_path(value.get("path", "") if isinstance(value, dict) else ""), progress=progress)


def _open_any(progress: Progress, name: str, value: object) -> Image.Image | None:
    """None where none was sent."""
    return None if value is None else _open(name, value, progress)


def _open_recording(name: str, value: object) -> Path | None:
    """A file that was uploaded to this server."""
    if value is None:
        return None
    path = value.get("path", "") if isinstance(value, dict) else ""
    return check_upload(path, "A recording is a WAV file that was uploaded to this server.")


def _read_text(most: int) -> Reader:
    def read(name: str, value: Any) -> str:
        if not isinstance(value, str) or len(value) > most:
            raise UserError(f"{name} must be a text of at most {most} letters, not {show_value(value)}.")
        return value

    return read


def _read_any(name: str, value: Any) -> Any:
    """What its own function checks: numbers in lists, or their text."""
    return value


def _read_name(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_NAME_LENGTH:
        raise UserError(f"{name} must be a name, not {show_value(value)}.")
    return value


def _read_integer(low: int, high: int) -> Reader:
    def read(name: str, value: Any) -> int:
        if isinstance(value, float) and value.is_integer():  # JavaScript has no other numbers
            value = int(value)
        check_integer(name, value, low, high)
        return value

    return read


def _read_class(name: str, value: Any) -> int | str:
    return _read_name(name, value) if isinstance(value, str) else _read_integer(-1, 2**31)(name, value)


def _read_distance(name: str, value: Any) -> float:
    check_number(name, value, -MAX_DISTANCE, MAX_DISTANCE)
    return float(value)


def _read_choice(choices: Collection[str]) -> Reader:
    def read(name: str, value: Any) -> str:
        check_choice(name, value, choices)
        return value

    return read


def _read_options(name: str, value: Any) -> dict[str, float] | None:
    """Names and numbers; whether the method has them, it says itself."""
    if value is not None and not (isinstance(value, dict) and len(value) <= MAX_OPTIONS):
        raise UserError(f"{name} must be an object of names and numbers, not {show_value(value)}.")
    return value


def _read_flag(name: str, value: Any) -> bool:
    check_flag(name, value)
    return value


PARAMETERS: dict[str, Reader] = {
    "image": _open,
    "model": _read_name,
    "layer": _read_name,
    "top_k": _read_integer(1, 1000),
    "target": _read_class,
    "max_shift": _read_integer(1, MAX_SHIFT),
    "dx": _read_distance,
    "dy": _read_distance,
    "boundary": _read_choice(BOUNDARIES),
    "method": _read_choice(METHODS),
    "contrast": _read_text(2 * MAX_NAME_LENGTH),
    "baseline": lambda name, value: value if value == "" else _read_choice(BASELINES)(name, value),
    "options": _read_options,
    "twin": _read_flag,
    "kernel": _read_any,
    "grid": _read_any,
    "side": lambda name, value: value if value is None else _read_integer(1, MAX_SIDE)(name, value),
    "stride": _read_integer(1, MOST),
    "padding": _read_integer(0, MOST),
    "dilation": _read_integer(1, MOST),
    "groups": _read_integer(1, 1024),
    "padding_mode": _read_choice(PADDING_MODES),
    "flip": _read_flag,
    "transposed": _read_flag,
    "scores": _read_any,
    "labels": _read_any,
    "kind": _read_choice([*LOSSES, *POOLINGS, *KINDS]),
    "data": _read_choice(DATASETS),
    "classifier": _read_choice(CLASSIFIERS),
    "limit": _read_integer(2, MAX_LIMIT),
    "recording": _open_recording,
    "window": _read_integer(1, MOST),
    "seed": _read_integer(0, MAX_SEED),
    "pictures": _read_integer(1, MOST_PICTURES),
    "input": _read_text(MAX_NAME_LENGTH),
    "layers": _read_text(MAX_LETTERS),
    "name": _read_name,
}
"""Parameter of an endpoint -> what makes a usable value of its name and what was sent; UserError if nothing can."""
