"""Class activation maps: a feature map's channels, weighed in seven ways, their cells drawn where they look.

All keep the sign, where papers keep what is positive; ``g`` is the gradient of the logit at a cell of the map ``A``.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count

import torch
from torch import Tensor

from analysis.attribution.layered import draw_cells
from analysis.attribution.method import Cost, Method, Parameter
from analysis.attribution.placement import enlarge, find_centres
from analysis.attribution.question import Evidence, Question, require
from analysis.attribution.taps import tapped
from analysis.errors import UserError, is_out_of_memory
from analysis.network.chunks import run_in_chunks, unless_too_large
from analysis.network.windows import find_size

SCORED = 128
"""Channels that Score-CAM takes, each of them a whole forward pass, if no number is given."""
ROUNDING = 1e-3
"""Share of the largest score by which the answers to one map may differ with the size of the batch."""


def hires_cam(question: Question) -> Evidence:
    """Each activation times its own gradient, ``sum_k g A`` (Draelos & Carin 2020)."""
    return _weigh(question, lambda maps, gradients: (gradients * maps).sum(0))


def grad_cam_plus_plus(question: Question) -> Evidence:
    """Channels weighed by ``sum_ij max(g, 0) / (2 + g sum(A))`` (Chattopadhay et al. 2018, equations 10 and 19).

    That is their sum over ``alpha = g**2 / (2 g**2 + sum(A) g**3)`` times ``max(g, 0)``. The score of the paper is
    ``exp(f)``; its factor, the same for all cells, is left out.
    """

    def combine(maps: Tensor, gradients: Tensor) -> Tensor:
        weights = gradients.clamp(min=0) / (2 + gradients * maps.sum((1, 2), keepdim=True))
        return (weights.sum((1, 2), keepdim=True) * maps).sum(0)

    return _weigh(question, combine)


def xgrad_cam(question: Question) -> Evidence:
    """Channels weighed by their mean gradient where they are active, ``sum(g A) / sum(A)`` (Fu et al. 2020).

    A channel whose activations add up to nothing has no such mean, and no weight.
    """

    def combine(maps: Tensor, gradients: Tensor) -> Tensor:
        totals = maps.sum((1, 2), keepdim=True)
        weights = (gradients * maps).sum((1, 2), keepdim=True) / torch.where(totals == 0, torch.inf, totals)
        return (weights * maps).sum(0)

    return _weigh(question, combine)


def layer_cam(question: Question) -> Evidence:
    """Each activation times the positive part of its own gradient, ``sum_k max(g, 0) A`` (Jiang et al. 2021)."""
    return _weigh(question, lambda maps, gradients: (gradients.clamp(min=0) * maps).sum(0))


def eigen_cam(question: Question) -> Evidence:
    """The map, cells by channels, along its first right singular vector (Muhammad & Yeasin 2020).

    Nothing of it depends on the class. The sign, which a singular vector leaves open, makes the sum positive.
    """
    question.progress(0, 1)
    with torch.no_grad():
        maps, _, _ = _look(question)
        cells = maps.flatten(1).T  # (hw, C)
        first = torch.linalg.svd(cells, full_matrices=False).Vh[0] if cells.isfinite().all() else cells[0]
        along = cells @ first
        along = -along if along.sum() < 0 else along
        found = draw_cells(question, along.reshape(1, 1, *maps.shape[1:]))
    question.progress(1, 1)
    return found


def score_cam(question: Question, *, channels: int | None = SCORED) -> Evidence:
    """Channels weighed by the softmax of the logits of the picture behind each of them (Wang et al. 2020).

    Each channel, drawn on the picture and scaled to 0 .. 1, multiplies the normalised input. One that is the same
    all over has no weight. Costs one forward pass for each channel, and one.

    Args:
        channels: how many are used, the strongest (by mean magnitude) first; None for all.
    """
    inputs, size = question.inputs.detach(), find_size(question.inputs)
    centres = find_centres(question.module, inputs, question.layer)
    with torch.no_grad():
        maps, _, _ = _look(question)

        def ask(part: Sequence[int]) -> Tensor:
            drawn = enlarge(maps[list(part)], size, centres)
            low, high = drawn.amin((1, 2), keepdim=True), drawn.amax((1, 2), keepdim=True)
            masks = (drawn - low) / (high - low).clamp(min=torch.finfo(drawn.dtype).tiny)
            return question.module(inputs * masks[:, None])[:, question.target]

        varied = maps.amax((1, 2)) > maps.amin((1, 2))
        chosen = [channel for channel in _rank(maps) if varied[channel]][: _check(channels)]
        weights = torch.zeros_like(maps[:, 0, 0])
        weights[chosen] = _ask_all(question, ask, chosen, 16).softmax(0)
        return draw_cells(question, (weights[:, None, None] * maps).sum(0)[None, None])


def ablation_cam(question: Question, *, channels: int | None = None) -> Evidence:
    """Channels weighed by how far the logit drops when they are zero (Desai & Ramaswamy 2020).

    The paper divides all drops by the logit, which would turn the map round where that is negative; they are left as
    they are. Costs one forward pass for each channel, and five at most; of all but a few networks only what comes
    after the layer, as the rest of the pass is the same for all channels.

    Args:
        channels: how many are used, the strongest (by mean magnitude) first; None for all.
    """
    with torch.no_grad():
        maps, score, number = _look(question)
        answer = _find_short_way(question, maps, number)

        def drop(part: Sequence[int]) -> Tensor:
            ablated = maps.repeat(len(part), 1, 1, 1)
            ablated[range(len(part)), list(part)] = 0
            return score - answer(ablated)[:, question.target]

        chosen = _rank(maps)[: _check(channels)]
        weights = torch.zeros_like(maps[:, 0, 0])
        weights[chosen] = _ask_all(question, drop, chosen, 64)
        return draw_cells(question, (weights[:, None, None] * maps).sum(0)[None, None])


def _weigh(question: Question, combine: Callable[[Tensor, Tensor], Tensor]) -> Evidence:
    """Draws the ``(h, w)`` of ``combine(maps, gradients)``, both ``(C, h, w)``."""
    question.progress(0, 1)
    leaf = torch.empty(0)

    def cut(_number: int, output: Tensor) -> Tensor:
        nonlocal leaf
        leaf = output.detach().requires_grad_()
        return leaf.clone()  # the network may write into what it is given

    logit = _forward(question, question.inputs.detach(), cut)[0, question.target]
    (gradients,) = torch.autograd.grad(logit, leaf)
    found = draw_cells(question, combine(leaf.detach()[0], gradients[0])[None, None])
    question.progress(1, 1)
    return found


def _forward(question: Question, inputs: Tensor, see: Callable[[int, Tensor], Tensor | None]) -> Tensor:
    """The logits; ``see(number, map)`` is called with each map that the layer gives, and may return another."""
    numbers = count()
    with tapped(question.module, question.layer) as tap:
        tap.register_forward_hook(lambda _module, _inputs, output: see(next(numbers), output))
        return question.module(inputs)


def _look(question: Question) -> tuple[Tensor, Tensor, int]:
    """The layer's last map ``(C, h, w)``, the logit of the class, and the number of that map."""
    maps: list[Tensor] = []
    logits = _forward(question, question.inputs.detach(), lambda _number, output: maps.append(output.clone()))
    return maps[-1][0], logits[0, question.target], len(maps) - 1


