"""What becomes of a model's answer to a picture when channels of a layer are taken away."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from analysis.channels.ablation import ablate_channels
from analysis.errors import Progress, no_progress
from analysis.network.layers import find_layer
from analysis.network.predict import Prediction, to_probabilities, top_k
from lab.session import Lab
from models.zoo.spec import ModelSpec


@dataclass(frozen=True, eq=False)
class Ablation:
    """The answer without each of some channels.

    Attributes:
        channels: Which ones.
        logits: ``(1 + n, K)``: of the whole network, then without each channel.
        target: The class that the whole network sees; all changes are of it.
    """

    spec: ModelSpec
    layer: str
    channels: tuple[int, ...]
    logits: Tensor
    target: Prediction

    @property
    def logit_changes(self) -> Tensor:
        """``(n,)``: of the logit of ``target``; negative where the channel speaks for the class."""
        return self.logits[1:, self.target.index] - self.logits[0, self.target.index]

    @property
    def probability_changes(self) -> Tensor:
        """``(n,)``: of its probability."""
        return to_probabilities(self.logits[1:])[:, self.target.index] - self.target.probability

    def predictions(self, row: int, top: int = 5) -> tuple[Prediction, ...]:
        """The best classes of the whole network (row 0), or without a channel."""
        return top_k(to_probabilities(self.logits[row : row + 1])[0], self.spec.categories, top)

    def to_json(self) -> dict:
        """Changes by channel, the largest loss of the logit first."""
        logits, probabilities = self.logit_changes.tolist(), self.probability_changes.tolist()
        best = self.logits[1:].argmax(1).tolist()
        rows = [
            {
                "channel": channel,
                "logit_change": logits[place],
                "probability_change": probabilities[place],
                "category": self.spec.categories[best[place]],
            }
            for place, channel in enumerate(self.channels)
        ]
        return {
            "model": self.spec.name,
            "layer": self.layer,
            "category": self.target.category,
            "index": self.target.index,
            "logit": float(self.logits[0, self.target.index]),
            "probability": self.target.probability,
            "channels": sorted(rows, key=lambda row: row["logit_change"]),
        }


def measure_ablation(
    lab: Lab,
    image: Image.Image,
    model: str,
    layer: str,
    channels: Sequence[int] | None = None,
    *,
    progress: Progress = no_progress,
    loading: Progress = no_progress,
) -> Ablation:
    """The answer to a picture without each channel of a layer, or without each of some.

    Raises:
        UserError: No such layer or channel.
    """
    with lab.use(model, loading) as (loaded, facts):
        found = find_layer(facts.layers, layer)
        logits = ablate_channels(
            loaded.module,
            loaded.prepare(image),
            found.name,
            channels,
            progress=lab.models.turns.sharing(progress),
        )
    chosen = tuple(range(len(logits) - 1)) if channels is None else tuple(channels)
    (target,) = top_k(to_probabilities(logits[:1])[0], loaded.spec.categories, 1)
    return Ablation(loaded.spec, found.name, chosen, logits, target)
