"""What the last linear layer of a network reads of pictures, and a plane to look at it in."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.errors import UserError
from analysis.network.hooks import preserved

Points = NDArray[np.float32]
"""``(N, 2)``."""
MAX_PCA = 50
"""Directions that t-SNE is given, as its authors do (van der Maaten & Hinton, 2008, section 4.2)."""
PERPLEXITY = 30.0


@dataclass(frozen=True)
class Projection:
    """A way from many numbers to two; ``is_linear`` says whether distances across the plane mean anything."""

    title: str
    project: Callable[[Points, int], Points]
    is_linear: bool


def read_features(module: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """What the last linear layer is given, and the logits.

    Args:
        module: A network; left as it was found.
        inputs: ``(N, C, H, W)``.

    Returns:
        ``(N, F)`` and ``(N, K)``, float32 on the CPU.

    Raises:
        UserError: The network does not end with a linear layer over one row of features for each picture.
    """
    last: list[Tensor] = []

    def keep(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
        last[:] = given[:1]

    with preserved(module), torch.inference_mode():
        for part in module.modules():
            if isinstance(part, nn.Linear):
                part.register_forward_pre_hook(keep)
        logits = module(inputs)
    if not last or last[0].ndim != 2 or len(last[0]) != len(inputs):
        raise UserError("This network does not end with a linear layer, so there are no features before one.")
    return last[0].float().cpu(), logits.float().cpu()


def project_pca(features: Points, seed: int = 0) -> Points:
    """The two directions of largest variance; the sign of each is that of scikit-learn, the same each time."""
    from sklearn.decomposition import PCA

    return _widen(PCA(min(2, *features.shape), svd_solver="full").fit_transform(features.astype(np.float64)))


def project_tsne(features: Points, seed: int = 0) -> Points:
    """t-SNE of scikit-learn, which begins with the plane of PCA; what is near stays near, distances mean nothing."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    count = len(features)
    if count < 4:  # no perplexity is small enough
        return project_pca(features, seed)
    wide = features.astype(np.float64)
    if min(wide.shape) > MAX_PCA:
        wide = PCA(MAX_PCA, svd_solver="randomized", random_state=seed).fit_transform(wide)
    wide = np.pad(wide, ((0, 0), (0, max(0, 2 - wide.shape[1]))))
    perplexity = min(PERPLEXITY, (count - 1) / 3)
    return _widen(TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(wide))


def _widen(points: NDArray) -> Points:
    """``(N, 2)``, with zeros where there is only one direction."""
    return np.pad(points, ((0, 0), (0, 2 - points.shape[1]))).astype(np.float32)


PROJECTIONS = {
    "pca": Projection("PCA", project_pca, True),
    "tsne": Projection("t-SNE", project_tsne, False),
}
