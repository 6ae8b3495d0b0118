"""What an evaluation says of a model beyond its votes: identities and layer errors, on a few of the pictures."""

from contextlib import nullcontext, suppress
from dataclasses import replace

import numpy as np
import torch

from analysis.circular import CircularPadding
from analysis.errors import AnalysisError
from analysis.identities import check_identities
from analysis.layers import outline
from analysis.meter import LayerMeter, measure_layers
from analysis.scene import Scene
from lab import Lab
from models.evaluation_data import EvaluationData
from models.images import ImageError

NUM_PICTURES = 4
AVERAGED = ("error", "unaligned", "skill", "cosine", "stride_error", "padding_error", "new_content_error")


def check_model(lab: Lab, model: str, data: EvaluationData, rows: list[int], boundary: str, *, twin: bool) -> dict:
    """``{identities, layers, check_notes}``: identities on the first picture, layers under a shift by one pixel.

    Args:
        lab: Where the model is.
        model: A model name.
        data: The pictures.
        rows: Which of them may be used: the first that can be read of each of :data:`NUM_PICTURES` equal parts,
            as those of a folder are in the order of their classes.
        boundary: A key of ``BOUNDARIES``, for the layers.
        twin: Whether to measure the layers of the circular twin.
    """
    pictures = _open(data, rows)
    result = {"identities": [], "layers": [], "check_notes": []}
    with lab.use(model) as (loaded, facts):
        prep = loaded.spec.preprocessing
        if boundary == "crop":  # room for one pixel on every side
            prep = replace(prep, resize_size=max(prep.resize_size, prep.crop_size + 2))
        canvases = [prep.to_canvas(picture) for picture in pictures]
        reference = loaded.to_inputs(torch.stack([prep.crop(canvas) for canvas in canvases]))
        try:
            found = check_identities(
                loaded.module, reference[:1], canvas=loaded.to_inputs(canvases[0][None]), layers=facts.layers
            )
            result["identities"] = [identity.to_json() for identity in found]
        except AnalysisError as reason:
            result["check_notes"].append(str(reason))
        try:
            layers = outline(facts.layers)
            with CircularPadding() if twin else nullcontext():
                meters = [
                    measure_layers(
                        loaded.module,
                        Scene(canvas, prep.crop_size, boundary, loaded.to_inputs, prep.mean),
                        *(1, 0),
                        layers,
                        reference=reference,
                    )
                    for canvas in canvases
                ]
            result["layers"] = [_average(layer) for layer in zip(*meters, strict=True)]
        except AnalysisError as reason:
            result["check_notes"].append(str(reason))
    return result


def _open(data: EvaluationData, rows: list[int]) -> list:
    pictures = []
    for part in np.array_split(rows, NUM_PICTURES):
        for row in part.tolist():
            with suppress(ImageError):
                pictures.append(data.picture(row))
                break
    return pictures


def _average(meters: tuple[LayerMeter, ...]) -> dict:
    """One layer on all pictures: means over those where a number could be measured."""
    averaged = {}
    for name in AVERAGED:
        values = [value for meter in meters if (value := getattr(meter, name)) is not None]
        averaged[name] = sum(values) / len(values) if values else None
    first = meters[0]
    return {"name": first.name, "stride": first.stride, **averaged, "phase_spread": first.phase_spread}
