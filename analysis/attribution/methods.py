"""Attribution: which pixels speak for a class, and which against it. Eight methods, one way to ask."""

import difflib
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from analysis.attribution import captum_methods
from analysis.attribution.obstacles import ForwardTrace, trace_forward
from analysis.errors import Progress, UserError, no_progress
from analysis.network.hooks import preserved


@dataclass(frozen=True)
class Method:
    """One attribution method.

    Attributes:
        explanation: three plain sentences on what the map shows.
        formula: LaTeX; ``f`` is the logit of the explained class.
        run: finds the evidence; its keyword arguments are the options of the method.
        needs_layer: whether it weighs a feature map (Grad-CAM).
        needs_relu: whether it replaces the backward pass of ReLU.
    """

    name: str
    title: str
    explanation: str
    formula: str
    citation: str
    run: Callable[..., captum_methods.Evidence]
    needs_layer: bool = False
    needs_relu: bool = False


_TABLE = (
    Method(
        name="saliency",
        title="Saliency (plain gradient)",
        explanation="Each pixel shows how fast the class score changes when that pixel gets brighter. "
        "It tells what the model is sensitive to, not what the score is made of. "
        "It takes one backward pass and is usually noisy.",
        formula=r"\partial f(x) / \partial x",
        citation="Simonyan et al., Deep Inside Convolutional Networks, 2013, arXiv:1312.6034",
        run=captum_methods.saliency,
    ),
    Method(
        name="input_x_gradient",
        title="Input × gradient",
        explanation="Each pixel shows its own value times the gradient there. "
        "For a linear model this is exactly the pixel's share of the score without its bias; for a network, a guess. "
        "Pixels that the normalisation puts at zero always get zero.",
        formula=r"x \cdot \partial f(x) / \partial x",
        citation="Shrikumar et al., Not Just a Black Box, 2016, arXiv:1605.01713",
        run=captum_methods.input_x_gradient,
    ),
    Method(
        name="integrated_gradients",
        title="Integrated gradients",
        explanation="The picture is faded in from a neutral one, and the gradients on the way are averaged. "
        "All pixels together add up to the difference in score of the two pictures, but for a gap named beside it. "
        "The map depends on the neutral picture: where it equals yours, nothing is attributed.",
        formula=r"(x - x') \int_0^1 \partial f(x' + \alpha (x - x')) / \partial x \, d\alpha",
        citation="Sundararajan et al., Axiomatic Attribution for Deep Networks, 2017, arXiv:1703.01365",
        run=captum_methods.integrated_gradients,
    ),
    Method(
        name="smoothgrad",
        title="SmoothGrad",
        explanation="Noise is added to many copies of the picture and their gradients are averaged. "
        "What belongs to one accidental pattern of pixels cancels out; what stays is stable nearby. "
        "More copies give a calmer map and take longer.",
        formula=r"\frac{1}{n} \sum_i \partial f(x + e_i) / \partial x,\ e_i \sim N(0, \sigma^2)",
        citation="Smilkov et al., SmoothGrad: Removing Noise by Adding Noise, 2017, arXiv:1706.03825",
        run=captum_methods.smoothgrad,
    ),
    Method(
        name="guided_backprop",
        title="Guided backpropagation",
        explanation="A gradient that drops every negative signal at each ReLU on the way back. "
        "Edges and textures come out crisp. "
        "It often looks alike for every class, so read it as what the network sees, not as why it decided.",
        formula=r"R^l = [a^l > 0] \cdot [R^{l+1} > 0] \cdot R^{l+1}",
        citation="Springenberg et al., Striving for Simplicity, 2014, arXiv:1412.6806",
        run=captum_methods.guided_backprop,
        needs_relu=True,
    ),
    Method(
        name="occlusion",
        title="Occlusion",
        explanation="A neutral square moves over the picture, and the map shows how far the score drops. "
        "It uses no gradients, only what the model answers. "
        "A smaller square shows finer detail and takes longer.",
        formula=r"f(x) - f(x \text{ with the window covered})",
        citation="Zeiler and Fergus, Visualizing and Understanding ConvNets, 2013, arXiv:1311.2901",
        run=captum_methods.occlusion,
    ),
    Method(
        name="grad_cam",
        title="Grad-CAM",
        explanation="A late feature map's channels are added up, weighted by what each does for the class. "
        "It shows where the evidence lies, as coarse as that map: each cell is drawn at the centre of what it looks "
        "at, while other tools spread the cells evenly. "
        "Negative regions speak against the class.",
        formula=r"\sum_k \alpha_k A^k,\ \alpha_k = \frac{1}{hw} \sum_{ij} \partial f / \partial A^k_{ij}",
        citation="Selvaraju et al., Grad-CAM, 2016, arXiv:1610.02391",
        run=captum_methods.grad_cam,
        needs_layer=True,
    ),
    Method(
        name="guided_grad_cam",
        title="Guided Grad-CAM",
        explanation="Guided backpropagation, multiplied by the positive part of Grad-CAM. "
        "Grad-CAM says where, guided backpropagation draws the detail there. "
        "What guided backpropagation gets wrong stays wrong inside the region.",
        formula=r"R^0 \cdot \mathrm{ReLU}(\text{Grad-CAM})",
        citation="Selvaraju et al., Grad-CAM, 2016, arXiv:1610.02391",
        run=captum_methods.guided_grad_cam,
        needs_layer=True,
        needs_relu=True,
    ),
)

METHODS: dict[str, Method] = {method.name: method for method in _TABLE}


