"""The self-check: identities that shifting has to obey, measured on the loaded model, with negative controls.

An identity is an exact statement, so whatever is more than rounding is a fault: of the model, where its
architecture cannot obey it, or of the instruments. A negative control is a case that must break the identity;
without it an error of 0 could come from a comparison that sees nothing.
"""

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from analysis.errors import Progress, UserError, no_progress
from analysis.network.hooks import preserved
from analysis.network.layers import Layer
from analysis.self_check import borders, instruments, phases, twin
from analysis.self_check.findings import Finding, NotApplicable
from analysis.self_check.subject import Subject
from analysis.shift.polyphase import NotExact

CONTROL_RATIO = 100
"""A negative control has to break its identity by so many times the error of the identity itself."""


@dataclass(frozen=True)
class Identity:
    """One row of the table.

    Attributes:
        name: ``I1`` to ``I21``.
        title: What must hold, in plain words; for a control what must break.
        check: Measures it on a model, or raises ``NotApplicable``.
        tolerance: Largest error in float32 on the CPU; 0 means to the last bit.
        control_of: The identity that this one must break, for negative controls.
        rounding: Largest error in float32 of an identity that float64 shows to be met, where a whole network rounds
            more than ``tolerance``.
    """

    name: str
    title: str
    check: Callable[[Subject], Finding]
    tolerance: float
    control_of: str | None = None
    rounding: float = 0.0

    def tolerance_for(self, inputs: Tensor) -> float:
        """The tolerance for the precision and the device of ``inputs``."""
        if self.tolerance == self.rounding == EXACT:
            return EXACT
        if inputs.dtype == torch.float64:
            return DOUBLE
        if self.tolerance == EXACT:
            return EXACT
        return self.tolerance if inputs.device.type == "cpu" else max(self.tolerance, LOGITS)


EXACT, FEATURES, LOGITS, DOUBLE = 0.0, 1e-6, 1e-5, 1e-12
"""Tolerances: to the last bit, of a few operations, of a whole network, whose rounding adds up, and of float64."""

IDENTITIES = (
    Identity("I1", "Layers before the first stride move with every shift", twin.check_stride_one_layers, FEATURES),
    Identity("I2", "Every layer moves with shifts by its stride", twin.check_lattice, FEATURES, rounding=LOGITS),
    Identity("I3", "Layers with a stride break at other shifts", twin.check_out_of_phase, LOGITS, "I2"),
    Identity("I4", "Logits stay at shifts by the total stride", twin.check_pooled_logits, LOGITS),
    Identity("I5", "Logits stay, behind a global maximum", twin.check_max_pooled_logits, EXACT, rounding=LOGITS),
    Identity("I6", "Logits behind a flattened map change", twin.check_flattened_logits, LOGITS, "I2"),
    Identity("I7", "Max-pooling moves with shifts by its stride", twin.check_max_pooling_in_phase, FEATURES),
    Identity("I7", "Max-pooling breaks at odd shifts", twin.check_max_pooling_out_of_phase, FEATURES, "I7"),
    Identity("I8", "Pooling that does not wrap around breaks layers", twin.check_unwrapped_pooling, LOGITS, "I2"),
    Identity("I9", "Sizes that the stride does not divide break layers", twin.check_indivisible_size, LOGITS, "I2"),
    Identity("I10", "Adaptive sampling: logits stay at every shift", twin.check_adaptive_sampling, LOGITS),
    Identity("I11", "Adaptive sampling breaks on odd maps", twin.check_adaptive_sampling_of_odd_maps, LOGITS, "I10"),
    Identity(
        "I12", "Cells without padding are equal in two crops", borders.check_valid_region, EXACT, rounding=LOGITS
    ),
    Identity("I12", "Cells with padding are not", borders.check_padded_region, LOGITS, "I12"),
    Identity("I13", "In a frame of zeros all boundary rules agree", instruments.check_zero_margin, EXACT),
    Identity("I13", "Without the frame they differ", instruments.check_without_margin, EXACT, "I13"),
    Identity("I14", "Circular shifts compose and can be undone", instruments.check_shift_algebra, EXACT),
    Identity("I14", "Shifts that invent pixels cannot", instruments.check_other_boundaries, EXACT, "I14"),
    Identity("I15", "Fractional shifts add up to whole pixels", instruments.check_fourier_shift, FEATURES),
    Identity("I15", "They do not for a checkerboard", instruments.check_fourier_shift_at_nyquist, FEATURES, "I15"),
    Identity("I16", "The aligner finds no error without aliasing", instruments.check_aligner, FEATURES),
    Identity("I16", "Bilinear interpolation would find one", instruments.check_bilinear_aligner, FEATURES, "I16"),
    Identity("I17", "Shifts that differ by the total stride agree", phases.check_phases, LOGITS),
    Identity("I17", "Shifts that differ by one pixel do not", phases.check_different_phases, LOGITS, "I17"),
    Identity("I18", "All shifts at once equal each one alone", phases.check_tree, LOGITS),
    Identity("I18", "They do not equal the neighbouring shift", phases.check_wrong_leaf, LOGITS, "I18"),
    Identity("I19", "One pass through unpadded layers holds all crops", borders.check_one_pass, LOGITS),
    Identity("I20", "The same picture twice gives the same logits", phases.check_same_batch, EXACT, rounding=LOGITS),
    Identity("I21", "Full zero padding: logits stay", borders.check_full_padding, EXACT, rounding=LOGITS),
    Identity("I21", "They change at shifts by one pixel", borders.check_full_padding_out_of_phase, LOGITS, "I21"),
)


