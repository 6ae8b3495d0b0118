"""What an evaluation says of a model beyond its votes: identities and layer errors, on a few of the pictures."""

from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from analysis.consistency.statistics import estimate, interval
from analysis.consistency.tabulate import Ratio, Table
from analysis.equivariance.meter import LayerMeter, measure_layers
from analysis.errors import UserError
from analysis.network.layers import outline
from analysis.self_check.identities import check_identities
from analysis.shift.circular import CircularPadding
from analysis.shift.scene import Scene
from lab.session import Lab
from models.data.decoding.formats import ImageError
from models.data.labelled import EvaluationData

NUM_PICTURES = 32
Number = TypeVar("Number", float, np.ndarray)
ERRORS = ("error", "unaligned", "stride_error", "padding_error", "new_content_error")


def check_model(
    lab: Lab, model: str, data: EvaluationData, rows: list[int], boundary: str, *, twin: bool, seed: int = 0
) -> dict:
    """``{identities, layers, check_notes}``: identities on the first picture, layers under a shift by one pixel.

    A layer is ``{name, stride, num_images, phase_spread}`` and, each as ``{value, low, high}``, its ``error,
    unaligned, stride_error, padding_error, new_content_error, skill, cosine``; see
    :class:`analysis.equivariance.meter.LayerMeter`.

    Args:
        rows: Which of them may be used: the first that can be read of each of :data:`NUM_PICTURES` equal parts,
            as those of a folder are in the order of their classes.
    """
    result: dict[str, list] = {"identities": [], "layers": [], "check_notes": []}
    with lab.use(model) as (loaded, facts):
        prep = loaded.spec.preprocessing
        if boundary == "crop":  # room for one pixel on every side
            prep = replace(prep, resize_size=max(prep.resize_size, prep.crop_size + 2))
        canvases = [prep.to_canvas(picture) for picture in _open(data, rows)]
        reference = loaded.to_inputs(torch.stack([prep.crop(canvas) for canvas in canvases]))
        try:
            found = check_identities(
                loaded.module, reference[:1], canvas=loaded.to_inputs(canvases[0][None]), layers=facts.layers
            )
            result["identities"] = [identity.to_json() for identity in found]
        except UserError as reason:
            result["check_notes"].append(str(reason))
        try:
            layers = outline(facts.layers)
            scenes = [Scene(canvas, prep.crop_size, boundary, loaded.to_inputs, prep.mean) for canvas in canvases]
            with CircularPadding() if twin else nullcontext():
                meters = measure_layers(loaded.module, scenes, 1, 0, layers, reference=reference)
            result["layers"] = [_join(layer, seed) for layer in zip(*meters, strict=True)]
        except UserError as reason:
            result["check_notes"].append(str(reason))
    return result


def _open(data: EvaluationData, rows: list[int]) -> Iterator[Image.Image]:
    """One after the other: at full size, all of them could be more than the memory holds."""
    for part in np.array_split(rows, NUM_PICTURES):
        for row in part.tolist():
            with suppress(ImageError):
                yield data.picture(row)
                break


def _join(meters: tuple[LayerMeter, ...], seed: int) -> dict:
    """One layer over all pictures: every number with its bootstrap interval over the pictures.

    Errors are ratios of sums: ``|z' - A z|`` over all pictures at once, by ``|A z - m|`` over all of them. A picture
    that the layer hardly responds to counts as little as it should; a mean of ratios would let it decide.
    """
    energy = np.array([meter.scale or 0.0 for meter in meters]) ** 2
    energy /= energy.max() or 1.0
    measured = {name: np.array([getattr(meter, name) for meter in meters], float) for name in (*ERRORS, "cosine")}
    measured |= {name: measured[name] ** 2 for name in ERRORS}
    known = {name: np.isfinite(values) * energy for name, values in measured.items()}  # None has become NaN
    ratios: dict[str, Ratio | None] = {
        name: (np.nan_to_num(values) * known[name], known[name]) for name, values in measured.items()
    }
    found = estimate(Table(ratios, None, np.arange(len(meters)), np.ones(len(meters))), seed)
    values = {name: _root(found.values[name]) for name in ERRORS}
    replicates = {name: _root(found.replicates[name]) for name in ERRORS}
    first = meters[0]
    return {
        "name": first.name,
        "stride": first.stride,
        "num_images": int((energy > 0).sum()),
        **{name: interval(values[name], replicates[name]) for name in ERRORS},
        "skill": interval(
            _skill(values["error"], values["unaligned"]), _skill(replicates["error"], replicates["unaligned"])
        ),
        "cosine": found.to_json("cosine"),
        "phase_spread": first.phase_spread,
    }


def _root(squares: Number | None) -> Number | None:
    return None if squares is None else squares**0.5


def _skill(error: Number | None, unaligned: Number | None) -> Number | None:
    if error is None or unaligned is None or not np.all(unaligned):
        return None
    return 1 - error / unaligned
