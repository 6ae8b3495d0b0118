"""How Chaman and Dokmanic, who introduced adaptive polyphase sampling, evaluate; they have two loops."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.consistency.design import Design, Framing, Protocol, Settings, paired

SMALL = 64
"""Windows up to this side are small pictures, like those of CIFAR-10."""


@dataclass(frozen=True)
class PolyphaseImageNet(Protocol):
    """Chaman and Dokmanic, "Truly shift-invariant convolutional neural networks", 2021; ``validate`` of their
    ImageNet code.

    Two rolls for each batch of 256, one pass, ``np.random.seed(seed)``, row first, by
    ``np.random.randint(-32, 32, 2)``: -32 to 31. Identical pairs count. Batches are weighted by their size, so
    every image counts alike, in accuracy as in consistency.
    """

    limit: int = 32
    batch: int = 256

    def frame(self, settings: Settings) -> Framing:
        """The model's own window."""
        return self.frame_around(settings, settings.max_shift or self.limit)

    def design(self, image_ids: Sequence[str], settings: Settings) -> Design:
        """Columns: unshifted, then the two shifts."""
        limit = settings.max_shift or self.limit
        batch = 1 if settings.per_image else self.batch
        groups = np.arange(len(image_ids)) // batch
        rng = np.random.RandomState(settings.seed)
        drawn = [(rng.randint(-limit, limit, 2), rng.randint(-limit, limit, 2)) for _ in range(groups[-1] + 1)]
        # Rolling moves the content along, a crop at an offset moves it back.
        moves = np.array(drawn)[..., ::-1] * (1 if settings.boundary == "circular" else -1)
        facts = {
            "ranges": {"drawn": [-limit, limit - 1]},
            "pairing": f"one pair for every {batch} images",
            "passes": 1,
            "average": self.average,
        }
        return paired(moves[groups], groups, self._weigh(groups), facts)

    @property
    def average(self) -> str:
        """What the source averages, in words."""
        return "of all images"

    def _weigh(self, groups: np.ndarray) -> np.ndarray:
        return np.ones(len(groups))


@dataclass(frozen=True)
class PolyphaseCifar(PolyphaseImageNet):
    """Chaman and Dokmanic, 2021; ``evaluate_circular`` and ``evaluate_random_crop`` of their CIFAR-10 code.

    Two rolls for each batch of 256, one pass, ``np.random.seed(seed)``, row first, by
    ``np.random.randint(-3, 3, 2)``: -3 to 2. 1 of 36 pairs is identical, and counts. Without wrapping, pictures
    are padded by 3 zeros after the normalisation and cropped at the offset (boundary ``mean``; ``zero`` pads with
    black). Accuracy and consistency are the means of the batches' means, so images of a small last batch weigh
    more; with ``per_image`` all weigh the same.
    """

    limit: int = 3

    @property
    def average(self) -> str:
        """What the source averages, in words."""
        return "of the batches' means"

    def _weigh(self, groups: np.ndarray) -> np.ndarray:
        sizes = np.bincount(groups)
        return (sizes.mean() / sizes)[groups]


@dataclass(frozen=True)
class PolyphaseBySize(Protocol):
    """Chaman and Dokmanic, 2021, by the size of the pictures: as their CIFAR-10 code does it (``aps-cifar``) for
    windows of up to 64 pixels, as their ImageNet code does it (``aps-imagenet``) for larger ones.
    """

    def frame(self, settings: Settings) -> Framing:
        """The model's own window."""
        return self._choose(settings)[1].frame(settings)

    def design(self, image_ids: Sequence[str], settings: Settings) -> Design:
        """Columns: unshifted, then the two shifts; the facts say which of the two it is."""
        name, chosen = self._choose(settings)
        design = chosen.design(image_ids, settings)
        return replace(design, facts={"protocol": name} | design.facts)

    def _choose(self, settings: Settings) -> tuple[str, Protocol]:
        name, kind = (
            ("aps-cifar", PolyphaseCifar) if settings.window <= SMALL else ("aps-imagenet", PolyphaseImageNet)
        )
        return name, kind(self.title, self.boundaries)
