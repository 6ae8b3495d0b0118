"""Attribution: which pixels speak for a class, and which against it. One table of methods, one way to ask."""

import difflib
import time
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from analysis.attribution import cams, gradients, guided, layered, paths, perturbations, rollout, rules, segments
from analysis.attribution.method import Method
from analysis.attribution.obstacles import ForwardTrace, trace_forward
from analysis.attribution.paths import TOLERANCE
from analysis.attribution.question import Question, contrasted
from analysis.attribution.rewriting import Rewritten, rewrite
from analysis.attribution.rules_table import RULES
from analysis.errors import Progress, UserError, no_progress
from analysis.network.hooks import preserved

METHODS: dict[str, Method] = {
    method.name: method
    for module in (gradients, paths, guided, rules, perturbations, segments, layered, cams, rollout)
    for method in module.METHODS
}
"""Every method by name: those of each module, whose ``METHODS`` are entries of this table."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """A map of evidence.

    Attributes:
        layer: the feature map used, None for methods without one.
        values: float32 on the CPU, signed, in network-input pixels: ``(C, H, W)``, or ``(1, H, W)`` for
            Grad-CAM. Positive values speak for the class.
        completeness_gap: of methods that claim to add up: how far their sum is from the difference
            between the score of the picture and that of the baseline, as a share of that difference, or of 1 where
            it is smaller. None for all other methods.
        placement: of methods with a feature map: ``centres`` where every cell is drawn at the centre of its
            receptive field, ``even`` where that is not known. None for the others.
        versus: the class that the target is compared with, None for its logit alone.
    """

    method: str
    target: int
    layer: str | None
    values: Tensor
    seconds: float
    completeness_gap: float | None = None
    placement: str | None = None
    versus: int | None = None

    @property
    def is_flat(self) -> bool:
        """Whether the map is the same everywhere, so that there is nothing to draw."""
        return bool(self.values.min() == self.values.max())

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to know when reading this map, in sentences."""
        found = []
        claimed = METHODS[self.method].completeness
        if (gap := self.completeness_gap) is not None and claimed is not None:
            limit = "" if gap < TOLERANCE else claimed.when_open
            found.append(f"{claimed.claim} but for {100 * gap:.1f} %{limit}.")
        if self.placement == "even":
            found.append(f"What the cells of {self.layer} look at is not known; they are spread evenly.")
        return tuple(found)


def attribute(
    module: nn.Module,
    inputs: Tensor,
    target: int,
    method: str,
    *,
    layer: str | None = None,
    versus: int | None = None,
    baseline: Tensor | None = None,
    progress: Progress = no_progress,
    seed: int = 0,
    chunk: int | None = None,
    **options: float | None,
) -> Attribution:
    """Explains the logit of one class, or by how much it exceeds another, by the pixels of one image.

    Args:
        module: a classifier that returns logits ``(1, K)``; left exactly as it was found.
        inputs: ``(1, C, H, W)``, normalised for the model, on its device; left alone, too.
        method: key in ``METHODS``.
        layer: name of a submodule with a feature map, for the methods that need one; the last one if None.
        versus: index of another class: the logit of ``target`` minus its logit is explained.
        baseline: ``(1, C, H, W)`` or ``(C, H, W)``, normalised, for the methods that use one; zero, the mean colour,
            if None.
        progress: called as ``progress(done, total)`` between chunks, counted in images; may raise
            ``Cancelled``.
        seed: of all random numbers.
        chunk: images per pass, if not as many as suit the method.
        **options: of the method, by the names of its ``parameters``; None takes the default.

    Raises:
        UserError: the method cannot explain this model, or an argument does not fit it.
        Cancelled: ``progress`` asked to stop.
    """
    if method not in METHODS:
        raise UserError(f"There is no method called {method}; choose one of {', '.join(METHODS)}.")
    if inputs.ndim != 4 or len(inputs) != 1:
        raise UserError(f"One image (1, C, H, W) can be explained at a time, not {tuple(inputs.shape)}.")
    chosen = METHODS[method]
    chosen_options = chosen.check_options(options)
    started = time.perf_counter()
    # A caller's inference mode would forbid gradients altogether.
    with torch.inference_mode(False), torch.enable_grad(), preserved(module):
        inputs = inputs.detach().clone()
        model = _Examined(module, inputs)
        _check_classes(target, versus, model.trace)
        baseline = _check_baseline(chosen, baseline, inputs)
        if (obstacle := _find_obstacle(chosen, model)) is not None:
            raise UserError(obstacle)
        layer = _choose_layer(layer, chosen, model.trace) if chosen.needs_layer else None
        copied = model.find_copy(chosen)
        module.requires_grad_(False)
        inputs.requires_grad_()
        question = Question(module, inputs, target, layer or "", progress, seed, baseline, versus, chunk, copied)
        with contrasted(module, versus):
            found = chosen.run(question, **chosen_options)
        values = found.values[0].detach().float().cpu()
    if not values.isfinite().all():
        raise UserError(f"{chosen.title} gave values that are not finite; check the model's weights and the image.")
    seconds = time.perf_counter() - started
    return Attribution(method, target, layer, values, seconds, found.completeness_gap, found.placement, versus)


