"""The public endpoints, for ``gradio_client``, curl and MCP: the results of the lab as JSON."""

import gradio as gr
from PIL import Image

from lab.shifting import check_model, map_picture, measure_picture
from models.errors import ModelsError
from models.images import open_image
from models.pretrained import DEFAULT_MODEL
from models.samples import get_sample
from ui import Services
from ui.errors import shows_errors
from ui.picture import check_picture_path
from ui.shift_map_panel import MAX_SHIFT


def add_endpoints(services: Services) -> None:
    """Adds one endpoint per command to the page that is being built."""
    lab = services.lab

    @shows_errors
    def models() -> list:
        """Lists every model: name, source, num_params, num_classes, input_size, cached."""
        return [spec.summary() for spec in lab.registry.list_specs()]

    @shows_errors
    def classify(image: dict | str, model: str = DEFAULT_MODEL, top_k: int = 5) -> dict:
        """Classifies an uploaded picture, or a sample by its name."""
        return {"model": model, **lab.classify(_open(image), model, _check_top_k(top_k)).to_json()}

    @shows_errors
    def shift(
        image: dict | str, model: str = DEFAULT_MODEL, dx: float = 3, dy: float = 0, boundary: str = "zero"
    ) -> dict:
        """Shifts a picture by network-input pixels and compares predictions and layers."""
        return lab.shift(_open(image), model, float(dx), float(dy), boundary).to_json()

    @shows_errors
    def explain(
        image: dict | str,
        model: str = DEFAULT_MODEL,
        method: str = "saliency",
        target: int | str = -1,
        layer: str = "",
    ) -> dict:
        """Attributes a class (index, -1: predicted, or name) to pixels; ``values`` is the signed map (C, H, W)."""
        wanted = target if isinstance(target, str) else int(target)
        result = lab.explain(_open(image), model, method, None if wanted == -1 else wanted, layer or None)
        return {**result.to_json(), "values": result.attribution.values.tolist()}

    @shows_errors
    def shift_map(
        image: dict | str, model: str = DEFAULT_MODEL, max_shift: int = 8, boundary: str = "zero", twin: bool = False
    ) -> dict:
        """Predicts at every shift of a picture up to max_shift pixels; rows are dy, columns dx."""
        *_, result = map_picture(lab, _open(image), model, _check_reach(max_shift), boundary, twin=bool(twin))
        return result.to_json()

    @shows_errors
    def meter(
        image: dict | str,
        model: str = DEFAULT_MODEL,
        dx: float = 1,
        dy: float = 0,
        boundary: str = "zero",
        twin: bool = False,
    ) -> dict:
        """Measures how well every layer moves along with a shifted picture, and what keeps it from it."""
        return measure_picture(lab, _open(image), model, float(dx), float(dy), boundary, twin=bool(twin)).to_json()

    @shows_errors
    def self_check(image: dict | str, model: str = DEFAULT_MODEL) -> list:
        """Measures the identities that a model must fulfil, with controls that must fail."""
        return [result.to_json() for result in check_model(lab, model, _open(image))]

    @shows_errors
    def layers(model: str = DEFAULT_MODEL) -> list:
        """Lists the layers of a model: name, type, output_shape, num_params, stride, receptive_field."""
        return [layer.summary() for layer in lab.layers(model)]

    @shows_errors
    def runs() -> list:
        """Lists the training runs: name, state, message, result."""
        return [
            {"name": run.name, "state": run.state, "message": run.message, "result": run.result}
            for run in services.jobs.list()
        ]

    for endpoint in (models, classify, shift, shift_map, meter, self_check, explain, layers, runs):
        gr.api(endpoint, api_name=endpoint.__name__)


def _check_reach(max_shift: int) -> int:
    if not 1 <= max_shift <= MAX_SHIFT:
        raise ModelsError(f"max_shift is a number from 1 to {MAX_SHIFT}, not {max_shift}.")
    return int(max_shift)


def _check_top_k(top_k: int) -> int:
    if not 1 <= top_k <= 1000:
        raise ModelsError(f"top_k is a number from 1 to 1000, not {top_k}.")
    return int(top_k)


def _open(image: dict | str) -> Image.Image:
    """A sample by name, or a file that was uploaded to this server; no other path on it can be read."""
    if isinstance(image, str):
        return open_image(get_sample(image).path)
    return open_image(check_picture_path(image.get("path", "") if isinstance(image, dict) else ""))