@dataclass(frozen=True, eq=False)
class Attribution:
    """A map of evidence.

    Attributes:
        layer: the feature map used, None for methods without one.
        values: float32 on the CPU, signed, in network-input pixels: ``(C, H, W)``, or ``(1, H, W)`` for
            Grad-CAM. Positive values speak for the class.
        completeness_gap: of integrated gradients, which claim to add up: how far their sum is from the difference
            between the score of the picture and that of the baseline, as a share of that difference, or of 1 where
            it is smaller. None for all other methods.
        placement: of Grad-CAM: ``centres`` where every cell of the feature map is drawn at the centre of its
            receptive field, ``even`` where that is not known. None for methods without a feature map.
    """

    method: str
    target: int
    layer: str | None
    values: Tensor
    seconds: float
    completeness_gap: float | None = None
    placement: str | None = None

    @property
    def is_flat(self) -> bool:
        """Whether the map is the same everywhere, so that there is nothing to draw."""
        return bool(self.values.min() == self.values.max())

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to know when reading this map, in sentences."""
        found = []
        if (gap := self.completeness_gap) is not None:
            is_closed = gap < captum_methods.TOLERANCE
            limit = "" if is_closed else f", where it stops after {captum_methods.MAX_STEPS} steps"
            found.append(f"The map adds up to the difference in score but for {100 * gap:.1f} %{limit}.")
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
    progress: Progress = no_progress,
    seed: int = 0,
    **options,
) -> Attribution:
    """Explains the logit of one class by the pixels of one image.

    Args:
        module: a classifier that returns logits ``(1, K)``; left exactly as it was found.
        inputs: ``(1, C, H, W)``, normalised for the model, on its device; left alone, too.
        method: key in ``METHODS``.
        layer: name of a submodule with a feature map, for the Grad-CAM methods; the last one if None.
        progress: called as ``progress(done, total)`` between chunks, counted in images; may raise
            ``Cancelled``.
        seed: of the noise in SmoothGrad.
        **options: of the method, see its function in ``analysis.attribution.captum_methods``: ``baseline``,
            ``n_steps``, ``max_steps``, ``n_samples``, ``noise_level``, ``window``, ``stride``, ``chunk``.

    Raises:
        UserError: the method cannot explain this model, or an argument does not fit it.
        Cancelled: ``progress`` asked to stop.
    """
    if method not in METHODS:
        raise UserError(f"There is no method called {method}; choose one of {', '.join(METHODS)}.")
    if inputs.ndim != 4 or len(inputs) != 1:
        raise UserError(f"One image (1, C, H, W) can be explained at a time, not {tuple(inputs.shape)}.")
    chosen = METHODS[method]
    started = time.perf_counter()
    # A caller's inference mode would forbid gradients altogether.
    with torch.inference_mode(False), torch.enable_grad(), preserved(module):
        inputs = inputs.detach().clone()
        trace = trace_forward(module, inputs)
        _check_target(target, trace)
        if (obstacle := _find_obstacle(chosen, trace)) is not None:
            raise UserError(obstacle)
        layer = _choose_layer(layer, trace) if chosen.needs_layer else None
        module.requires_grad_(False)
        question = captum_methods.Question(module, inputs.requires_grad_(), target, layer or "", progress, seed)
        found = chosen.run(question, **options)
        values = found.values[0].detach().float().cpu()
    if not values.isfinite().all():
        raise UserError(f"{chosen.title} gave values that are not finite; check the model's weights and the image.")
    seconds = time.perf_counter() - started
    return Attribution(method, target, layer, values, seconds, found.completeness_gap, found.placement)


def find_obstacles(module: nn.Module, inputs: Tensor) -> dict[str, str]:
    """Returns, for each method that cannot explain this model, the reason in one sentence for its user.

    Args:
        module: a classifier; runs once and is left as it was found.
        inputs: one normalised image ``(1, C, H, W)``.
    """
    trace = trace_forward(module, inputs)
    reasons = {name: _find_obstacle(method, trace) for name, method in METHODS.items()}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _find_obstacle(method: Method, trace: ForwardTrace) -> str | None:
    if method.needs_layer and trace.default_layer is None:
        return (
            f"{method.title} needs a convolutional feature map near the output, and this model has none "
            "for this input: it works on a sequence of patches, or its last maps have a single position."
        )
    if method.needs_relu and trace.unguided:
        return (
            f"{method.title} changes the gradient at ReLU modules only, and this model also uses "
            f"{' and '.join(trace.unguided)}, where it would silently be the plain gradient."
        )
    if method.needs_relu and not trace.num_guided:
        return f"{method.title} changes the gradient at ReLU modules, and this model has none."
    return None


def _check_target(target: int, trace: ForwardTrace) -> None:
    if len(trace.output_shape) != 2:
        raise UserError("Only classifiers that return one score per class can be explained.")
    num_classes = trace.output_shape[1]
    if not 0 <= target < num_classes:
        raise UserError(f"Class {target} does not exist: this model has classes 0 to {num_classes - 1}.")


def _choose_layer(layer: str | None, trace: ForwardTrace) -> str:
    wanted = trace.default_layer if layer is None else layer
    if wanted in trace.feature_maps:
        return wanted
    # The nearest names by spelling, or else the last maps, which are the ones most often meant.
    names = list(trace.feature_maps)
    nearest = difflib.get_close_matches(str(wanted), names, n=3) or names[-3:]
    raise UserError(f"Layer {wanted} has no feature map in this model; try {', '.join(nearest)}.")
