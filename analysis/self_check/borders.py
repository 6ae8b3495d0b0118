"""Identities of a network with its own padding: crops of a larger picture, and full padding."""

import math

import torch
from torch import Tensor, nn

from analysis.equivariance.reduced_forwards import REJECTIONS
from analysis.network.hooks import watch_outputs
from analysis.self_check.findings import Finding, NotApplicable, find_largest, frame, relative_error
from analysis.self_check.subject import MAXIMUM, Subject


def check_valid_region(subject: Subject) -> Finding:
    """I12: cells that see no padding in either crop are equal."""
    return find_largest(
        {name: inner for name, (inner, _) in subject.crops.items()}, subject.crop_shift, subject.inputs
    )


def check_padded_region(subject: Subject) -> Finding:
    """I12, its control: the cells at the border do see the padding."""
    if not any(axis.low < 0 for pair in subject.survey.axes.values() for axis in pair):
        raise NotApplicable("Nothing is padded.")
    return find_largest(
        {name: whole for name, (_, whole) in subject.crops.items()}, subject.crop_shift, subject.inputs
    )


def check_one_pass(subject: Subject) -> Finding:
    """I19: one pass over a larger picture holds the maps of all its crops."""
    name = subject.maps[-1].name if subject.maps else ""
    axes = subject.survey.axes.get(name)
    if axes is None or any(axis.low != 0 for axis in axes):
        raise NotApplicable("The convolutions are padded, so crops differ from parts of a larger picture.")
    large = subject.inputs if subject.canvas is None else subject.canvas
    stride, reach = subject.survey.stride, max(math.ceil(axis.high + 1) for axis in axes)
    height, width = (side - 2 * stride for side in large.shape[-2:])
    if min(height, width) < reach + stride:
        raise NotApplicable(f"The picture is too small to cut crops of {reach + stride} px from it.")
    (whole,) = _features(subject, large, name)
    places = [(0, 0), (stride, 2 * stride), (2 * stride, stride)]
    crops = torch.cat([large[..., y : y + height, x : x + width] for x, y in places])
    errors = []
    for (x, y), crop in zip(places, _features(subject, crops, name), strict=True):
        part = whole[:, y // stride :, x // stride :][:, : crop.shape[-2], : crop.shape[-1]]
        errors.append(relative_error(crop, part))
    return Finding(max(errors), f"{name} of {len(places)} crops of {height} x {width}, and of the whole picture.")


def _features(subject: Subject, inputs: Tensor, name: str) -> Tensor:
    """The map of one layer; what comes behind it is not run, since it may not take this size."""

    def keep(_name: str, output: Tensor) -> None:
        raise _Reached(output.clone())

    try:
        with watch_outputs(subject.module, [name], keep):
            subject.module(inputs)
    except _Reached as reached:
        return reached.args[0]
    except REJECTIONS as error:
        raise NotApplicable("The model takes pictures of one size only.") from error
    raise NotApplicable(f"The layer {name} was not reached.")


class _Reached(Exception):
    """Ends a forward at the layer that is wanted; carries its output."""


def check_full_padding(subject: Subject) -> Finding:
    """I21: full zero padding loses nothing, so that a global maximum does not notice where content is."""
    return _full_padding(subject, subject.survey.stride)


def check_full_padding_out_of_phase(subject: Subject) -> Finding:
    """I21, its control: a shift by one pixel changes what the strides keep."""
    if subject.survey.stride == 1:
        raise NotApplicable("No layer has a stride above 1: there are no shifts out of phase.")
    return _full_padding(subject, 1)


def _full_padding(subject: Subject, shift: int) -> Finding:
    axes = subject.survey.axes.get(subject.maps[-1].name) if subject.maps else None
    # Fully padded: the first cell sees one pixel only, the first, and that in the last place of its window.
    if axes is None or any(axis.high != 0 or axis.low == 0 for axis in axes):
        raise NotApplicable("The convolutions are not fully padded (Red-Green networks of the kind F-Conv are).")
    if subject.survey.head not in MAXIMUM:
        raise NotApplicable("The model does not end in a global maximum.")
    if any(isinstance(part, nn.Conv2d) and part.bias is not None for part in subject.module.modules()):
        raise NotApplicable("The convolutions have a bias, which padding does not.")
    subject.require_response()
    framed = frame(subject.inputs, subject.survey.stride)
    logits = subject.module(torch.cat([framed, torch.roll(framed, (shift, shift), (-2, -1))]))
    note = f"Logits at shift ({shift}, {shift}) of a picture in a frame of zeros."
    return Finding(relative_error(logits[1:], logits[:1]), note)