@dataclass(frozen=True)
class IdentityResult:
    """What one identity, or one negative control, came to.

    Attributes:
        error: Relative error ``|a - b| / |b|``, Euclidean norms; None where it does not apply.
        tolerance: Largest error of an identity, or of its rounding if the note tells of that; a control must have a
            larger one.
        is_negative_control: Whether the identity has to be broken: by 100 times its own error, at least.
        passed: None where it does not apply.
        note: What was compared, or the reason why it does not apply.
    """

    identity: str
    title: str
    error: float | None
    tolerance: float
    is_negative_control: bool
    passed: bool | None
    note: str

    def to_json(self) -> dict:
        """For ``cli.py self-check --json``; an error that is not finite is None."""
        error = self.error if self.error is not None and math.isfinite(self.error) else None
        return {
            "identity": self.identity,
            "title": self.title,
            "error": error,
            "tolerance": self.tolerance,
            "passed": self.passed,
            "negative_control": self.is_negative_control,
            "note": self.note,
        }


def check_identities(
    module: nn.Module,
    inputs: Tensor,
    *,
    canvas: Tensor | None = None,
    layers: Collection[Layer],
    progress: Progress = no_progress,
) -> tuple[IdentityResult, ...]:
    """Measures every identity of :data:`IDENTITIES` that says something about a model, in the order of the table.

    Most of them are about the circular twin (:class:`analysis.shift.circular.CircularPadding`). What is compared
    went through the network in one batch, with TF32, autocast and cuDNN's benchmarks switched off. An identity
    that fails in float32 is measured again in float64, to tell rounding from structure.

    Args:
        inputs: ``(N, C, H, W)`` network input in float32 or float64; only the first picture is used.
        canvas: ``(1, C, Hc, Wc)``: a larger, normalised view of the same picture, for identities of crops.
        layers: The layers of ``module`` for this input (:func:`analysis.network.layers.list_layers`).

    Raises:
        UserError: The picture has one flat colour, or other numbers than float32 and float64.
    """
    inputs = inputs[:1].detach()
    if inputs.dtype not in (torch.float32, torch.float64):
        raise UserError("Identities are checked in float32 or float64; convert the model and the picture.")
    if not (inputs.amax((-2, -1)) > inputs.amin((-2, -1))).any():
        raise UserError("A picture of one flat colour looks the same at every shift; choose another picture.")
    canvas = None if canvas is None else canvas[:1].detach()
    results: list[IdentityResult] = []
    with preserved(module), exact_arithmetic(inputs.device), torch.inference_mode():
        examination = _Examination(Subject(module, inputs, canvas, layers))
        for done, identity in enumerate(IDENTITIES, start=1):
            results.append(examination.judge(identity))
            progress(done, len(IDENTITIES))
    return tuple(results)


