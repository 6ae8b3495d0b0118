"""Identities of the circular twin, one function each: what is compared, and when it says nothing about a model."""

from contextlib import ExitStack
from dataclasses import replace

import torch
from torch import Tensor, nn

from analysis.self_check.findings import Finding, NotApplicable, cut_even, find_largest, refusing, relative_error
from analysis.self_check.subject import FLATTEN, MAXIMUM, OUT_OF_PHASE, Subject
from analysis.shift.circular import CircularPadding
from analysis.shift.features import shift_features

BEYOND_ROUNDING = 1e-4
NUM_SHIFTS = 8
"""Shifts each way for what holds at every shift."""


# Feature maps and logits of the circular twin (I1 to I6)


def check_stride_one_layers(subject: Subject) -> Finding:
    """I1: layers before the first stride move with every shift."""
    subject = subject.fitted
    names = [layer.name for layer in subject.tiled if layer.stride == 1]
    if not names:
        raise NotApplicable(subject.untiled or "The first layer with a feature map already has a stride above 1.")
    errors = subject.circular.errors[1]
    return find_largest({name: errors[name] for name in names}, OUT_OF_PHASE, subject.inputs)


def check_lattice(subject: Subject) -> Finding:
    """I2: layers move with every shift by a multiple of their stride."""
    subject = subject.fitted
    errors = _on_lattice(subject, subject.circular.errors[0])
    finding = find_largest(errors, subject.lattice_shift, subject.inputs)
    origin = next((name for name, error in errors.items() if not error <= BEYOND_ROUNDING), None)
    notes = (finding.note, origin and f"It begins in {origin}.", subject.untiled)
    return replace(finding, note=" ".join(filter(None, notes)))


def check_out_of_phase(subject: Subject) -> Finding:
    """I3, a control: layers with a stride do not follow other shifts."""
    subject = subject.fitted
    names = [layer.name for layer in subject.tiled if layer.stride > 1]
    if not names:
        raise NotApplicable(subject.untiled or "No layer has a stride above 1: there are no shifts out of phase.")
    errors = subject.circular.errors[1]
    return find_largest({name: errors[name] for name in names}, OUT_OF_PHASE, subject.inputs)


def check_pooled_logits(subject: Subject) -> Finding:
    """I4: with pooling over all positions the logits stay."""
    head = subject.survey.head
    if head in FLATTEN:
        raise NotApplicable("The classifier reads the positions one by one (see I6).")
    if head in MAXIMUM:
        raise NotApplicable("The model ends in a global maximum (see I5).")
    return _logits(subject.fitted)


def check_max_pooled_logits(subject: Subject) -> Finding:
    """I5: with a maximum over all positions the logits stay, to the last bit."""
    if subject.survey.head not in MAXIMUM:
        raise NotApplicable("The model does not end in a global maximum.")
    return _logits(subject.fitted)


def check_flattened_logits(subject: Subject) -> Finding:
    """I6, a control: a classifier that reads positions notices the shift."""
    if subject.survey.head not in FLATTEN:
        raise NotApplicable("The classifier does not read a flattened feature map.")
    return _logits(subject.fitted)


def _on_lattice(subject: Subject, errors: dict[str, float]) -> dict[str, float]:
    layers = [layer for layer in subject.tiled if not any(d % layer.stride for d in subject.lattice_shift)]
    if not layers:
        raise NotApplicable(subject.untiled or "No layer has a feature map with a stride that divides the picture.")
    return {layer.name: errors[layer.name] for layer in layers}


def _logits(subject: Subject) -> Finding:
    subject.require_lattice()
    subject.require_response()
    logits = subject.circular.logits
    return Finding(relative_error(logits[1:2], logits[:1]), f"Logits at shift {subject.lattice_shift}.")


# What breaks the lattice (I7 to I11)


def check_max_pooling_in_phase(subject: Subject) -> Finding:
    """I7: max-pooling moves with shifts by its stride."""
    return _max_pooling(subject, in_phase=True)


def check_max_pooling_out_of_phase(subject: Subject) -> Finding:
    """I7, its control: max-pooling does not move with a shift by one cell."""
    return _max_pooling(subject, in_phase=False)


