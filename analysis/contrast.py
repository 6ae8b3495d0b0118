"""Why this class and not that one: the attribution of the difference of two logits."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from analysis.attribution import attribute
from analysis.errors import AnalysisError, Progress, no_progress
from analysis.overlay import measure_scale
from analysis.state import preserved

LINEAR = ("saliency", "input_x_gradient", "integrated_gradients", "smoothgrad", "occlusion", "grad_cam")
"""Methods whose map of a difference of logits is the difference of the two maps; the others cut signals off."""


@dataclass(frozen=True, eq=False)
class Contrast:
    """A map of what speaks for one class rather than another.

    Attributes:
        method: Key in ``analysis.attribution.METHODS``.
        predicted: The class that positive values speak for.
        true: The class that negative values speak for.
        layer: The feature map used, None for methods without one.
        values: float32 on the CPU, signed, ``(C, H, W)``, or ``(1, H, W)`` for Grad-CAM.
        scale: The magnitude that gets the strongest colour, the same for both signs; of several maps that are
            compared, take the largest.
        seconds: How long it took.
    """

    method: str
    predicted: int
    true: int
    layer: str | None
    values: Tensor
    scale: float
    seconds: float


def contrast(
    module: nn.Module,
    inputs: Tensor,
    predicted: int,
    true: int,
    method: str = "saliency",
    *,
    layer: str | None = None,
    progress: Progress = no_progress,
    seed: int = 0,
    **options,
) -> Contrast:
    """Explains ``logit[predicted] - logit[true]`` by the pixels of one image.

    The difference of two logits is the logarithm of the ratio of the two probabilities; what speaks for both
    classes alike cancels out. "Why P, rather than Q?" is the question of Prabhushankar et al., "Contrastive
    Explanations in Neural Networks", 2020, arXiv:2008.00178.

    Args:
        module: A classifier; left as it was found.
        inputs: One normalised image ``(1, C, H, W)``.
        predicted: The class that the network chose.
        true: The class that would have been right.
        method: Key in ``analysis.attribution.METHODS``.
        layer: For the Grad-CAM methods; by default the last feature map.
        progress: Called between chunks; may cancel.
        seed: Of the noise in SmoothGrad.
        **options: Of the method.

    Raises:
        AnalysisError: The classes are the same or do not exist, or the method cannot explain this model.
    """
    if predicted == true:
        raise AnalysisError("A contrast needs two classes; here the predicted class is the true one.")
    with preserved(module), _returning_difference(module, predicted, true):
        found = attribute(module, inputs, 0, method, layer=layer, progress=progress, seed=seed, **options)
    scale = float(measure_scale(found.values, sign="signed"))
    return Contrast(method, predicted, true, found.layer, found.values, scale, found.seconds)


@contextmanager
def _returning_difference(module: nn.Module, predicted: int, true: int) -> Iterator[None]:
    """Inside, the network returns ``(N, 1)``; the names of its layers stay, which a wrapper would change."""

    def subtract(_module: nn.Module, _inputs: tuple, output: object) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 2:
            raise AnalysisError("Only classifiers that return one score per class can be explained.")
        for target in (predicted, true):
            if not 0 <= target < output.shape[1]:
                raise AnalysisError(
                    f"Class {target} does not exist: this model has classes 0 to {output.shape[1] - 1}."
                )
        return output[:, [predicted]] - output[:, [true]]

    handle = module.register_forward_hook(subtract)
    try:
        yield
    finally:
        handle.remove()