class _Examination:
    """Judges one identity after the other; controls need what was found before."""

    def __init__(self, subject: Subject):
        self.subject = subject
        self.in_float64: Subject | None = None
        self.positives: dict[str | None, IdentityResult] = {}

    def judge(self, identity: Identity) -> IdentityResult:
        tolerance = identity.tolerance_for(self.subject.inputs)
        positive = self.positives.get(identity.control_of)
        if positive is not None and not positive.passed:
            reason = "does not apply" if positive.passed is None else "is not met, so nothing can break it"
            return _result(identity, tolerance, None, None, f"{positive.identity} {reason}.")
        try:
            finding = _examine(identity, self.subject)
        except NotApplicable as reason:
            result = _result(identity, tolerance, None, None, str(reason))
        else:
            result = self._measure(identity, tolerance, finding, positive)
        if positive is None:
            self.positives[identity.name] = result
        return result

    def _measure(
        self, identity: Identity, tolerance: float, finding: Finding, positive: IdentityResult | None
    ) -> IdentityResult:
        if positive is not None:
            limit = max(CONTROL_RATIO * (positive.error or 0.0), tolerance)
            return _result(identity, tolerance, finding.error, finding.error > limit, finding.note)
        if finding.error <= tolerance:
            return _result(identity, tolerance, finding.error, True, finding.note)
        is_rounding, cause = self._explain(identity)
        if is_rounding:
            tolerance = max(tolerance, identity.rounding)
        return _result(identity, tolerance, finding.error, finding.error <= tolerance, f"{finding.note} {cause}")

    def _explain(self, identity: Identity) -> tuple[bool, str]:
        """Whether double precision makes an error go away, and a sentence that says so."""
        if self.subject.inputs.dtype == torch.float64:
            return False, "Structural: this is double precision already."
        try:
            self.in_float64 = self.in_float64 or self.subject.in_float64()
            error = _examine(identity, self.in_float64).error
        except (NotApplicable, RuntimeError):
            return False, "The model does not run in float64, which would tell rounding from structure."
        is_rounding = error <= identity.tolerance_for(self.in_float64.inputs)
        return is_rounding, f"{'Rounding' if is_rounding else 'Structural'}: the error in float64 is {error:.1e}."


def _examine(identity: Identity, subject: Subject) -> Finding:
    """What an identity finds; a tree whose own verification failed has failed here, too."""
    try:
        return identity.check(subject)
    except NotExact as fault:
        return Finding(fault.error, str(fault))


def _result(
    identity: Identity, tolerance: float, error: float | None, passed: bool | None, note: str
) -> IdentityResult:
    is_control = identity.control_of is not None
    return IdentityResult(identity.name, identity.title, error, tolerance, is_control, passed, note)


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Full float32 products, no autocast, no choice of algorithms by timing; everything as before after the block."""
    cuda, cudnn, mkldnn = torch.backends.cuda, torch.backends.cudnn, torch.backends.mkldnn
    # These modules get their parts when they are imported, where mypy does not see it.
    parts = [cuda.matmul, mkldnn.matmul, cudnn.conv, mkldnn.conv]  # type: ignore[attr-defined]
    settings: list[tuple[Any, str, object]] = [(part, "fp32_precision", "ieee") for part in parts]
    settings += [(cudnn, "benchmark", False), (cudnn, "deterministic", True)]
    before = [(part, name, getattr(part, name)) for part, name, _ in settings]
    try:
        for part, name, value in settings:
            setattr(part, name, value)
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for part, name, value in before:
            setattr(part, name, value)