def _max_pooling(subject: Subject, *, in_phase: bool) -> Finding:
    pools = {str(part): part for part in subject.module.modules() if isinstance(part, nn.MaxPool2d)}
    pools = {name: pool for name, pool in pools.items() if pool.stride in (2, (2, 2))}
    if not pools:
        raise NotApplicable("The model has no max-pooling with stride 2.")
    cells = 2 if in_phase else 1
    pixels = cut_even(subject.inputs)
    errors = {}
    for name, pool in pools.items():
        with refusing(), CircularPadding():
            pooled, moved = pool(torch.cat([pixels, torch.roll(pixels, cells, -1)]))
        if any(2 * cell != side for cell, side in zip(pooled.shape[-2:], pixels.shape[-2:], strict=True)):
            continue
        errors[name] = relative_error(moved, shift_features(pooled, cells / 2, 0, circular=True)[0])
    if not errors:
        raise NotApplicable("No max-pooling with stride 2 makes half as many cells each way; they do not tile it.")
    choose = max if in_phase else min
    name = choose(errors, key=errors.__getitem__)
    return Finding(errors[name], f"{name} alone, on the picture, moved by {cells} px.")


def check_unwrapped_pooling(subject: Subject) -> Finding:
    """I8, a control: where only convolutions wrap around, padded pooling breaks the lattice."""
    subject = subject.fitted
    pools = [part for part in subject.module.modules() if isinstance(part, nn.MaxPool2d | nn.AvgPool2d)]
    if not any(part.padding not in (0, (0, 0)) for part in pools):
        raise NotApplicable("The model has no pooling with padding.")
    observed = subject.observe(WrapConvolutions(), [subject.lattice_shift])
    return find_largest(_on_lattice(subject, observed.errors[0]), subject.lattice_shift, subject.inputs)


class WrapConvolutions(CircularPadding):
    """Leaves the padding of pooling as it is."""

    def slide(self, func, call: dict) -> Tensor:
        """Wraps around what has a weight only."""
        return super().slide(func, call) if "weight" in call else func(**call)


def check_indivisible_size(subject: Subject) -> Finding:
    """I9, a control: a picture that is no whole number of cells breaks the lattice."""
    subject = _indivisible(subject)
    subject.require_response()
    step = subject.survey.stride
    errors = subject.observe(CircularPadding(), [(step, step)]).errors[0]
    return find_largest(errors, (step, step), subject.inputs)


def _indivisible(subject: Subject) -> Subject:
    """The same with half a cell of the coarsest layer less each way, or more where that would leave it one cell."""
    stride = subject.survey.stride
    if stride == 1:
        raise NotApplicable("Without strides every size is a whole number of cells.")
    sides, half = subject.fitted.inputs.shape[-2:], stride // 2
    height, width = (side - half if side > 2 * stride else side + half for side in sides)
    cut = subject.at_size((height, width))
    if cut is None:
        raise NotApplicable(f"The model does not take pictures of {height} x {width}.")
    return cut


def check_adaptive_sampling(subject: Subject) -> Finding:
    """I10: with adaptive polyphase sampling the logits stay at every shift."""
    _require_adaptive_sampling(subject)
    subject = subject.small
    subject.require_lattice()
    subject.require_response()
    height, width = subject.inputs.shape[-2:]
    # Odd steps, so that every phase is met.
    steps = width // NUM_SHIFTS | 1, height // NUM_SHIFTS | 1
    shifts = [(i * steps[0], j * steps[1]) for j in range(NUM_SHIFTS) for i in range(NUM_SHIFTS)]
    gaps: list[float] = []
    with ExitStack() as hooks:
        for part in subject.samplers:
            note = lambda part, args: gaps.append(float(part.phase_gap(args[0]).min()))  # noqa: E731
            hooks.enter_context(part.register_forward_pre_hook(note))
        logits = subject.run_twin(subject.shifted(shifts))
    return Finding(
        relative_error(logits[1:], logits[:1]),
        f"Logits at {len(shifts)} shifts over {height} x {width}; "
        f"the closest choice of a phase was won by {min(gaps, default=0):.1e}.",
    )


def check_adaptive_sampling_of_odd_maps(subject: Subject) -> Finding:
    """I11, a control: adaptive polyphase sampling needs even sizes."""
    _require_adaptive_sampling(subject)
    subject = _indivisible(subject)
    logits = subject.observe(CircularPadding(), [OUT_OF_PHASE]).logits
    height, width = subject.inputs.shape[-2:]
    return Finding(relative_error(logits[1:], logits[:1]), f"Logits at shift {OUT_OF_PHASE} at {height} x {width}.")


def _require_adaptive_sampling(subject: Subject) -> None:
    if not subject.samples_adaptively:
        raise NotApplicable("The model has no adaptive polyphase sampling.")
    if subject.survey.head in FLATTEN:
        raise NotApplicable("The classifier reads the positions one by one (see I6).")
