"""A picture that a class or a channel of a model answers to as much as it can."""

from dataclasses import dataclass

from analysis.channels.maximise import Maximised, Recipe, maximise, score_channel, score_class
from analysis.errors import Progress, UserError, no_progress
from analysis.network.layers import find_layer
from analysis.network.predict import find_class
from analysis.network.receptive_field import check_channel
from lab.session import Lab
from models.settings import check_integer

MAX_STEPS = 5000


@dataclass(frozen=True, eq=False)
class MadePicture:
    """The picture, and what it was made for, in words."""

    model: str
    target: str
    made: Maximised

    def to_json(self) -> dict:
        """Everything but the pixels."""
        return {
            "model": self.model,
            "target": self.target,
            "before": self.made.before,
            "after": self.made.after,
            "steps": len(self.made.scores),
        }


def make_picture(
    lab: Lab,
    model: str,
    *,
    target: int | str | None = None,
    layer: str | None = None,
    channel: int | None = None,
    steps: int = Recipe.steps,
    seed: int = 0,
    progress: Progress = no_progress,
    loading: Progress = no_progress,
) -> MadePicture:
    """Makes a picture from noise for a class, or for a channel of a layer.

    Args:
        target: Name or index of a class; or else
        layer: With ``channel``: whose mean over the map is made large.
        seed: Of the noise.

    Raises:
        UserError: Neither or both are named, or there is no such class, layer or channel.
    """
    if (target is None) == (layer is None or channel is None):
        raise UserError("Name a class, or a layer and a channel of it.")
    check_integer("steps", steps, 1, MAX_STEPS)
    with lab.use(model, loading) as (loaded, facts):
        prep = loaded.spec.preprocessing
        if target is not None:
            index = find_class(target, loaded.spec.categories)
            score, words = score_class(index), loaded.spec.categories[index]
        else:
            found = find_layer(facts.layers, layer or "")
            number = check_channel(found.name, channel or 0, found.output_shape[0])
            score, words = score_channel(found.name, number), f"{found.name}, channel {number}"
        shape = (prep.num_channels, prep.crop_size, prep.crop_size)
        recipe = Recipe(steps=steps, jitter=max(1, prep.crop_size // 28))
        share = lab.models.turns.sharing(progress)
        made = maximise(loaded.module, loaded.to_inputs, shape, score, recipe, seed=seed, progress=share)
    return MadePicture(model, words, made)