def find_obstacles(module: nn.Module, inputs: Tensor) -> dict[str, str]:
    """Returns, for each method that cannot explain this model, the reason in one sentence for its user.

    Args:
        module: a classifier; runs a few times and is left as it was found.
        inputs: one normalised image ``(1, C, H, W)``.
    """
    with torch.inference_mode(False), preserved(module):
        model = _Examined(module, inputs.detach().clone())
        reasons = {name: _find_obstacle(method, model) for name, method in METHODS.items()}
    return {name: reason for name, reason in reasons.items() if reason is not None}


class _Examined:
    """A model, and what is found out about it when somebody asks."""

    def __init__(self, module: nn.Module, inputs: Tensor) -> None:
        self.module, self.inputs = module, inputs

    @cached_property
    def trace(self) -> ForwardTrace:
        return trace_forward(self.module, self.inputs)

    @cached_property
    def rewritten(self) -> Rewritten:
        """Its copy with an activation in each module."""
        return rewrite(self.module, self.inputs)

    def find_copy(self, method: Method) -> nn.Module | None:
        """The copy that a method works on, None where it is the model itself."""
        is_needed = method.needs_rules or (method.needs_relu and self.trace.unguided)
        return self.rewritten.module if is_needed else None

    @cached_property
    def guided_trace(self) -> ForwardTrace:
        """Of that copy, where the model itself has activations that are out of reach, and where there is a copy."""
        copied = self.rewritten.module if self.trace.unguided else None
        return self.trace if copied is None else trace_forward(copied, self.inputs)


def _find_obstacle(method: Method, model: _Examined) -> str | None:
    if method.needs_layer and model.trace.default_layer is None:
        return (
            f"{method.title} needs a convolutional feature map near the output, and this model has none "
            "for this input: it works on a sequence of patches, or its last maps have a single position."
        )
    if method.needs_relu and (missed := model.guided_trace.unguided):
        return (
            f"{method.title} changes the gradient at ReLU modules only, and this model also uses "
            f"{' and '.join(missed)}, where it would silently be the plain gradient."
        )
    if method.needs_relu and not model.guided_trace.num_guided:
        return f"{method.title} changes the gradient at ReLU modules, and this model has none."
    if method.needs_rules and (problem := model.rewritten.problem):
        return f"{method.title} needs a rule for every operation of the model, and {problem}."
    if method.needs_rules and (missing := model.rewritten.missing[method.needs_rules]):
        title = RULES[method.needs_rules].title
        return f"{title} has no rule for what this model also uses: {', '.join(missing)}."
    return method.find_obstacle(model.module, model.inputs)


def _check_classes(target: int, versus: int | None, trace: ForwardTrace) -> None:
    if len(trace.output_shape) != 2:
        raise UserError("Only classifiers that return one score per class can be explained.")
    num_classes = trace.output_shape[1]
    for index in (target, versus):
        if index is not None and not 0 <= index < num_classes:
            raise UserError(f"Class {index} does not exist: this model has classes 0 to {num_classes - 1}.")
    if target == versus:
        raise UserError(f"Class {target} cannot be compared with itself; choose two classes.")


def _check_baseline(method: Method, baseline: Tensor | None, inputs: Tensor) -> Tensor | None:
    if baseline is None:
        return None
    if not method.uses_baseline:
        raise UserError(f"{method.title} compares with no other picture; leave the baseline out.")
    baseline = baseline if baseline.ndim == 4 else baseline[None]
    if baseline.shape != inputs.shape:
        expected, given = tuple(inputs.shape[1:]), tuple(baseline.shape[1:])
        raise UserError(f"The baseline must have the shape of the input, {expected}, not {given}.")
    return baseline


def _choose_layer(layer: str | None, method: Method, trace: ForwardTrace) -> str:
    wanted = (trace.earlier_layer if method.looks_earlier else trace.default_layer) if layer is None else layer
    if wanted in trace.feature_maps:
        return wanted
    # The nearest names by spelling, or else the last maps, which are the ones most often meant.
    names = list(trace.feature_maps)
    nearest = difflib.get_close_matches(str(wanted), names, n=3) or names[-3:]
    raise UserError(f"Layer {wanted} has no feature map in this model; try {', '.join(nearest)}.")
