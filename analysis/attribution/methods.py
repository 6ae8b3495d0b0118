"""Attribution: which pixels speak for a class, and which against it. A table of methods, one way to ask."""

import difflib
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from analysis.attribution import cams, captum_methods, rollout
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
        find_obstacle: what else stands in its way, of ``(module, inputs)``: one sentence, None for nothing.
    """

    name: str
    title: str
    explanation: str
    formula: str
    citation: str
    run: Callable[..., captum_methods.Evidence]
    needs_layer: bool = False
    needs_relu: bool = False
    find_obstacle: Callable[[nn.Module, Tensor], str | None] = lambda module, inputs: None


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
    Method(
        name="hires_cam",
        title="HiResCAM",
        explanation="Like Grad-CAM, but every cell's activations are weighed by the gradient at that very cell. "
        "What lights up is what the score is made of there, for networks that end in one linear layer exactly. "
        "Where the map is averaged before that layer, it is Grad-CAM itself.",
        formula=r"\sum_k A^k \cdot \partial f / \partial A^k",
        citation="Draelos and Carin, Use HiResCAM instead of Grad-CAM, 2020, arXiv:2011.08891",
        run=cams.hires_cam,
        needs_layer=True,
    ),
    Method(
        name="grad_cam_plus_plus",
        title="Grad-CAM++",
        explanation="Like Grad-CAM, but only gradients that speak for the class count, and small regions as much as "
        "large ones. "
        "Several objects of one class all stand out. "
        "Evidence against the class hardly shows, so maps of different classes look more alike.",
        formula=r"\sum_k w_k A^k,\ w_k = \sum_{ij} \max(g_{ij}, 0) / (2 + g_{ij} \textstyle\sum_{ab} A^k_{ab}),"
        r"\ g = \partial f / \partial A^k",
        citation="Chattopadhay et al., Grad-CAM++, 2018, arXiv:1710.11063",
        run=cams.grad_cam_plus_plus,
        needs_layer=True,
    ),
    Method(
        name="xgrad_cam",
        title="XGrad-CAM",
        explanation="Like Grad-CAM, but a channel's gradient is averaged where the channel is active. "
        "The cells add up to what activations times gradients add up to. "
        "Where the map is averaged before one linear layer, it is Grad-CAM itself.",
        formula=r"\sum_k w_k A^k,\ w_k = \sum_{ij} A^k_{ij} \, (\partial f / \partial A^k_{ij}) / \sum_{ij} A^k_{ij}",
        citation="Fu et al., Axiom-based Grad-CAM, 2020, arXiv:2008.02312",
        run=cams.xgrad_cam,
        needs_layer=True,
    ),
    Method(
        name="layer_cam",
        title="LayerCAM",
        explanation="Each activation is weighed by its own gradient where that speaks for the class, and left out "
        "elsewhere. "
        "It is made for earlier layers too, whose maps are finer. "
        "What speaks against the class does not show.",
        formula=r"\sum_k A^k \cdot \max(\partial f / \partial A^k, 0)",
        citation="Jiang et al., LayerCAM, IEEE Trans. Image Processing, 2021, doi:10.1109/TIP.2021.3089943",
        run=cams.layer_cam,
        needs_layer=True,
    ),
    Method(
        name="eigen_cam",
        title="Eigen-CAM",
        explanation="The pattern of channels that explains most of a feature map, and how strong it is in each cell. "
        "It uses no gradients and knows nothing of the class: the map is the same for every one. "
        "It shows what the network sees, not why it decides.",
        formula=r"A v_1,\ A = U \Sigma V^\top \text{ with a row for each cell}",
        citation="Muhammad and Yeasin, Eigen-CAM, 2020, arXiv:2008.00299",
        run=cams.eigen_cam,
        needs_layer=True,
    ),
    Method(
        name="score_cam",
        title="Score-CAM",
        explanation="The picture is looked at through each channel of a feature map, and a channel counts as much as "
        "the class score that is left. "
        "It uses no gradients, but one forward pass for each channel; the 128 strongest are taken. "
        "No channel can count against the class.",
        formula=r"\sum_k w_k A^k,\ w = \mathrm{softmax}_k f(x \cdot s(A^k)),\ s \text{ scales to } 0 \ldots 1",
        citation="Wang et al., Score-CAM, 2020, arXiv:1910.01279",
        run=cams.score_cam,
        needs_layer=True,
    ),
    Method(
        name="ablation_cam",
        title="Ablation-CAM",
        explanation="A late feature map's channels are added up, weighted by how far the score drops without each. "
        "It uses no gradients, but the network after that map once for each channel. "
        "Negative regions speak against the class.",
        formula=r"\sum_k w_k A^k,\ w_k = f(x) - f(x \text{ with } A^k = 0)",
        citation="Desai and Ramaswamy, Ablation-CAM, 2020, doi:10.1109/WACV45572.2020.9093360",
        run=cams.ablation_cam,
        needs_layer=True,
    ),
    Method(
        name="attention_rollout",
        title="Attention rollout, weighted by gradients",
        explanation="Follows, from block to block of a transformer, which patches the class token takes from. "
        "A head counts where more of its attention would raise the score. "
        "Nothing speaks against the class here, and what happens between attentions is left out.",
        formula=r"R \leftarrow R + \tfrac{1}{H} \sum_h \max(A_h \cdot \partial f / \partial A_h, 0) \, R",
        citation="Chefer et al., Generic Attention-model Explainability, 2021, arXiv:2103.15679",
        run=rollout.attention_rollout,
        find_obstacle=rollout.find_obstacle,
    ),
)

METHODS: dict[str, Method] = {method.name: method for method in _TABLE}


@dataclass(frozen=True, eq=False)
class Attribution:
    """A map of evidence.

    Attributes:
        layer: the feature map used, None for methods without one.
        values: float32 on the CPU, signed, in network-input pixels: ``(C, H, W)``, or ``(1, H, W)`` for
            methods that draw cells. Positive values speak for the class.
        completeness_gap: of integrated gradients, which claim to add up: how far their sum is from the difference
            between the score of the picture and that of the baseline, as a share of that difference, or of 1 where
            it is smaller. None for all other methods.
        placement: of a feature map: ``centres`` where every cell of the feature map is drawn at the centre of its
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
        layer: name of a submodule with a feature map, for the methods that need one; the last one if None.
        progress: called as ``progress(done, total)`` between chunks, counted in images; may raise
            ``Cancelled``.
        seed: of the noise in SmoothGrad.
        **options: of the method, see its function, ``run``: ``baseline``, ``n_steps``, ``max_steps``, ``n_samples``,
            ``noise_level``, ``window``, ``stride``, ``channels``, ``chunk``.

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
        if (obstacle := _find_obstacle(chosen, trace, module, inputs)) is not None:
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
    with preserved(module):
        reasons = {name: _find_obstacle(method, trace, module, inputs) for name, method in METHODS.items()}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _find_obstacle(method: Method, trace: ForwardTrace, module: nn.Module, inputs: Tensor) -> str | None:
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
    return method.find_obstacle(module, inputs)


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
