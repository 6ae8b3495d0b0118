"""The filters of a model: of its first layer with a word for each, and the kernels of any channel."""

import re
from collections import Counter
from dataclasses import dataclass

from torch import Tensor

from analysis.channels.filters import DIRECTIONS, FilterWord, describe_filters, find_filters, find_kernels
from analysis.errors import Progress, UserError, no_progress
from analysis.grammar import count
from analysis.network.layers import find_layer
from analysis.network.receptive_field import check_channel
from lab.session import Lab

DIRECTION = rf"({'|'.join(DIRECTIONS)}) "


@dataclass(frozen=True, eq=False)
class FirstFilters:
    """The first layer.

    Attributes:
        filters: ``(N, C, h, w)``.
        words: Of each; none of templates.
        are_templates: Whether they are as large as the picture: those of a linear model or an MLP.
        categories: Of each template, where the layer is the only one.
    """

    filters: Tensor
    words: tuple[FilterWord, ...]
    are_templates: bool
    categories: tuple[str, ...]

    @property
    def num_dead(self) -> int:
        """How many are next to nothing."""
        return sum(word.is_dead for word in self.words)

    @property
    def what(self) -> str:
        """What they are called."""
        return "Template" if self.are_templates else "Filter"

    def describe(self) -> str:
        """In a sentence: how many of which kind."""
        if self.are_templates:
            whose = "classes" if self.categories else "units of the first layer"
            kinds = f"{count(len(self.filters), 'template')}, as large as the picture: those of the {whose}"
        else:
            looked_for = Counter(re.sub(DIRECTION, "", word.word) for word in self.words if not word.is_dead)
            kinds = f"{count(len(self.filters), 'filter')}: "
            kinds += ", ".join(f"{number} {word}" for word, number in looked_for.most_common())
        return f"{kinds}. {self.num_dead} dead, next to nothing." if self.num_dead else f"{kinds}."

    def name(self, number: int) -> str:
        """What stands below a filter: its number and its word, or its class."""
        if self.categories:
            return self.categories[number]
        word = self.words[number].word
        return str(number) if self.are_templates and word != "dead" else f"{number} {word}"


def read_filters(lab: Lab, model: str, loading: Progress = no_progress) -> FirstFilters:
    """The filters of the first layer, kernels or templates.

    Raises:
        UserError: They are no pictures.
    """
    with lab.use(model, loading) as (loaded, _):
        spec = loaded.spec
        prep = spec.preprocessing
        shape = (prep.num_channels, prep.crop_size, prep.crop_size)
        filters = find_filters(loaded.module, shape)
        linear = [part for part in loaded.module.modules() if getattr(part, "weight", None) is not None]
    if filters is None or filters.shape[1] not in (1, 3):
        raise UserError(f"{model} begins with a layer whose weights are no pictures.")
    are_templates = filters.shape[2:] == shape[1:]
    is_only = are_templates and len(linear) == 1 and len(filters) == len(spec.categories)
    return FirstFilters(filters, describe_filters(filters), are_templates, spec.categories if is_only else ())


def read_kernels(lab: Lab, model: str, layer: str, channel: int) -> tuple[str, Tensor] | None:
    """The kernels ``(C, h, w)`` that make a channel, with the name of their convolution; None where there is none.

    Raises:
        UserError: No such layer or channel.
    """
    with lab.use(model) as (loaded, facts):
        found = find_layer(facts.layers, layer)
        check_channel(found.name, channel, found.output_shape[0])
        return find_kernels(loaded.module, facts.layers, found.name, channel)
