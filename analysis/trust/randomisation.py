"""The sanity check of Adebayo et al.: a map of a network that has forgotten what it learned must change."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from analysis.errors import Progress, UserError, no_progress
from analysis.network.hooks import preserved, trace_calls
from analysis.trust.maps import magnitude, measure_ssim, rank_correlate

STAGES = 6
THRESHOLD = 0.7
"""Its square is half: above it, a network that has forgotten its upper half explains most of the order of the map."""


@dataclass(frozen=True)
class Stage:
    """One step of the cascade.

    Attributes:
        layer: The deepest layer, from the head, that is random by now.
        share: Of the layers with weights, how many are random.
        rank_correlation: Spearman's, of the magnitudes of the map with those of the trained network's; None where one
            of them is the same everywhere.
        ssim: Their structural similarity, or None.
    """

    layer: str
    share: float
    rank_correlation: float | None
    ssim: float | None


@dataclass(frozen=True)
class Sanity:
    """What the cascade has shown, and whether the map depends on what was learned."""

    stages: tuple[Stage, ...]

    @property
    def upper(self) -> tuple[Stage, ...]:
        """The stages at which at most half of the layers are random; the first one if there is none.

        Later ones say less: a network that is random altogether changes every map, also those that fail.
        """
        return tuple(stage for stage in self.stages if stage.share <= 0.5) or self.stages[:1]

    @property
    def rank_correlation(self) -> float | None:
        """The mean over the upper stages; None where none of them has any."""
        return _mean([stage.rank_correlation for stage in self.upper])

    @property
    def ssim(self) -> float | None:
        """The mean over the upper stages; None where none of them has any."""
        return _mean([stage.ssim for stage in self.upper])

    @property
    def passes(self) -> bool | None:
        """Whether the rank correlation is below ``THRESHOLD``; None where there is none."""
        return None if self.rank_correlation is None else self.rank_correlation < THRESHOLD


def measure_sanity(
    module: nn.Module,
    inputs: Tensor,
    values: Tensor,
    explain: Callable[[nn.Module, Tensor], Tensor],
    *,
    stages: int = STAGES,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Sanity:
    """Draws the weights anew from the head down, and compares the map of each stage with that of the network.

    Args:
        module: Left as it is: a copy forgets.
        inputs: ``(1, C, H, W)``, normalised.
        values: The map ``(C, H, W)`` or ``(1, H, W)`` of the network.
        explain: Gives the map of another network and the same inputs.
        stages: How many maps are compared at most.
    """
    trained, found = magnitude(values), []
    for number, (layer, share, forgetful) in enumerate(randomise_from_head(module, inputs, stages, seed)):
        progress(number, stages)
        try:
            strength = magnitude(explain(forgetful, inputs))
        except UserError:  # a network with random weights may have no finite map: there is nothing to compare
            found.append(Stage(layer, share, None, None))
            continue
        found.append(Stage(layer, share, rank_correlate(strength, trained), measure_ssim(strength, trained)))
    progress(stages, stages)
    return Sanity(tuple(found))


def randomise_from_head(
    module: nn.Module, inputs: Tensor, stages: int, seed: int = 0
) -> Iterator[tuple[str, float, nn.Module]]:
    """Gives a copy in which more and more layers are random: first the head alone, at last all of them.

    Layers are those with weights of their own, in the order in which they are called first. Weights are drawn as He
    et al. (2015) do, so that signals neither vanish nor grow, however deep the network is; biases become zero, and
    normalisations forget their statistics.

    Yields:
        The name of the deepest random layer, the share of layers that are random, and the copy: the same each time.
    """
    names = _list_layers(module, inputs)
    forgetful = copy.deepcopy(module)
    generator, done = torch.Generator().manual_seed(seed), 0
    stages = min(stages, len(names))
    for stage in range(stages):
        # The head is a stage of its own; the others share what is below it evenly.
        until = 1 + round((len(names) - 1) * stage / max(stages - 1, 1))
        for name in names[done:until]:
            _forget(forgetful.get_submodule(name), generator)
        done = until
        yield names[done - 1], done / len(names), forgetful


def _list_layers(module: nn.Module, inputs: Tensor) -> list[str]:
    """Layers with weights of their own, the head first; what is called inside of one that holds weights, too."""
    parts = [(name, part) for name, part in module.named_modules() if name and [*part.parameters(recurse=False)]]
    called: dict[str, None] = {}
    with torch.inference_mode(), preserved(module), trace_calls(parts, begin=lambda name: called.setdefault(name)):
        module(inputs)
    return [*called][::-1]


@torch.no_grad()
def _forget(layer: nn.Module, generator: torch.Generator) -> None:
    parameters = [*layer.parameters(recurse=False)]
    reset = getattr(layer, "reset_parameters", None)
    if reset is not None and all(parameter.ndim < 2 for parameter in parameters):
        reset()  # normalisations: ones and zeros, nothing is drawn
        return
    for parameter in parameters:
        if parameter.ndim < 2:
            parameter.zero_()
        else:
            drawn = torch.empty(parameter.shape)
            nn.init.kaiming_normal_(drawn, nonlinearity="relu", generator=generator)
            parameter.copy_(drawn)


def _mean(numbers: list[float | None]) -> float | None:
    found = [number for number in numbers if number is not None]
    return sum(found) / len(found) if found else None
