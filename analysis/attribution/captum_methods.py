"""One function per attribution method: captum, asked in chunks that can be watched, stopped and halved."""

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from analysis.attribution.placement import enlarge, find_centres
from analysis.attribution.taps import tapped
from analysis.errors import Progress, UserError
from analysis.network.chunks import halve, unless_too_large
from analysis.network.windows import find_size

TOLERANCE = 0.02
"""Integrated gradients stop at a smaller gap than this share of the difference of the scores."""
SMALLEST_DIFFERENCE = 1.0
"""In logits: the gap of a smaller difference is a share of this one, as a share of nearly nothing says nothing."""
MAX_STEPS = 512
"""Forward and backward passes that integrated gradients may take, in pictures."""


@dataclass(frozen=True)
class Question:
    """Which part of ``inputs`` speaks for the class ``target``?

    Attributes:
        module: a classifier in eval mode, its parameters frozen.
        inputs: ``(1, C, H, W)``, normalised; a copy that requires gradients.
        target: index of the class whose logit is explained.
        layer: name of the feature map of the Grad-CAM methods, empty for the others.
    """

    module: nn.Module
    inputs: Tensor
    target: int
    layer: str
    progress: Progress
    seed: int


@dataclass(frozen=True)
class Evidence:
    """What a method found.

    Attributes:
        values: The map ``(1, C, H, W)``.
    """

    values: Tensor
    completeness_gap: float | None = None
    placement: str | None = None


def saliency(question: Question) -> Evidence:
    """The gradient of the logit, with its sign."""
    from captum.attr import Saliency

    with _watched(question, 1) as forward:
        return Evidence(Saliency(forward).attribute(question.inputs, question.target, abs=False))


def input_x_gradient(question: Question) -> Evidence:
    """The normalised input times that gradient."""
    from captum.attr import InputXGradient

    with _watched(question, 1) as forward:
        return Evidence(InputXGradient(forward).attribute(question.inputs, question.target))


def integrated_gradients(
    question: Question,
    *,
    baseline: Tensor | None = None,
    n_steps: int = 32,
    max_steps: int = MAX_STEPS,
    chunk: int = 8,
) -> Evidence:
    """Averages gradients on the way from ``baseline`` to the input, at more and more points until they add up.

    On the way, ``baseline + u**2 * (input - baseline)`` for u from 0 to 1, points are evenly spaced in u: close to
    each other near the baseline, where most units of a network switch. From ``n_steps`` points on they are doubled
    while the gap (:func:`measure_gap`) is not below ``TOLERANCE``, but not beyond ``max_steps``. The trapezoidal rule
    keeps the earlier ones, so that no gradient is computed twice.

    The baseline ``(1, C, H, W)`` or ``(C, H, W)`` is zero if not given: the mean colour.
    """
    from captum.attr import Saliency

    _require(n_steps >= 1, "Integrated gradients needs at least 1 step.")
    inputs, start = question.inputs.detach(), _as_baseline(baseline, question.inputs)
    path = inputs - start
    with torch.no_grad():
        after, before = (float(question.module(picture)[0, question.target]) for picture in (inputs, start))

    def run(chunk: int) -> Evidence:
        total, steps, numbers = torch.zeros_like(inputs), n_steps, range(1, n_steps + 1)
        with _watched(question, max(n_steps, max_steps)) as forward:
            explainer = Saliency(forward)
            while True:
                u = torch.tensor(numbers, dtype=torch.float64) / steps
                # Of 2 u du, which is the step along the way: nothing at the baseline, and half of it at the input.
                shares = torch.where(u < 1, 2 * u, 1)
                for part, weights in zip(u.split(chunk), shares.split(chunk), strict=True):
                    points = start + _each(part**2, inputs) * path
                    gradients = explainer.attribute(points.requires_grad_(), question.target, abs=False)
                    total += (_each(weights, inputs) * gradients).sum(0, keepdim=True)
                values = path * total / steps
                gap = measure_gap(float(values.cpu().double().sum()), after - before)
                if not gap >= TOLERANCE or 2 * steps > max_steps:  # also a gap that is not a number
                    return Evidence(values, completeness_gap=gap)
                steps, numbers = 2 * steps, range(1, 2 * steps, 2)

    return _halving(run, chunk)


def measure_gap(total: float, difference: float) -> float:
    """How far a map is from adding up: its sum less the difference of the scores, without sign.

    As a share of the difference, or of ``SMALLEST_DIFFERENCE`` where that is larger.
    """
    return abs(total - difference) / max(abs(difference), SMALLEST_DIFFERENCE)


def smoothgrad(question: Question, *, noise_level: float = 0.15, n_samples: int = 32, chunk: int = 8) -> Evidence:
    """Averages the gradients of ``n_samples`` copies with Gaussian noise.

    The standard deviation of the noise is ``noise_level`` times the range of the input's values. Captum's
    NoiseTunnel would draw from the global generator; a generator of our own leaves that one alone.
    """
    from captum.attr import Saliency

    _require(n_samples >= 1, "SmoothGrad needs at least 1 noisy copy.")
    inputs = question.inputs.detach()
    sigma = noise_level * (inputs.max() - inputs.min())

    def run(chunk: int) -> Evidence:
        generator = torch.Generator().manual_seed(question.seed)
        total = torch.zeros_like(inputs)
        with _watched(question, n_samples) as forward:
            explainer = Saliency(forward)
            for start in range(0, n_samples, chunk):
                # Copy by copy, so that the result does not depend on the size of the chunks.
                copies = range(start, min(start + chunk, n_samples))
                noise = torch.cat([torch.randn(inputs.shape, generator=generator) for _ in copies])
                noisy = inputs + sigma * noise.to(inputs)
                gradients = explainer.attribute(noisy.requires_grad_(), question.target, abs=False)
                total += gradients.sum(0, keepdim=True)
        return Evidence(total / n_samples)

    return _halving(run, chunk)


