"""Methods that look at a feature map, each of whose cells is drawn at the centre of what it looks at."""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from analysis.attribution.guided import guide
from analysis.attribution.method import Completeness, Cost, Method, Parameter
from analysis.attribution.placement import enlarge, find_centres
from analysis.attribution.question import Evidence, Question, in_halves, measure_gap, watched
from analysis.attribution.taps import tapped
from analysis.network.windows import find_size

STEPS = Parameter(
    "n_steps", "The number of steps", "From the neutral picture to yours; more are more exact.", 1, 4096, 32
)


def grad_cam(question: Question) -> Evidence:
    """Keeps the sign (the paper keeps only what is positive); draws each cell at the centre of what it looks at."""
    with watched(question, 1) as forward:
        return draw_cells(question, _weigh_maps(question, forward))


def guided_grad_cam(question: Question) -> Evidence:
    """The positive part of Grad-CAM times guided backpropagation."""
    with watched(question, 2) as forward:
        drawn = draw_cells(question, _weigh_maps(question, forward).clamp(min=0))
        return replace(drawn, values=drawn.values * guide(question))


def layer_gradient_x_activation(question: Question) -> Evidence:
    """Each activation times its gradient, summed over the channels."""
    from captum.attr import LayerGradientXActivation

    with watched(question, 1) as forward, tapped(question.module, question.layer) as tap:
        found = LayerGradientXActivation(forward, tap).attribute(question.inputs.detach(), question.target)
    return draw_cells(question, found.detach().sum(1, keepdim=True))


def layer_conductance(question: Question, *, n_steps: int = 32) -> Evidence:
    """How much of the integrated gradients flows through each cell, summed over the channels.

    Captum's: the changes of an activation from point to point of the way, times its gradients there.
    """
    from captum.attr import LayerConductance

    inputs, start = question.inputs.detach(), question.start
    after, before = (float(question.score(picture)) for picture in (inputs, start))

    def run(chunk: int) -> Evidence:
        with watched(question, n_steps + 1) as forward, tapped(question.module, question.layer) as tap:
            found = (
                LayerConductance(forward, tap)
                .attribute(
                    inputs,
                    start,
                    question.target,
                    n_steps=n_steps,
                    method="riemann_trapezoid",
                    internal_batch_size=max(chunk, 2),  # captum takes both ends of a chunk
                )
                .detach()
            )
        gap = measure_gap(float(found.cpu().double().sum()), after - before)
        return replace(draw_cells(question, found.sum(1, keepdim=True)), completeness_gap=gap)

    return in_halves(question, run, 8)


def internal_influence(question: Question, *, n_steps: int = 32) -> Evidence:
    """The gradient at each cell, averaged on the way from the baseline to the picture, summed over the channels."""
    from captum.attr import InternalInfluence

    def run(chunk: int) -> Evidence:
        with watched(question, n_steps) as forward, tapped(question.module, question.layer) as tap:
            found = InternalInfluence(forward, tap).attribute(
                question.inputs.detach(),
                question.start,
                question.target,
                n_steps=n_steps,
                internal_batch_size=chunk,
            )
        return draw_cells(question, found.detach().sum(1, keepdim=True))

    return in_halves(question, run, 8)


def draw_cells(question: Question, cells: Tensor) -> Evidence:
    """A map ``(1, 1, h, w)`` of the question's layer, drawn on the picture."""
    centres = find_centres(question.module, question.inputs, question.layer)
    values = enlarge(cells, find_size(question.inputs), centres)
    return Evidence(values, placement="even" if centres is None else "centres")


def _weigh_maps(question: Question, forward: Callable[[Tensor], Tensor]) -> Tensor:
    """Grad-CAM, cell by cell: ``(1, 1, h, w)``."""
    from captum.attr import LayerGradCam

    with tapped(question.module, question.layer) as tap:
        # Without gradients at the input nothing below the layer is stored for the backward pass.
        inputs = question.inputs.detach()
        return LayerGradCam(forward, tap).attribute(inputs, question.target, relu_attributions=False).detach()


METHODS = (
    Method(
        name="grad_cam",
        title="Grad-CAM",
        explanation="A late feature map's channels are added up, weighted by what each does for the class. "
        "It shows where the evidence lies, as coarse as that map: each cell is drawn at the centre of what it looks "
        "at, while other tools spread the cells evenly. "
        "Negative regions speak against the class.",
        formula=r"\sum_k \alpha_k A^k,\ \alpha_k = \frac{1}{hw} \sum_{ij} \partial f / \partial A^k_{ij}",
        citation="Selvaraju et al., Grad-CAM, 2016, arXiv:1610.02391",
        run=grad_cam,
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
        run=guided_grad_cam,
        cost=lambda options, size: Cost(2, 2),
        needs_layer=True,
        needs_relu=True,
    ),
    Method(
        name="layer_gradient_x_activation",
        title="Layer gradient × activation",
        explanation="Each cell of a late feature map shows its activations times their gradients. "
        "Unlike Grad-CAM, a channel is weighted at every place by what it does for the class there. "
        "It shows where the evidence lies, as coarse as that map.",
        formula=r"\sum_k A^k \cdot \partial f / \partial A^k",
        citation="Ancona et al., Towards Better Understanding of Gradient-based Attribution, 2017, arXiv:1711.06104",
        run=layer_gradient_x_activation,
        needs_layer=True,
    ),
    Method(
        name="layer_conductance",
        title="Layer conductance",
        explanation="The picture is faded in from a neutral one; what changes the score on the way is divided among "
        "the cells of a feature map that it flows through. "
        "All cells together add up to the difference in score where everything flows through that map. "
        "It depends on the neutral picture, as integrated gradients do.",
        formula=r"\sum_k \int (\partial f / \partial A^k) \, (d A^k / d \alpha) \, d\alpha",
        citation="Dhamdhere et al., How Important Is a Neuron?, 2018, arXiv:1805.12233",
        run=layer_conductance,
        parameters=(STEPS,),
        cost=lambda options, size: Cost(options["n_steps"] + 3, options["n_steps"] + 1),
        needs_layer=True,
        uses_baseline=True,
        completeness=Completeness(
            "The cells add up to the difference in score",
            ", which more steps make smaller where everything flows through this layer",
        ),
    ),
    Method(
        name="internal_influence",
        title="Internal influence",
        explanation="The gradients at the cells of a feature map are averaged while the picture is faded in from a "
        "neutral one. "
        "It shows which cells would move the score if they were stronger, not what they hold. "
        "At the last map of most networks it is the same everywhere, so an earlier one is the default.",
        formula=r"\sum_k \int_0^1 \partial f(x' + \alpha (x - x')) / \partial A^k \, d\alpha",
        citation="Leino et al., Influence-Directed Explanations for Deep Networks, 2018, arXiv:1802.03788",
        run=internal_influence,
        parameters=(STEPS,),
        cost=lambda options, size: Cost(options["n_steps"], options["n_steps"]),
        needs_layer=True,
        looks_earlier=True,
        uses_baseline=True,
    ),
)
"""In the order of a picker."""