def _rank(maps: Tensor) -> list[int]:
    """The channels of ``(C, h, w)``, strongest first."""
    return maps.abs().mean((1, 2)).argsort(descending=True, stable=True).tolist()


def _check(channels: int | None) -> int | None:
    if channels is not None and channels < 1:
        raise UserError(f"At least 1 channel must be used, not {channels}.")
    return channels


def _ask_all(question: Question, ask: Callable[[Sequence[int]], Tensor], chosen: Sequence[int], chunk: int) -> Tensor:
    """One number for each of the channels, asked in chunks, of this many where the question names no number."""
    chunk = chunk if question.chunk is None else question.chunk
    require(chunk >= 1, "A chunk needs at least 1 image.")
    found = [numbers for _, numbers in run_in_chunks(ask, chosen, chunk, question.progress)]
    return torch.cat(found) if found else question.inputs.new_zeros(0)


def _find_short_way(question: Question, maps: Tensor, number: int) -> Callable[[Tensor], Tensor]:
    """A function that gives the logits for other maps ``(N, C, h, w)`` in the place of the layer's ``number``-th.

    What comes before the layer is the same for all of them. It is computed for one picture where the network takes a
    batch in the place of its one map, which is tried with two.
    """

    def answer(others: Tensor, num_pictures: int) -> Tensor:
        def replace(called: int, _output: Tensor) -> Tensor | None:
            return others.clone() if called == number else None  # the network may write into what it is given

        return _forward(question, question.inputs.detach().expand(num_pictures, -1, -1, -1), replace)

    def try_short_way() -> bool:
        probe = torch.stack([maps, torch.zeros_like(maps)])
        expected = answer(probe, 2)
        try:
            found = answer(probe, 1)
        except (RuntimeError, ValueError) as error:  # it is joined with something that has one picture
            if is_out_of_memory(error):
                raise
            return False
        near = ROUNDING * expected.abs().max()
        return found.shape == expected.shape and bool(((found - expected).abs() <= near).all())

    is_short = unless_too_large(try_short_way)
    return lambda others: answer(others, 1 if is_short else len(others))


CHANNELS = Parameter(
    "channels",
    "The number of channels",
    "The strongest channels of the map that are used, each of them a forward pass; all if none is given.",
    1,
    16384,
    None,
)
USUAL = 512
"""Channels of the last map, where the cost is asked for before it is known."""
METHODS = (
    Method(
        name="hires_cam",
        title="HiResCAM",
        explanation="Like Grad-CAM, but every cell's activations are weighed by the gradient at that very cell. "
        "What lights up is what the score is made of there, for networks that end in one linear layer exactly. "
        "Where the map is averaged before that layer, it is Grad-CAM itself.",
        formula=r"\sum_k A^k \cdot \partial f / \partial A^k",
        citation="Draelos and Carin, Use HiResCAM instead of Grad-CAM, 2020, arXiv:2011.08891",
        run=hires_cam,
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
        run=grad_cam_plus_plus,
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
        run=xgrad_cam,
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
        run=layer_cam,
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
        run=eigen_cam,
        cost=lambda options, size: Cost(1),
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
        run=score_cam,
        parameters=(replace(CHANNELS, default=SCORED),),
        cost=lambda options, size: Cost(options["channels"] + 1),
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
        run=ablation_cam,
        parameters=(CHANNELS,),
        cost=lambda options, size: Cost(options.get("channels", USUAL) + 5),
        needs_layer=True,
    ),
)