def guided_backprop(question: Question) -> Evidence:
    """The gradient, of which every ReLU lets through only what is positive."""
    with _watched(question, 1):
        return Evidence(_guide(question))


def _guide(question: Question) -> Tensor:
    from captum.attr import GuidedBackprop

    with warnings.catch_warnings():
        # On every call captum announces its hooks; it removes them, and a test watches that.
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU")
        return GuidedBackprop(_with_plain_relus(question.module)).attribute(question.inputs, question.target)


def occlusion(
    question: Question,
    *,
    window: int | None = None,
    stride: int | None = None,
    baseline: Tensor | None = None,
    chunk: int = 16,
) -> Evidence:
    """Measures how much the logit drops when a square of ``baseline`` covers part of the input.

    The square has a side of ``window`` pixels (a seventh of the shorter side if not given) and moves by
    ``stride`` pixels (half a window). Where squares overlap, their drops are averaged.
    """
    from captum.attr import Occlusion

    channels, *size = question.inputs.shape[1:]
    window = max(1, round(min(size) / 7)) if window is None else window
    stride = max(1, window // 2) if stride is None else stride
    _require(1 <= window <= min(size), f"The window must have 1 to {min(size)} pixels, not {window}.")
    _require(1 <= stride <= window, f"The stride must be 1 to {window} pixels, as wide as the window at most.")
    start = _as_baseline(baseline, question.inputs)
    n_windows = math.prod(1 + math.ceil((side - window) / stride) for side in size)

    def run(chunk: int) -> Evidence:
        with _watched(question, 1 + n_windows) as forward:
            values = Occlusion(forward).attribute(
                question.inputs,
                sliding_window_shapes=(channels, window, window),
                strides=(channels, stride, stride),
                baselines=start,
                target=question.target,
                perturbations_per_eval=chunk,
            )
        return Evidence(values)

    return _halving(run, chunk)


def grad_cam(question: Question) -> Evidence:
    """Keeps the sign (the paper keeps only what is positive); draws each cell at the centre of what it looks at."""
    with _watched(question, 1) as forward:
        return _draw_cells(question, _weigh_maps(question, forward))


def guided_grad_cam(question: Question) -> Evidence:
    """The positive part of Grad-CAM times guided backpropagation."""
    with _watched(question, 2) as forward:
        drawn = _draw_cells(question, _weigh_maps(question, forward).clamp(min=0))
        return replace(drawn, values=drawn.values * _guide(question))


def _weigh_maps(question: Question, forward: Callable[[Tensor], Tensor]) -> Tensor:
    """Grad-CAM, cell by cell: ``(1, 1, h, w)``."""
    from captum.attr import LayerGradCam

    with tapped(question.module, question.layer) as tap:
        # Without gradients at the input nothing below the layer is stored for the backward pass.
        inputs = question.inputs.detach()
        return LayerGradCam(forward, tap).attribute(inputs, question.target, relu_attributions=False).detach()


def _draw_cells(question: Question, cells: Tensor) -> Evidence:
    centres = find_centres(question.module, question.inputs, question.layer)
    values = enlarge(cells, find_size(question.inputs), centres)
    return Evidence(values, placement="even" if centres is None else "centres")


@contextmanager
def _watched(question: Question, total: int) -> Iterator[Callable[[Tensor], Tensor]]:
    """Gives the forward function for captum, which reports progress in images before every chunk."""
    done = 0

    def forward(inputs: Tensor) -> Tensor:
        nonlocal done
        question.progress(done, total)
        done += len(inputs)
        return question.module(inputs)

    question.progress(0, total)
    yield forward
    question.progress(total, total)


def _halving(run: Callable[[int], Evidence], chunk: int) -> Evidence:
    """Calls ``run(chunk)``, and again with half the chunk as long as the device has too little memory."""
    _require(chunk >= 1, "A chunk needs at least 1 image.")
    while (found := unless_too_large(run, chunk)) is None:
        chunk = halve(chunk)
    return found


def _with_plain_relus(module: nn.Module) -> nn.Module:
    """Returns a model that computes the same with nn.ReLU, the only activation that captum's rule changes.

    A model without ReLU6 is returned itself: captum copes with in-place and with reused ReLUs. Otherwise
    in a copy, which shares all weights, each ReLU6 becomes a ReLU followed by that ReLU6: the ReLU applies
    the guided rule, the ReLU6 then only cuts off at 6.
    """
    if not any(isinstance(part, nn.ReLU6) for part in module.modules()):
        return module
    tensors = [*module.parameters(), *module.buffers()]
    twin = copy.deepcopy(module, memo={id(tensor): tensor for tensor in tensors})
    for name, part in list(twin.named_modules(remove_duplicate=False)):
        if isinstance(part, nn.ReLU6):
            twin.set_submodule(name, nn.Sequential(nn.ReLU(), nn.ReLU6()))
    return twin


def _as_baseline(baseline: Tensor | None, inputs: Tensor) -> Tensor:
    if baseline is None:
        return torch.zeros_like(inputs)
    baseline = baseline if baseline.ndim == 4 else baseline[None]
    _require(
        baseline.shape == inputs.shape,
        f"The baseline must have the shape of the input, {tuple(inputs.shape[1:])}, not {tuple(baseline.shape[1:])}.",
    )
    return baseline.detach().to(inputs)


def _each(numbers: Tensor, inputs: Tensor) -> Tensor:
    """``(N,)`` as ``(N, 1, 1, 1)``, where the input is and of its type."""
    return numbers.to(inputs)[:, None, None, None]


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise UserError(sentence)
